"""Lease, release and check addresses through the plugin that `ipam.type` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnicore.attempts import Attempt
from cnicore.config import NetConf
from cnicore.delegate import delegate_add, delegate_verb
from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable
from cnicore.lookup import find_plugin_file
from cnicore.request import Request
from cnicore.result import Result
from cnicore.rollback import OnFailure
from cnicore.spec import require_plugin_type

THROUGH_THE_LINK = frozenset({"dhcp"})
"""The types that give an address back by a packet, which leaves by the interface that had it."""


def lease(request: Request, conf: NetConf, on_failure: OnFailure) -> Result:
    """ADD by the IPAM plugin; taken back on failure.

    Raises CniError, InvalidNetworkConfig if no address was leased.
    """
    require_plugin(conf)
    leased = delegate_add(conf.ipam.type, request)
    # only after success: a failed ADD leaves nothing by itself, and DEL would release what an
    # earlier attachment of the same container and interface still holds
    on_failure(release, request, conf)
    if not leased.ips:
        raise InvalidNetworkConfig(
            f'IPAM plugin returned missing IP config: give "{conf.ipam.type}" an address or a range'
        )
    return leased


def require_plugin(conf: NetConf) -> None:
    """Raise InvalidNetworkConfig if the configuration names no IPAM plugin."""
    if not conf.ipam.type:
        raise InvalidNetworkConfig(
            "ipam.type: no plugin name provided:"
            f' "{conf.type}" needs an IPAM plugin, for example host-local'
        )


def release(request: Request, conf: NetConf) -> None:
    """DEL by the IPAM plugin; nothing if the configuration has none."""
    forward(request.with_verb("DEL"), conf)


@contextmanager
def releasing(request: Request, conf: NetConf, attempt: Attempt) -> Iterator[None]:
    """DEL by the IPAM plugin after the block, which removes the link.

    The next owner of the address must not meet the previous one. For THROUGH_THE_LINK it is before
    the block: what comes after the link could not be sent.
    """
    is_first = conf.ipam.type in THROUGH_THE_LINK
    if is_first:
        attempt(release, request, conf)
    yield
    if not is_first:
        attempt(release, request, conf)


def forward(request: Request, conf: NetConf) -> None:
    """The request's own verb (CHECK, GC, STATUS) by the IPAM plugin, if there is one."""
    if conf.ipam.type:
        delegate_verb(conf.ipam.type, request)


def status(request: Request, conf: NetConf) -> None:
    """STATUS by the IPAM plugin, if there is one; PluginNotAvailable if that is not installed."""
    if conf.ipam.type:
        require_plugin_type(conf.ipam.type)
        try:
            find_plugin_file(conf.ipam.type, request.path.split(":"))
        except CniError as error:
            raise PluginNotAvailable(f"ipam.type: {error.msg}: install it there") from error
    forward(request, conf)
