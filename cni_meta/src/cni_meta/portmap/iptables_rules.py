"""The iptables rules of portmap: those of the reference plugin, written as iptables-save does."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from cni_meta.portmap.plan import Claim, Forward, Plan
from cnicore.errors import InvalidNetworkConfig
from cnicore.firewall.xtables import LONGEST_COMMENT, chains_in, commented, target_of
from cnicore.owner import Owner

DNAT, SETMARK, MASQ = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
GUARD = "CNI-HOSTPORT-GUARD"
CONTAINER, LEGACY_SNAT = "CNI-DN-", "CNI-SN-"
ENTRIES, MASQ_ENTRY = ("PREROUTING", "OUTPUT"), "POSTROUTING"
MARK_COMMENT, MASQ_COMMENT = "CNI portfwd masquerade mark", "CNI portfwd requiring masquerade"
GUARD_COMMENT = "CNI portfwd: localhost is this host"
DIRECTIONS = ("-s", "-d")
LOCALHOST, LOCALNET = "127.0.0.1/32", "127.0.0.0/8"
MOST_PORTS = 15  # of one multiport match
LONGEST_CHAIN = 28  # bytes, linux/netfilter/x_tables.h with the terminating zero
CUT = "..."
FORWARDING = re.compile(r" --dport \d+ -j DNAT --to-destination (?:[\d.]+|\[[\da-f:.]+\]):\d+$")
"""How a rule ends that a container's chain forwards with; somebody may have added others."""
IDENTITY = re.compile(r'dnat name: "([^"]*)" id: "([^"]*)')
UNCONDITIONAL = {"-A", "-p", "-m", "--comment", "--dports", "-j"}


def container_chain(owner: Owner) -> str:
    return owner.chain(CONTAINER)


def comment(network: str, container_id: str) -> str:
    """The reference's comment on jumps; it cuts after 256 bytes, which iptables refuses."""
    data = f'dnat name: "{network}" id: "{container_id}"'.encode()
    if len(data) > LONGEST_COMMENT:
        data = data[: LONGEST_COMMENT - len(CUT)] + CUT.encode()
    return data.decode(errors="ignore")


def frame(plan: Plan, lines: Sequence[str]) -> Iterator[str]:
    """The chains and rules that all containers share, as far as the saved table lacks them."""
    if plan.sources and plan.mark_chain is None:
        mark = f"{plan.mark:#x}/{plan.mark:#x}"
        marking = f"{commented(MARK_COMMENT)} -j MARK --set-xmark {mark}"
        yield from _new_chain(SETMARK, lines)
        yield from _new_rule(f"-A {SETMARK} {marking}", lines)
        yield from _new_chain(MASQ, lines)
        yield from _new_rule(f"-A {MASQ} -m mark --mark {mark} -j MASQUERADE", lines)
        jump = f"{MASQ_ENTRY} {commented(MASQ_COMMENT)} -j {MASQ}"
        # first, so that the masquerading of bridge and ptp does not decide before
        yield from (f"-I {new[3:]}" for new in _new_rule(f"-A {jump}", lines))
    yield from _new_chain(DNAT, lines)
    for entry in ENTRIES:
        yield from _new_rule(f"-A {entry} -m addrtype --dst-type LOCAL -j {DNAT}", lines)


def guard(lines: Sequence[str]) -> Iterator[str]:
    """For the table raw: nobody else may claim to be or want to reach localhost (CVE-2020-8558)."""
    yield from _new_chain(GUARD, lines)
    for direction in DIRECTIONS:
        yield from _new_rule(f"-A {GUARD} {direction} {LOCALNET} ! -i lo -j DROP", lines)
    yield from _new_rule(f"-A PREROUTING {commented(GUARD_COMMENT)} -j {GUARD}", lines)


def forwarding(owner: Owner, plan: Plan) -> Iterator[str]:
    """The rules of the container's own chain."""
    chain = container_chain(owner)
    mark = SETMARK if plan.mark_chain is None else plan.mark_chain
    for forward in plan.forwards:
        claim = forward.claim
        host = f" -d {claim.host_ip}/{claim.host_ip.max_prefixlen}" if claim.host_ip else ""
        base = f"{host} -p {claim.protocol} -m {claim.protocol} --dport {claim.host_port} -j"
        for source in _marked_sources(plan):
            yield f"-A {chain}{source}{base} {mark}"
        target = f"[{forward.address}]" if plan.version == 6 else forward.address  # noqa: PLR2004  (the IP version)
        yield f"-A {chain}{base} DNAT --to-destination {target}:{forward.port}"


def jumps(owner: Owner, plan: Plan) -> Iterator[str]:
    """Jumps to the container's chain by protocol, for at most 15 ports each."""
    words = commented(comment(owner.network, owner.container_id))
    conditions = "".join(f" {_quoted(token)}" for token in plan.conditions)
    for protocol, ports in _grouped(plan):
        match = f"-p {protocol} {words} -m multiport --dports {ports}{conditions}"
        yield f"-A {DNAT} {match} -j {container_chain(owner)}"


