"""Hide containers behind the host's address, through whichever firewall the host has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import cast

from cnicore.attempts import attempt_all
from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable
from cnicore.firewall.backend import Backend, Unavailable
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
    with attempt_all() as attempt:
        for name in BACKENDS:
            attempt(_where_available, name, lambda backend: backend.delete(owner, known))


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove from every firewall what the network has for attachments that are not valid.

    Raises CniError, or an ExceptionGroup of several.
    """
    keep = tuple(valid)
    with attempt_all() as attempt:
        for name in BACKENDS:
            attempt(_where_available, name, lambda backend: backend.gc(network, keep))


def verify(owner: Owner, ips: Sequence[IpConfig]) -> None:
    """Raise CniError unless one firewall masquerades all the addresses for the owner."""
    failures = []
    for name in BACKENDS:
        try:
            loader.get()(name).verify(owner, ips)
        except CniError as error:
            failures.append(str(error))
        else:
            return
    raise CniError(f"{owner.ifname} is not masqueraded: attach it again", "; ".join(failures))


def _through(backend: str, step: Callable[[Backend], None]) -> None:
    """Run the step with that backend, or if it is empty with the first one that the host has."""
    if backend:
        step(loader.get()(backend))
        return
    refusals = []
    for name in BACKENDS:
        try:
            step(loader.get()(name))
        except Unavailable as error:
            refusals.append(error)
        else:
            return
    raise CniError("this host has no firewall to masquerade with", "; ".join(map(str, refusals)))


def _where_available(name: str, step: Callable[[Backend], None]) -> None:
    try:
        step(loader.get()(name))
    except* Unavailable:  # also from within a group
        pass  # then it holds nothing of ours that could be reached
