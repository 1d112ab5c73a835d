"""Hide containers behind the host's address, through whichever firewall the host has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import cast

from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable
from cnicore.firewall.backend import Backend
from cnicore.firewall.choice import with_all, with_first
from cnicore.owner import Owner
from cnicore.result import Address, IpConfig

BACKENDS = {
    "nftables": "cnicore.firewall.masquerade_nftables",
    "iptables": "cnicore.firewall.masquerade_iptables",
}


def load(name: str) -> Backend:
    """The backend of that name. Raises InvalidNetworkConfig if there is none."""
    if name not in BACKENDS:
        raise InvalidNetworkConfig(
            f'unknown ipmasq backend "{name}": set ipMasqBackend to {" or ".join(BACKENDS)}'
        )
    # lazy: the seam "firewall"; most hosts use one backend
    return cast("Backend", import_module(BACKENDS[name]))


loader: ContextVar[Callable[[str], Backend]] = ContextVar("loader", default=load)
"""What gives the backends. Tests put a fake one, or one that fails on purpose, in its place."""


def add(owner: Owner, ips: Sequence[IpConfig], backend: str) -> None:
    """Masquerade what the addresses send beyond their own subnets and multicast.

    An empty `backend` is nftables, or iptables where only that works. Raises CniError and leaves
    nothing half made if one address cannot be had; InvalidNetworkConfig for an unknown backend.
    """
    _through(backend, lambda one: one.add(owner, ips))


def require(backend: str) -> None:
    """For STATUS: raise PluginNotAvailable unless `add` would find a firewall that works."""
    try:
        _through(backend, lambda one: one.require())
    except CniError as error:
        raise PluginNotAvailable(f"ipMasq cannot work: {error.msg}", error.details) from error


def delete(owner: Owner, addresses: Iterable[Address] = ()) -> None:
    """Remove the owner's masquerading from every firewall, whichever made it.

    The addresses save a search, and must be all that the attachment has; without them the owner's
    own are looked for. Nothing there is as wished. Raises CniError, or several as ExceptionGroup.
    """
    known = tuple(addresses)
    with_all(BACKENDS, lambda name: loader.get()(name).delete(owner, known))


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove from every firewall what the network has for attachments that are not valid.

    Raises CniError, or an ExceptionGroup of several.
    """
    keep = tuple(valid)
    with_all(BACKENDS, lambda name: loader.get()(name).gc(network, keep))


def verify(owner: Owner, ips: Sequence[IpConfig]) -> None:
    """Raise CniError unless one firewall masquerades all the addresses for the owner."""
    lack = f"{owner.ifname} is not masqueraded: attach it again"
    with_first(BACKENDS, lambda name: loader.get()(name).verify(owner, ips), lack, over=CniError)


def _through(backend: str, step: Callable[[Backend], None]) -> None:
    """Run the step with that backend, or if it is empty with the first one that the host has."""
    with_first(
        [backend] if backend else BACKENDS,
        lambda name: step(loader.get()(name)),
        "this host has no firewall to masquerade with: make nftables or iptables usable",
    )
