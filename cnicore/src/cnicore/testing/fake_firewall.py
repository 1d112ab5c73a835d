"""A firewall in memory, part of the kernel in memory: it fails when that is told to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.owner import Owner
from cnicore.result import Address, IpConfig

if TYPE_CHECKING:
    from cnicore.testing.fake_kernel import FakeKernel


class FakeFirewall:
    """Both backends of `cnicore.masquerade`; `masqueraded` has the addresses by owner.

    With `fails_late` an ADD fails after it has had its effect; with `is_missing` STATUS does.
    """

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.masqueraded: dict[Owner, list[Address]] = {}
        self.fails_late = False
        self.is_missing = False

    def add(self, owner: Owner, ips: Sequence[IpConfig]) -> None:
        self.kernel.note("firewall", "add", owner.tag)
        self.masqueraded[owner] = [ip.address.ip for ip in ips]
        if self.fails_late:
            raise CniError("the firewall failed after it had masqueraded")

    def delete(self, owner: Owner, addresses: Iterable[Address]) -> None:  # noqa: ARG002  (the owner tells)
        self.kernel.note("firewall", "delete", owner.tag)
        self.masqueraded.pop(owner, None)

    def require(self) -> None:
        self.kernel.note("firewall", "require")
        if self.is_missing:
            raise Unavailable("the firewall is missing: install it")

    def gc(self, network: str, valid: Iterable[Owner]) -> None:
        self.kernel.note("firewall", "gc", network)
        keep = set(valid)
        for owner in [*self.masqueraded]:
            if owner.network == network and owner not in keep:
                del self.masqueraded[owner]

    def verify(self, owner: Owner, ips: Sequence[IpConfig]) -> None:
        self.kernel.note("firewall", "verify", owner.tag)
        if self.masqueraded.get(owner) != [ip.address.ip for ip in ips]:
            raise CniError(f"{owner.ifname} is not masqueraded")
