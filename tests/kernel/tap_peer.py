"""The process at the other end of a tap: a small host that answers ARP, neighbour discovery and pings.

Run as a program it takes a JSON object as its argument and writes a JSON document a line: "attached",
and what came of it. Keys: `name`, `flags` and `files` (how many), `user` and `group` to become first,
`mac`, `addresses`; and one of `ping` (an address), `serve` (until stdin ends), `read` (frames, each with
its file's number, until an error), `write` (the same frame until an error).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import struct
import sys
import time
from ipaddress import ip_address

IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x100, 0x1000, 0x4000
TUNSETIFF = 0x400454CA
ARP, IPV4, IPV6 = 0x806, 0x800, 0x86DD
BROADCAST = b"\xff" * 6
DEADLINE = 45.0  # seconds, for a loaded machine; duplicate address detection takes one or two
PAUSE = 0.1


def attach(name, flags):
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return file


def frame(destination, source, kind, payload):
    return destination + source + kind.to_bytes(2, "big") + payload


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(operation, mac, address, to_mac, to):
    return struct.pack(
        "!HHBBH6s4s6s4s", 1, IPV4, 6, 4, operation, mac, address.packed, to_mac, to.packed
    )


def ipv4(source, destination, message):
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(message),
        0,
        0,
        64,
        1,
        0,
        source.packed,
        destination.packed,
    )
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + message


def ipv6(source, destination, message):
    pseudo = source.packed + destination.packed + struct.pack("!II", len(message), 58)
    message = message[:2] + b"\0\0" + message[4:]
    message = message[:2] + checksum(pseudo + message).to_bytes(2, "big") + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255)
    return header + source.packed + destination.packed + message


def echo(kind, payload=b"from the other end"):
    message = struct.pack("!BBHHH", kind, 0, 0, 7, 1) + payload
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


class Host:
    """A host with a MAC address and IP addresses, whose wire is the files."""

    def __init__(self, mac, addresses):
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.addresses = [ip_address(text) for text in addresses]

    def answer(self, data):
        """The frame that answers this one, or None."""
        kind = int.from_bytes(data[12:14], "big")
        return {ARP: self.answer_arp, IPV4: self.answer_ipv4, IPV6: self.answer_ipv6}.get(
            kind, lambda _: None
        )(data)

    def answer_arp(self, data):
        _, _, _, _, operation, mac, source, _, target = struct.unpack("!HHBBH6s4s6s4s", data[14:42])
        wanted = ip_address(target)
        if operation != 1 or wanted not in self.addresses:
            return None
        return frame(mac, self.mac, ARP, arp(2, self.mac, wanted, mac, ip_address(source)))

    def answer_ipv4(self, data):
        source, destination = ip_address(data[26:30]), ip_address(data[30:34])
        if destination not in self.addresses or data[34] != 8:
            return None
        message = data[34 : 14 + int.from_bytes(data[16:18], "big")]
        reply = b"\0\0\0\0" + message[4:]
        reply = reply[:2] + checksum(reply).to_bytes(2, "big") + reply[4:]
        return frame(data[6:12], self.mac, IPV4, ipv4(destination, source, reply))

    def answer_ipv6(self, data):
        source, destination, message = ip_address(data[22:38]), ip_address(data[38:54]), data[54:]
        if message[0] == 135 and ip_address(message[8:24]) in self.addresses:
            wanted = ip_address(message[8:24])
            told = struct.pack("!BBHI16sBB6s", 136, 0, 0, 0x20000000, wanted.packed, 2, 1, self.mac)
            if source.is_unspecified:  # somebody asks whether the address is free
                every = ip_address("ff02::1")
                return frame(b"\x33\x33\0\0\0\1", self.mac, IPV6, ipv6(wanted, every, told))
            told = told[:4] + b"\x60" + told[5:]
            return frame(data[6:12], self.mac, IPV6, ipv6(wanted, source, told))
        if message[0] == 128 and destination in self.addresses:
            reply = b"\x81\0\0\0" + message[4:]
            return frame(data[6:12], self.mac, IPV6, ipv6(destination, source, reply))
        return None

    def question(self, target):
        """The frame that asks everybody for the target's MAC address."""
        source = next(one for one in self.addresses if one.version == target.version)
        if target.version == 4:
            return frame(BROADCAST, self.mac, ARP, arp(1, self.mac, source, b"\0" * 6, target))
        group = ip_address(b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + target.packed[13:])
        asked = struct.pack("!BBHI16sBB6s", 135, 0, 0, 0, target.packed, 1, 1, self.mac)
        return frame(b"\x33\x33" + group.packed[12:], self.mac, IPV6, ipv6(source, group, asked))

    def request(self, target, mac):
        source = next(one for one in self.addresses if one.version == target.version)
        if target.version == 4:
            return frame(mac, self.mac, IPV4, ipv4(source, target, echo(8)))
        return frame(mac, self.mac, IPV6, ipv6(source, target, echo(128)))


