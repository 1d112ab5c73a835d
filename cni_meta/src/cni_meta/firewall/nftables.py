"""The nftables backend: elements only, in one transaction for each verb."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from cni_meta.firewall import foreign, iptables, isolation
from cni_meta.firewall.backend import Attachment, Departure, Settings
from cni_meta.firewall.elements import Element
from cni_meta.firewall.foreign import Chain
from cni_meta.firewall.transactions import Plan, remove
from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.owner import Owner


def add(attachment: Attachment, settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Let the addresses pass the chains that drop forwarded packets, and enforce the policy."""

    def admission(present: Sequence[Chain]) -> Plan:
        warn_of_others(present, attachment)
        return foreign.plan(present, attachment)

    act = f"let {attachment.owner.ifname} through the firewall"
    isolation.enforce(act, attachment, isolation.everywhere, admission)


def delete(departure: Departure, settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Remove the owner's elements, and the bridge's policy with the last who has it."""
    owner = departure.owner

    def held() -> Iterator[Element]:
        present = foreign.chains()
        yield from foreign.held(present, owner, departure.addresses)
        yield from isolation.held(present, owner)

    removed = remove(f"close the firewall for {owner.ifname}", held)
    isolation.delete_unused_policies(element.chain for element in removed)


def gc(network: str, valid: Iterable[Owner], settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Remove the elements of invalid attachments, then the objects that nothing uses."""
    keep = tuple(valid)

    def leaked() -> Iterator[Element]:
        yield from foreign.leaked(foreign.chains(), network, keep)
        yield from isolation.leaked(network, keep)

    with attempt_all() as attempt:
        attempt(remove, f"collect the firewall's elements of {network}", leaked)
        present = foreign.chains()
        attempt(isolation.delete_unused_policies, isolation.chains_of(present))
        attempt(foreign.delete_unused_frames, present)


def verify(attachment: Attachment, settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Raise CniError unless no chain drops the attachment's packets and the policy is enforced."""
    foreign.verify(foreign.chains(), attachment)
    try:
        isolation.verify(attachment)
    except CniError:
        if not iptables.enforces_policy(attachment):  # as the reference made it
            raise


def require_usable(settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Raise CniError if nftables cannot even be read."""
    foreign.chains()


def warn_of_others(present: Sequence[Chain], attachment: Attachment) -> None:
    """Say on stderr what this backend cannot change: a drop of iptables stays one."""
    for chain in present:
        if chain.drops and chain.version_of_iptables in attachment.versions:
            print(  # noqa: T201  (stdout is the answer's alone)
                f"firewall: iptables drops forwarded packets in {chain.family} {chain.table}"
                f' {chain.name}; the backend "iptables" lets them pass',
                file=sys.stderr,
            )
