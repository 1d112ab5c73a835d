"""Where DHCPv4 goes in and out: frames, because a link without an address gets no datagrams.

A packet socket costs its link something for every packet, so one is open during an exchange only.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address

from cni_ipam.dhcp.port import Port
from cnicore.net.messages_dhcp import BPF, compile_filter
from cnicore.net.switch import inside

ETHERNET = struct.Struct("!6s6sH")
IP = struct.Struct("!BBHHHBBH4s4s")
UDP = struct.Struct("!HHHH")
PSEUDO = struct.Struct("!4s4sxBH")  # what a UDP checksum covers beside its datagram
ETH_P_IP = 0x0800
IPV4, IP_WORDS, TTL = 4, 5, 64
CLIENT, SERVER = 68, 67
BROADCAST_MAC = b"\xff" * 6
NOBODY, EVERYBODY = IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")  # noqa: S104  (a packet's source)
LARGEST = 65535
MOST_BAD = 64  # frames skipped at a time, for whoever else waits for the processor
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
PACKET_TYPE = -0x1000 + 4  # linux/filter.h: SKF_AD_OFF + SKF_AD_PKTTYPE
PACKET_OTHERHOST = 3  # linux/if_packet.h
FRAGMENT_OFFSET = 0x1FFF

LOAD_BYTE, LOAD_HALF = BPF.LD + BPF.B + BPF.ABS, BPF.LD + BPF.H + BPF.ABS
JUMP_EQUAL, JUMP_SET = BPF.JMP + BPF.JEQ + BPF.K, BPF.JMP + BPF.JSET + BPF.K
# UDP to a client's port and no later fragment. Frames of a VLAN, without their tag by then, are
# "for another host" to the kernel.
FILTER = [
    [LOAD_BYTE, 0, 0, PACKET_TYPE],
    [JUMP_EQUAL, 8, 0, PACKET_OTHERHOST],
    [LOAD_BYTE, 0, 0, ETHERNET.size + 9],
    [JUMP_EQUAL, 0, 6, socket.IPPROTO_UDP],
    [LOAD_HALF, 0, 0, ETHERNET.size + 6],
    [JUMP_SET, 4, 0, FRAGMENT_OFFSET],
    [BPF.LDX + BPF.B + BPF.MSH, 0, 0, ETHERNET.size],
    [BPF.LD + BPF.H + BPF.IND, 0, 0, ETHERNET.size + 2],
    [JUMP_EQUAL, 0, 1, CLIENT],
    [BPF.RET + BPF.K, 0, 0, LARGEST],
    [BPF.RET + BPF.K, 0, 0, 0],
]


class Port4(Port):
    """A client's port on one link of a namespace. Every method passes OSErrors through.

    ENETDOWN, once, if the link is down or went down; the port is good again when the link is up.
    `netns` is a namespace's file descriptor or None for the thread's own; `mac` is the link's.
    """

    def __init__(self, netns: int | None, ifname: str) -> None:
        with inside(netns):
            # Protocol 0 hears nothing: no frame comes in before the filter is there.
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_PACKET, kind, 0)
        try:
            self.mac = self._bind(ifname)
        except BaseException:
            self._socket.close()
            raise

    def _bind(self, ifname: str) -> bytes:
        """Returns the link's MAC."""
        reference, _program = compile_filter(FILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, reference)
        self._socket.bind((ifname, ETH_P_IP))
        mac: bytes = self._socket.getsockname()[4]
        if len(mac) != len(BROADCAST_MAC):
            text = f"{ifname} is no Ethernet link"
            raise OSError(errno.EAFNOSUPPORT, text)
        return mac

    def send(
        self,
        payload: bytes,
        *,
        source: IPv4Address = NOBODY,
        destination: IPv4Address = EVERYBODY,
        to: bytes = BROADCAST_MAC,
        sender: bytes | None = None,
    ) -> None:
        """Send the message to a server's port; `sender` is a MAC other than the link's own."""
        header = ETHERNET.pack(to, sender or self.mac, ETH_P_IP)
        self._socket.send(header + _packet(payload, source.packed, destination.packed))

    def receive(self) -> tuple[bytes, bytes] | None:
        """A message for a client and the MAC that it came from; None if there is none by now."""
        for _ in range(MOST_BAD):
            try:
                frame = self._socket.recv(LARGEST)
            except BlockingIOError:
                return None
            payload = _payload(frame[ETHERNET.size :])
            if payload is not None:
                return payload, ETHERNET.unpack_from(frame)[1]
        return None


def _packet(payload: bytes, source: bytes, destination: bytes) -> bytes:
    length = UDP.size + len(payload)
    pseudo = PSEUDO.pack(source, destination, socket.IPPROTO_UDP, length)
    checksum = _checksum(pseudo + UDP.pack(CLIENT, SERVER, length, 0) + payload)
    # Zero says that there is none (RFC 768).
    datagram = UDP.pack(CLIENT, SERVER, length, checksum or 0xFFFF) + payload
    return _ip_header(IP.size + length, source, destination) + datagram


def _ip_header(total: int, source: bytes, destination: bytes) -> bytes:
    start = (IPV4 << 4 | IP_WORDS, 0, total, 0, 0, TTL, socket.IPPROTO_UDP)
    checksum = _checksum(IP.pack(*start, 0, source, destination))
    return IP.pack(*start, checksum, source, destination)


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:  # noqa: PLR2004  (16 bits)
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _payload(packet: bytes) -> bytes | None:
    """What the datagram carries, None if the packet is shorter than it claims to be.

    Its checksum is not looked at: a sender on this machine leaves it to a card that is not there.
    """
    if len(packet) < IP.size:
        return None
    start = (packet[0] & 0x0F) * 4
    total = int.from_bytes(packet[2:4], "big")
    if packet[0] >> 4 != IPV4 or start < IP.size or not start + UDP.size <= total <= len(packet):
        return None
    length = UDP.unpack_from(packet, start)[2]
    if not UDP.size <= length <= total - start:
        return None
    return packet[start + UDP.size : start + length]
