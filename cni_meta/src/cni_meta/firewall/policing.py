"""Whether somebody polices the host's forwarded packets with iptables."""

from __future__ import annotations

from collections.abc import Iterable

from cni_meta.firewall.iptables_rules import HOOK, OWN
from cni_meta.firewall.programs import LEGACY, TABLE, Program, installed
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import read_if_there
from cnicore.firewall.xtables import NFT_FAMILIES, PROGRAMS, target_of

BRIDGED = {4: "bridge-nf-call-iptables", 6: "bridge-nf-call-ip6tables"}


def host_is_policed(versions: Iterable[int]) -> bool:
    """Whether any iptables of those IP versions drops by default or has a rule that is not ours."""
    return any(polices(program) for version in versions for program in installed(version))


def polices(program: Program) -> bool:
    """Whether FORWARD has the policy DROP, or any rule of others; costs no process for nft."""
    if program.variant == LEGACY:
        return program.may_have(HOOK) and _saved_polices(program.save())
    try:
        at = {"family": NFT_FAMILIES[program.version], "table": TABLE, "name": HOOK}
        listing = read_if_there(f"look at {HOOK}", chain=at)
    except Unavailable:
        return _saved_polices(program.save())
    drops = any(entry.get("chain", {}).get("policy") == "drop" for entry in listing)
    return drops or not all(_is_ours(entry["rule"]) for entry in listing if "rule" in entry)


def bridged_packets_pass_iptables(versions: Iterable[int] = PROGRAMS) -> bool:
    """Whether br_netfilter shows iptables what a bridge forwards."""
    return all(_is_on(BRIDGED[version]) for version in versions)


def _is_on(sysctl: str) -> bool:
    try:
        with open(f"/proc/sys/net/bridge/{sysctl}", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False  # the kernel has no br_netfilter


def _saved_polices(lines: list[str]) -> bool:
    return any(
        line.startswith(f":{HOOK} DROP")
        or (line.startswith(f"-A {HOOK} ") and target_of(line) not in OWN)
        for line in lines
    )


def _is_ours(rule: dict[str, object]) -> bool:
    expression = rule["expr"]
    assert isinstance(expression, list)  # noqa: S101  (so is the JSON schema)
    return any("jump" in one and one["jump"]["target"] in OWN for one in expression)
