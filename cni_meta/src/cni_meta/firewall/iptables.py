"""The iptables backend: chains, comments and positions of the reference, so that either can serve.

The rules of an address cannot say whose they are, as the reference would not find them then. A
chain beside them does, which no packet comes to; it changes in the same transaction. Only the order
of the two rules tells whether ours or the reference wrote them, which leaves the chain as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from cni_meta.firewall import admin_chain, isolation, policing, programs
from cni_meta.firewall import iptables_rules as rules
from cni_meta.firewall.backend import ISOLATED, OPEN, Attachment, Departure, Settings
from cni_meta.firewall.iptables_rules import CHAIN, Saved, host_prefix
from cni_meta.firewall.programs import Program
from cni_meta.firewall.transactions import Plan
from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.xtables import Rejected
from cnicore.owner import Owner, stale

ATTEMPTS = 5  # each is lost only to another process that changed the very same chains


def add(attachment: Attachment, settings: Settings) -> None:
    """Write what is missing in each family that has an address."""

    def missing(version: int, saved: Saved) -> Iterator[str]:
        addresses = attachment.of(version)
        yield from rules.admission(saved, settings.admin_chain, addresses)
        yield from rules.ownership(saved, attachment.owner, addresses)
        if attachment.policy != OPEN:
            yield from rules.policy(saved, attachment.policy, attachment.bridge)

    try:
        for program in programs_for(attachment):
            change(program, partial(missing, program.version))
    except Rejected as error:
        if admin_chain.CLASH in error.msg:  # a target that only this host has
            raise admin_chain.unusable(settings.admin_chain, admin_chain.IS_TARGET) from error
        raise
    isolate_ports(attachment)


def delete(departure: Departure, settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Remove the rules of the owner's addresses; those of nobody are taken for the owner's."""
    change_all(lambda saved: rules.removal(saved, leaving_with(departure, saved)))


def leaving_with(departure: Departure, saved: Saved) -> Iterator[str]:
    """The addresses whose rules go, each with its length.

    What the reference wrote after a mark is whoever's that asks for it, but if the mark names the
    same one again, only an address that is still there tells that it was not given to another.
    """
    tag, known = departure.owner.tag, set(map(host_prefix, departure.addresses))
    whose = {one: owner for _, one, owner in saved.owners(tag.rpartition("/")[0], *known)}
    for prefix in known | {one for one, owner in whose.items() if owner == tag}:
        owner = whose.get(prefix)
        if owner and saved.is_rewritten(prefix):
            is_leaving = owner != tag or prefix in map(host_prefix, departure.present())
        else:
            is_leaving = owner in (tag, None)
        if is_leaving:
            yield prefix


def gc(network: str, valid: Iterable[Owner], settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Remove the rules of addresses whose owner is not valid. The reference's have no owner."""
    keep = tuple(valid)

    def commands(saved: Saved) -> Iterator[str]:
        marks = saved.owners()
        whose = {prefix: tag for _, prefix, tag in marks}
        gone = stale((tag for _, _, tag in marks), network, keep)
        closed = {one for one, tag in whose.items() if tag in gone and not saved.is_rewritten(one)}
        yield from rules.removal(saved, closed)
        leaked = [line for line, one, tag in marks if tag in gone and one not in closed]
        yield from map(rules.deleted, leaked)

    change_all(commands)


def verify(attachment: Attachment, settings: Settings) -> None:
    """Raise CniError unless every rule is there; nothing is created."""
    for program in programs_for(attachment):
        saved, addresses = Saved(program.save()), attachment.of(program.version)
        absent = rules.absent(saved, settings.admin_chain, addresses)
        absent += rules_lacking_for_policy(saved, attachment)
        if absent:
            raise CniError(
                f"{program.name} lacks a rule of {attachment.owner.tag}, or has it too late:"
                f" attach the container again; {absent[0]}"
            )
    verify_ports(attachment)


def enforces_policy(attachment: Attachment) -> bool:
    """Whether iptables alone has what the policy takes, as the reference makes it."""
    for version in attachment.versions:
        for program in programs.installed(version)[:1]:
            if rules_lacking_for_policy(Saved(program.save()), attachment):
                return False
    try:
        verify_ports(attachment)
    except CniError:
        return False
    return bool(attachment.versions)


def verify_ports(attachment: Attachment) -> None:
    """Raise CniError unless what the bridge forwards is dropped, here or by nftables."""
    if not policing.bridged_packets_pass_iptables(attachment.versions):
        isolation.verify_within_bridge(attachment)


def rules_lacking_for_policy(saved: Saved, attachment: Attachment) -> list[str]:
    if attachment.policy == OPEN:
        return []
    return rules.absent_of_policy(saved, attachment.policy, attachment.bridge)


def require_usable(settings: Settings) -> None:  # noqa: ARG001  (as every backend)
    """Raise CniError unless iptables runs."""
    programs.require_installed(4)[0].save()


def isolate_ports(attachment: Attachment) -> None:
    """Cut the ports of an isolated attachment off where the bridge forwards.

    The reference's DROP within a bridge needs br_netfilter. Raises CniError if neither works.
    """
    act = f"isolate {attachment.owner.ifname}"
    try:
        isolation.enforce(act, attachment, isolation.within_bridge, lambda _: Plan([], []))
    except Unavailable as error:
        relies_on_iptables = policing.bridged_packets_pass_iptables(attachment.versions)
        if attachment.policy == ISOLATED and not relies_on_iptables:
            raise CniError(
                f"ingressPolicy isolated: {attachment.bridge} forwards without asking iptables:"
                " set net.bridge.bridge-nf-call-iptables and -ip6tables to 1, or let nftables work",
                str(error),
            ) from error


def programs_for(attachment: Attachment) -> list[Program]:
    """What must have the rules: what is called iptables, and the other variant if it polices."""
    found = []
    for version in attachment.versions:
        default, *others = programs.require_installed(version)
        found += [default, *(other for other in others if policing.polices(other))]
    return found


def change_all(commands: Callable[[Saved], Iterable[str]]) -> None:
    with attempt_all() as attempt:
        for program in programs.those_with(CHAIN):
            attempt(change, program, commands)


def change(program: Program, commands: Callable[[Saved], Iterable[str]]) -> None:
    """Run what is to be done to the saved table; look again if it changed meanwhile."""
    for _ in range(ATTEMPTS):
        wanted = list(commands(Saved(program.save())))
        try:
            if wanted:
                program.restore(wanted)
        except Rejected as error:
            failure = error
        else:
            return
    raise failure
