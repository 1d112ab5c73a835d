"""The attributes of the container's interface: how each is read, set, and called in the backup."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from cnicore.addresses import parse_mac
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace

Value = str | int
"""A MAC address, a switch (bool) or a number."""

LARGEST = {"mtu": 2**31 - 1, "txQLen": 2**32 - 1}  # what netlink can carry


class Attribute(NamedTuple):
    """One attribute; `kind` is the type of its values."""

    kind: type[Value]
    read: Callable[[Link], Value]
    write: Callable[[Namespace, str, Value], None]


def _write_mac(ns: Namespace, name: str, value: Value) -> None:
    ns.set_mac(name, str(value))


def _write_promisc(ns: Namespace, name: str, value: Value) -> None:
    ns.set_promiscuity(name, on=bool(value))


def _write_mtu(ns: Namespace, name: str, value: Value) -> None:
    ns.set_mtu(name, int(value))


def _write_allmulti(ns: Namespace, name: str, value: Value) -> None:
    ns.set_all_multicast(name, on=bool(value))


def _write_queue_length(ns: Namespace, name: str, value: Value) -> None:
    ns.set_queue_length(name, int(value))


ATTRIBUTES: Mapping[str, Attribute] = {
    "mac": Attribute(str, lambda link: link.mac, _write_mac),
    # not the count, which also has what packet sockets ask for
    "promisc": Attribute(bool, lambda link: link.is_promiscuous, _write_promisc),
    "mtu": Attribute(int, lambda link: link.mtu, _write_mtu),
    "allmulti": Attribute(bool, lambda link: link.takes_all_multicast, _write_allmulti),
    "txQLen": Attribute(int, lambda link: link.queue_length, _write_queue_length),
}
"""By configuration key, which is also the backup's; in the order in which they are set."""


def interface_mac(text: str) -> str:
    """A MAC address that one interface can have, as the kernel writes it. Raises ValueError."""
    mac = parse_mac(text)
    if int(mac[:2], 16) & 1:
        raise ValueError(f"address {text}: it is a multicast address, no interface can have it")
    if mac == "00:00:00:00:00:00":
        raise ValueError(f"address {text}: no interface can have it")
    return mac


def is_possible(key: str, value: object) -> bool:
    """Whether the attribute can have the value at all; what the device allows the kernel says."""
    if type(value) is not ATTRIBUTES[key].kind:
        return False
    if isinstance(value, str):
        try:
            return bool(interface_mac(value))
        except ValueError:
            return False
    return not isinstance(value, int) or 0 <= value <= LARGEST.get(key, 1)