def neighbour(data, target):
    """The target's MAC address if the frame tells it."""
    if data[12:14] == ARP.to_bytes(2, "big") and data[20:22] == b"\0\2":
        return data[22:28] if ip_address(data[28:32]) == target else None
    if data[12:14] == IPV6.to_bytes(2, "big") and data[54] == 136:
        return data[6:12] if ip_address(data[62:78]) == target else None
    return None


def is_reply(data, target):
    if target.version == 4:
        return data[12:14] == b"\x08\0" and data[34] == 0 and ip_address(data[26:30]) == target
    return data[12:14] == b"\x86\xdd" and data[54] == 129 and ip_address(data[22:38]) == target


def frames(files, pause):
    """The frames that are there, each with its file, after at most that many seconds."""
    for file in select.select(files, [], [], pause)[0]:
        while True:
            try:
                yield file, os.read(file, 65536)
            except BlockingIOError:
                break


def ping(host, files, target):
    """Ask for the target's MAC address and send echo requests, through each file in turn."""
    mac, until, turn = None, time.monotonic() + DEADLINE, 0
    while time.monotonic() < until:
        sender = files[turn % len(files)]
        turn += 1
        os.write(sender, host.request(target, mac) if mac else host.question(target))
        for file, data in frames(files, PAUSE):
            if answer := host.answer(data):
                os.write(file, answer)
            mac = mac or neighbour(data, target)
            if is_reply(data, target):
                return {"mac": mac.hex(":"), "reply": data[-18:].decode()}
    return {"error": "nobody answered"}


def serve(host, files):
    while True:
        for file, data in frames([*files, 0], None):
            if file == 0 and not data:
                return {"served": True}
            if file and (answer := host.answer(data)):
                os.write(file, answer)


def read(files):
    while True:
        try:
            for file, data in frames(files, None):
                say({"file": files.index(file), "frame": data.hex()})
        except OSError as error:
            return {"error": errno.errorcode[error.errno]}


def write(file, data):
    while True:
        try:
            os.write(file, data)
        except BlockingIOError:
            select.select([], [file], [], PAUSE)
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the interface is down
                return {"error": errno.errorcode[error.errno]}


def say(document):
    sys.stdout.write(f"{json.dumps(document)}\n")
    sys.stdout.flush()


def main():
    order = json.loads(sys.argv[1])
    if "group" in order:
        os.setgroups([])
        os.setgid(order["group"])
    if "user" in order:
        os.setuid(order["user"])
    flags = order.get("flags", IFF_TAP | IFF_NO_PI)
    try:
        files = [attach(order["name"], flags) for _ in range(order.get("files", 1))]
    except OSError as error:
        say({"error": errno.errorcode[error.errno]})
        return
    say("attached")
    host = Host(order.get("mac", "02:00:5e:10:00:99"), order.get("addresses", []))
    if "ping" in order:
        say(ping(host, files, ip_address(order["ping"])))
    elif "serve" in order:
        say(serve(host, files))
    elif "read" in order:
        say(read(files))
    else:
        say(write(files[0], bytes.fromhex(order["write"])))


if __name__ == "__main__":
    main()
