"""The firewalls that can forward ports: one for an attachment, all of them to clean up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import Protocol, cast

from cni_meta.portmap.configuration import IPTABLES, NFTABLES
from cni_meta.portmap.plan import Claim, Forward, Plan
from cnicore.attempts import attempt_all
from cnicore.errors import CniError, PluginNotAvailable
from cnicore.firewall.backend import Unavailable
from cnicore.owner import Owner

BACKENDS = {
    NFTABLES: "cni_meta.portmap.nftables",
    IPTABLES: "cni_meta.portmap.iptables",
}


class Backend(Protocol):
    """One way to forward ports. All raise CniError, Unavailable if the host lacks it."""

    def add(self, owner: Owner, plans: Sequence[Plan]) -> None:
        """Forward all that the plans say, or nothing; what the owner had before is replaced."""

    def require_unclaimed(self, owner: Owner, plans: Sequence[Plan]) -> None:
        """Raise CniError, naming the other container that has one of the ports."""

    def delete(self, owner: Owner, claims: Sequence[Claim]) -> list[Forward]:
        """Remove what the owner has, the reference's too; returns what was forwarded.

        The claims save a search; there may be others.
        """

    def gc(self, network: str, valid: Iterable[Owner]) -> None:
        """Remove what the network has for attachments that are not valid."""

    def verify(self, owner: Owner, plans: Sequence[Plan]) -> None:
        """Raise CniError unless all that the plans say is forwarded for the owner."""

    def require_usable(self) -> None:
        """Raise CniError if nothing could be added now."""


def load(name: str) -> Backend:
    # lazy: the seam "firewall"; most hosts use one backend
    return cast("Backend", import_module(BACKENDS[name]))


loader: ContextVar[Callable[[str], Backend]] = ContextVar("loader", default=load)
"""What gives the backends. Tests put a fake one in its place."""


def add(owner: Owner, plans: Sequence[Plan], backend: str) -> str:
    """Forward the ports with the backend; empty: with nftables, or iptables where only that works.

    Returns the name of the one used. Raises CniError and leaves nothing half made.
    """
    refusals = []
    for name in [backend] if backend else BACKENDS:
        try:
            # a port is one container's, whichever firewall it has it in
            for other in _others(name):
                _where_available(other, lambda held: held.require_unclaimed(owner, plans))
            loader.get()(name).add(owner, plans)
        except Unavailable as error:
            refusals.append(error)
        else:
            return name
    raise CniError("this host has no firewall to forward ports with", "; ".join(map(str, refusals)))


def delete(
    owner: Owner,
    claims: Sequence[Claim],
    removed: list[Forward] | None = None,
    *,
    apart_from: str = "",
) -> None:
    """Remove what the owner has from every other firewall; `removed` gets what was forwarded.

    Nothing there is as wished. Raises CniError, or an ExceptionGroup of several.
    """
    gone = [] if removed is None else removed
    with attempt_all() as attempt:
        for name in _others(apart_from):
            attempt(
                _where_available,
                name,
                lambda backend: gone.extend(backend.delete(owner, claims)),
            )


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove from every firewall what the network has for attachments that are not valid.

    Raises CniError, or an ExceptionGroup of several.
    """
    keep = tuple(valid)
    with attempt_all() as attempt:
        for name in BACKENDS:
            attempt(_where_available, name, lambda backend: backend.gc(network, keep))


def verify(owner: Owner, plans: Sequence[Plan]) -> None:
    """Raise CniError unless one firewall forwards everything for the owner."""
    failures = []
    for name in BACKENDS:
        try:
            loader.get()(name).verify(owner, plans)
        except CniError as error:
            failures.append(str(error))
        else:
            return
    raise CniError(
        f"the ports of {owner.ifname} are not forwarded as they were: attach it again",
        "; ".join(failures),
    )


def require_usable(backend: str) -> None:
    """Raise PluginNotAvailable if no ADD with that backend could succeed; empty: with none."""
    failures = []
    for name in [backend] if backend else BACKENDS:
        try:
            loader.get()(name).require_usable()
        except CniError as error:
            failures.append(str(error))
        else:
            return
    raise PluginNotAvailable("no firewall to forward ports with is usable", "; ".join(failures))


def _others(name: str) -> list[str]:
    return [other for other in BACKENDS if other != name]


def _where_available(name: str, step: Callable[[Backend], None]) -> None:
    try:
        step(loader.get()(name))
    except Unavailable:
        return  # then it holds nothing of ours that could be reached
