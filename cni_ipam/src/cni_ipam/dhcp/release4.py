"""A DHCPRELEASE that reaches its server, also when the container's interface is gone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from cni_ipam.dhcp import interface
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.port4 import CLIENT, SERVER
from cni_ipam.dhcp.terms import Lease4, Place
from cni_ipam.dhcp.wire4 import opener
from cnicore.errors import CniError
from cnicore.net.namespace import host_namespace


@dataclass(frozen=True, slots=True)
class Release:
    """The message and where it is to go; without `netns` the container is gone."""

    payload: bytes
    lease: Lease4
    netns: int | None
    place: Place

    def send(self, journal: Journal) -> None:
        """By the first way that there is; without one that is for the journal only."""
        address, server = self.lease.address.ip, self.lease.server
        try:
            way, submit = self._way()
            submit()
        except (OSError, CniError) as error:
            journal.warn(f"could not send the DHCPRELEASE of {address} to {server}: {error}")
        else:
            journal.note(f"released {address} to the server {server} through {way}")

    def _way(self) -> tuple[str, Callable[[], None]]:
        """What it is called, and what sends by it. Raises CniError, OSError."""
        place = self.place
        if self.netns is not None and interface.mac_of(self.netns, place.ifname) == place.mac:
            return place.ifname, partial(self._frame, self.netns, place.ifname)
        with host_namespace() as host:
            path = host.path_to(self.lease.server)
            link = next(filter(host.find_link, place.via), None)
        # a bridge does not hear what it says itself
        if link and not (path and path.is_local):
            return f"{link} of the host", partial(self._frame, None, link)
        return "the host", self._datagram

    def _frame(self, netns: int | None, link: str) -> None:
        """As the container itself would send it."""
        with opener.get()(netns, link) as port:
            port.send(
                self.payload,
                source=self.lease.address.ip,
                destination=self.lease.server,
                to=self.lease.server_mac,
                sender=self.place.mac,
            )

    def _datagram(self) -> None:
        """By the host's routes: a server looks at the message, not at its sender."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            with suppress(OSError):  # the host's own client may have it
                sender.bind(("", CLIENT))
            sender.sendto(self.payload, (str(self.lease.server), SERVER))
