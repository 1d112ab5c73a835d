"""The attributes of the container's interface: how each is read, set, and called in the backup."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from cnicore.net.link import Link
from cnicore.net.namespace import Namespace

Value = str | int
"""A MAC address, a switch (bool) or a number."""


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