def missing(owner: Owner, plan: Plan, lines: Sequence[str]) -> Iterator[str]:
    """The rules that the container needs and the saved table lacks.

    Of a jump with conditions only ports and target are compared: a condition can be saved in
    another way than it was written.
    """
    yield from frame(plan, lines)
    for rule in forwarding(owner, plan):
        yield from _new_rule(rule, lines)
    if not plan.conditions:
        for jump in jumps(owner, plan):
            yield from _new_rule(jump, lines)
        return
    for protocol, ports in _grouped(plan):
        end = f" -j {container_chain(owner)}"
        if not any(f" --dports {ports} " in line and line.endswith(end) for line in lines):
            yield f"a jump for {protocol} {ports} to {container_chain(owner)}"


def forwards_in(lines: Iterable[str], chains: Iterable[str]) -> list[Forward]:
    """What the rules of containers' chains forward."""
    starts = tuple(f"-A {chain} " for chain in chains)
    return [_forward(line) for line in lines if line.startswith(starts) and FORWARDING.search(line)]


def holder(lines: Sequence[str], claim: Claim, own_chain: str) -> tuple[str, str] | None:
    """Network and container of another chain that has the port or hides it; None if it is free."""
    start, port = f"-A {CONTAINER}", f" --dport {claim.host_port} -j DNAT "
    for line in lines:
        if not (line.startswith(start) and port in line and FORWARDING.search(line)):
            continue
        chain, held = line.split(" ", 2)[1], _forward(line).claim
        if chain != own_chain and _hides(held, claim) and (found := _holder_of(chain, lines)):
            return found
    return None


def identities_in(lines: Iterable[str]) -> dict[str, str]:
    """The comment on the jumps to each container's chain."""
    return {
        target_of(line): _options(line).get("--comment", "")
        for line in lines
        if line.startswith(f"-A {DNAT} ") and target_of(line).startswith(CONTAINER)
    }


def require_words(plans: Iterable[Plan]) -> None:
    """Raise InvalidNetworkConfig for text that could be more than one word of a rule."""
    for plan in plans:
        if not all(token.isprintable() for token in plan.conditions):
            raise InvalidNetworkConfig(
                f"conditionsV{plan.version}: {' '.join(plan.conditions)!r} has a character that"
                " no rule can have: remove it"
            )
        if plan.mark_chain is not None and not _can_name_a_chain(plan.mark_chain):
            raise InvalidNetworkConfig(
                f'externalSetMarkChain: "{plan.mark_chain}" cannot be the name of a chain: use up'
                f" to {LONGEST_CHAIN} letters, digits and ._:-"
            )


def _can_name_a_chain(text: str) -> bool:
    return bool(re.fullmatch(r"[\w.:-]+", text)) and len(text.encode()) <= LONGEST_CHAIN


def _marked_sources(plan: Plan) -> Iterator[str]:
    """The match of each source whose connections are marked for masquerading."""
    if plan.sources == "own":
        yield f" -s {plan.container.network}"
    if plan.sources == "own" and plan.version == 4:  # noqa: PLR2004  (the IP version)
        yield f" -s {LOCALHOST}"
    if plan.sources == "any":
        yield ""


def _grouped(plan: Plan) -> Iterator[tuple[str, str]]:
    """All ports by protocol, in order, those of the other IP version too, 15 together."""
    groups: dict[str, list[str]] = {}
    for protocol, port in plan.ports:
        groups.setdefault(protocol, []).append(str(port))
    for protocol, ports in sorted(groups.items()):
        for start in range(0, len(ports), MOST_PORTS):
            yield protocol, ",".join(ports[start : start + MOST_PORTS])


def _new_chain(name: str, lines: Iterable[str]) -> Iterator[str]:
    if name not in chains_in(lines):
        yield f"-N {name}"


def _new_rule(rule: str, lines: Sequence[str]) -> Iterator[str]:
    if rule not in lines:
        yield rule


def _quoted(token: str) -> str:
    escaped = token.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _forward(line: str) -> Forward:
    """What a saved rule that translates the destination forwards."""
    options = _options(line)
    address, _, port = options["--to-destination"].rpartition(":")
    target = ip_address(address.strip("[]"))
    host = options.get("-d", "").partition("/")[0]
    host_ip = ip_address(host) if host else None
    claim = Claim(target.version, options["-p"], host_ip, int(options["--dport"]))
    return Forward(claim, target, int(port))


def _hides(held: Claim, wanted: Claim) -> bool:
    """Whether an earlier rule for `held` takes what a later one for `wanted` should get."""
    return held.protocol == wanted.protocol and held.host_ip in {None, wanted.host_ip}


def _holder_of(chain: str, lines: Iterable[str]) -> tuple[str, str] | None:
    """Whom a jump to the chain names; None if all have conditions, so that others may pass."""
    for line in lines:
        if line.startswith(f"-A {DNAT} ") and target_of(line) == chain:
            options = _options(line)
            named = IDENTITY.match(options.get("--comment", ""))
            if set(options) <= UNCONDITIONAL and " ! " not in line:
                return (named[1], named[2]) if named else ("", chain)
    return None


def _options(line: str) -> dict[str, str]:
    """Each option of a saved rule with the word behind it."""
    words = shlex.split(line)
    pairs = zip(words, [*words[1:], ""], strict=True)
    return {word: following for word, following in pairs if word.startswith("-")}
