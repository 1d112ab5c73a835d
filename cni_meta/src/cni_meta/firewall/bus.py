"""firewalld over the system bus: its zones, and whether it runs at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jeepney import DBusAddress, MessageType, new_method_call
from jeepney.auth import AuthenticationError
from jeepney.bus import get_bus
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, prep_socket

from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.firewall.backend import Unavailable

NAME, PATH = "org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1"
ZONES = DBusAddress(PATH, bus_name=NAME, interface=f"{NAME}.zone")
SECONDS_TO_CONNECT, SECONDS_TO_ANSWER = 2, 30  # firewalld answers nobody while it reloads
NOBODY = "192.0.2.1"  # RFC 5737; an address to ask about
UNKNOWN_ZONE = "INVALID_ZONE"
ABSENT = ("UNKNOWN_SOURCE", "ZONE_CONFLICT", UNKNOWN_ZONE)
"""How firewalld says that a source is not in the zone, which is as wished when it is removed."""


class BusError(CniError):
    """What firewalld answered instead of a result."""


class Firewalld:
    """A connection on which firewalld answers. Its functions raise BusError, Unavailable."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def require_zone(self, zone: str) -> None:
        """Raise InvalidNetworkConfig if there is no such zone."""
        try:
            self.has_source(zone, NOBODY)
        except BusError as error:
            if UNKNOWN_ZONE not in error.msg:
                raise
            raise InvalidNetworkConfig(
                f'firewalldZone: firewalld has no zone "{zone}":'
                " name one that firewall-cmd --get-zones lists"
            ) from error

    def add_source(self, zone: str, source: str) -> None:
        """Accept the source in the zone; one that is there already stays."""
        try:
            self._call("addSource", zone, source)
        except BusError as error:
            if "ZONE_ALREADY_SET" not in error.msg:
                raise

    def remove_source(self, zone: str, source: str) -> None:
        """Nothing to remove is as wished."""
        try:
            self._call("removeSource", zone, source)
        except BusError as error:
            if not any(word in error.msg for word in ABSENT):
                raise

    def has_source(self, zone: str, source: str) -> bool:
        return bool(self._call("querySource", zone, source))

    def _call(self, method: str, zone: str, source: str) -> Any:
        message = new_method_call(ZONES, method, "ss", (zone, source))
        try:
            return exchange(self._connection, message)
        except BusError as error:
            raise BusError(
                f"firewalld: could not {method} {source} in zone {zone}: {error.msg}"
            ) from error


class Connection(DBusConnection):  # type: ignore[misc]  # jeepney has no types
    """A connection that waits for no answer for ever, not even for the bus's greeting."""

    def send_and_get_reply(self, message: Any, *, timeout: float | None = None) -> Any:
        return super().send_and_get_reply(message, timeout=timeout or SECONDS_TO_ANSWER)


@contextmanager
def firewalld(address: str) -> Iterator[Firewalld]:
    """The firewalld on the bus of that address. Raises Unavailable if none runs."""
    with connect(address) as connection:
        if exchange(connection, message_bus.NameHasOwner(NAME)) is not True:
            raise unreached(address, f"nobody is {NAME} there")
        yield Firewalld(connection)


def connect(address: str) -> Connection:
    try:
        return Connection(prep_socket(get_bus(address), timeout=SECONDS_TO_CONNECT))
    except (OSError, ValueError, RuntimeError, AuthenticationError) as error:
        raise unreached(address, str(error)) from error


def exchange(connection: Any, message: Any) -> Any:
    """The first value of the reply. Raises BusError, Unavailable if none comes."""
    try:
        reply = connection.send_and_get_reply(message)
    except (OSError, RuntimeError) as error:
        raise Unavailable(
            "backend: firewalld does not answer on the system bus: restart firewalld", str(error)
        ) from error
    value = reply.body[0] if reply.body else ""
    if reply.header.message_type is MessageType.error:
        raise BusError(str(value))
    return value


def unreached(address: str, reason: str) -> Unavailable:
    return Unavailable(
        f"backend: firewalld is not reached on the system bus {address}:"
        " start firewalld, or set backend to nftables or iptables",
        reason,
    )
