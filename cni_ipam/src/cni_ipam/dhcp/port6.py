"""Where DHCPv6 goes in and out: a UDP socket on the link-local address of one link."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv6Address

from cni_ipam.dhcp.port import Port
from cnicore.net.namespace import opener
from cnicore.net.switch import inside

CLIENT, SERVER = 546, 547
ALL_SERVERS = "ff02::1:2"  # and relay agents
LARGEST = 65535


def usable_link_local(netns: int | None, ifname: str) -> IPv6Address | None:
    """The link's own address, None until it is known that no other host has it.

    `netns` is a namespace's file descriptor or None for the thread's own. Raises CniError.
    """
    handle = opener.get()("" if netns is None else f"/proc/thread-self/fd/{netns}")
    try:
        found = handle.addresses(ifname)
    finally:
        handle.close()
    usable = (one.cidr.ip for one in found if not (one.is_tentative or one.is_duplicate))
    own = (one for one in usable if isinstance(one, IPv6Address) and one.is_link_local)
    return next(own, None)


class Port6(Port):
    """A client's port on one link of a namespace. Every method passes OSErrors through.

    Opening it raises EADDRNOTAVAIL as long as there is no usable link-local address, and CniError
    if there is no such link.
    """

    def __init__(self, netns: int | None, ifname: str) -> None:
        link_local = usable_link_local(netns, ifname)
        if link_local is None:
            text = f"{ifname} has no link-local address yet"
            raise OSError(errno.EADDRNOTAVAIL, text)
        self.link_local: IPv6Address = link_local
        with inside(netns):
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                self._bind(ifname)
            except BaseException:
                self._socket.close()
                raise

    def _bind(self, ifname: str) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode())
        index = socket.if_nametoindex(ifname)
        self._socket.bind((str(self.link_local), CLIENT, 0, index))
        self._servers = (ALL_SERVERS, SERVER, 0, index)

    def send(self, payload: bytes) -> None:
        """Send the message to all servers of the link."""
        self._socket.sendto(payload, self._servers)

    def receive(self) -> bytes | None:
        """A message for the client, None if there is none by now."""
        try:
            return self._socket.recv(LARGEST)
        except BlockingIOError:
            return None
