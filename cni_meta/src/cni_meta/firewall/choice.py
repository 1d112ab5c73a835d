"""Which backend lets an attachment through: the one that polices the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from importlib import import_module
from typing import cast

from cni_meta.firewall.backend import Backend, Settings
from cnicore.errors import InvalidNetworkConfig
from cnicore.firewall.backend import Unavailable

BACKENDS = {
    "nftables": "cni_meta.firewall.nftables",
    "iptables": "cni_meta.firewall.iptables",
    "firewalld": "cni_meta.firewall.firewalld",
}


def load(name: str) -> Backend:
    """The backend of that name. Raises InvalidNetworkConfig if there is none."""
    if name not in BACKENDS:
        raise InvalidNetworkConfig(
            f'backend: unknown backend "{name}": set it to nftables, iptables or firewalld'
        )
    # lazy: the seam "firewall"; most hosts use one backend
    return cast("Backend", import_module(BACKENDS[name]))


loader: ContextVar[Callable[[str], Backend]] = ContextVar("loader", default=load)
"""What gives the backends. Tests put fake ones in their place."""


def choose(settings: Settings, versions: Iterable[int], *, has_iptables_options: bool) -> str:
    """The configured backend, or the one that the host's firewall asks for."""
    if settings.backend:
        return settings.backend
    from cni_meta.firewall import firewalld, policing  # noqa: PLC0415  (lazy: only to ask the host)

    if firewalld.runs(settings.bus):
        return "firewalld"
    if has_iptables_options or policing.host_is_policed(versions):
        return "iptables"
    return "nftables" if _is_usable("nftables", settings) else "iptables"


def _is_usable(name: str, settings: Settings) -> bool:
    try:
        loader.get()(name).require_usable(settings)
    except Unavailable:
        return False
    return True
