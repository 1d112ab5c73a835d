"""The firewalls that can forward ports: one for an attachment, all of them to clean up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import Protocol, cast

from cni_meta.portmap.configuration import IPTABLES, NFTABLES
from cni_meta.portmap.plan import Claim, Forward, Plan
from cnicore.errors import CniError, PluginNotAvailable
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.choice import Step, with_all, with_first
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

    def forward(name: str) -> None:
        # a port is one container's, whichever firewall it has it in
        with_all(_others(name), lambda other: _loaded(other).require_unclaimed(owner, plans))
        _loaded(name).add(owner, plans)

    return _with_usable(backend, forward)


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
    with_all(_others(apart_from), lambda name: gone.extend(_loaded(name).delete(owner, claims)))


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove from every firewall what the network has for attachments that are not valid.

    Raises CniError, or an ExceptionGroup of several.
    """
    keep = tuple(valid)
    with_all(BACKENDS, lambda name: _loaded(name).gc(network, keep))


def verify(owner: Owner, plans: Sequence[Plan]) -> None:
    """Raise CniError unless one firewall forwards everything for the owner."""
    lack = f"the ports of {owner.ifname} are not forwarded as they were: attach it again"
    with_first(BACKENDS, lambda name: _loaded(name).verify(owner, plans), lack, over=CniError)


def require_usable(backend: str) -> None:
    """For STATUS: raise PluginNotAvailable unless `add` would find a firewall that works."""
    try:
        _with_usable(backend, lambda name: _loaded(name).require_usable())
    except CniError as error:
        raise PluginNotAvailable(f"no port can be published: {error.msg}", error.details) from error


def _with_usable(backend: str, step: Step) -> str:
    """Run the step with the backend, if it is empty with the first one that the host has."""
    lack = "this host has no firewall to forward ports with: make nftables or iptables usable"
    try:
        return with_first([backend] if backend else BACKENDS, step, lack)
    except Unavailable as error:
        sentence = f"backend {backend} cannot be used on this host: {error.msg}"
        raise CniError(sentence, error.details) from error


def _loaded(name: str) -> Backend:
    return loader.get()(name)


def _others(name: str) -> list[str]:
    return [other for other in BACKENDS if other != name]
