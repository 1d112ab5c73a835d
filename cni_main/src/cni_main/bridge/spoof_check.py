"""Drop what a container sends under another MAC than its own.

Tables, chains and comments are the reference's, so that either implementation removes what the
other made. The host's links say which network a check belongs to; the reference's names do not.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import Command, Refused, change, read_if_there, remove
from cnicore.net.namespace import host_namespace
from cnicore.owner import Owner, short, stale

FAMILY, TABLE, BASE_CHAIN = "bridge", "nat", "PREROUTING"
IN_TABLE = {"family": FAMILY, "table": TABLE}
IN_BASE_CHAIN = {**IN_TABLE, "chain": BASE_CHAIN}
CHAIN, MAC_CHAIN, COMMENT = "cni-br-iface-", "-mac", "macspoofchk-"
DSTNAT = -300  # linux/netfilter_bridge.h: NF_BR_PRI_NAT_DST_BRIDGED
LONGEST_COMMENT = 126  # bytes; nft refuses 128 with the terminating zero
LONGEST_NAME = (
    255  # bytes of a chain's name, linux/netfilter/nf_tables.h without the terminating zero
)
LONGEST_CONTAINER_ID = 200  # beyond it a name has a hash; the reference has no name for such a one
ATTEMPTS = 5  # each is lost only to another process that changed the very same check

Rule = dict[str, Any]


def add(owner: Owner, link: str, mac: str) -> None:
    """Let the host's link receive frames from that MAC only; a check left over is replaced.

    Raises CniError, Unavailable without nftables.
    """
    for _ in range(ATTEMPTS):
        try:
            change(f"set up the spoof check of {link}", [*_frame(), *_check(owner, link, mac)])
        except Refused as error:
            failure = error
            if error.errno != errno.EEXIST:
                break
            delete(owner)
        else:
            return
    raise CniError("failed to setup spoof-check: is nftables usable?", str(failure)) from failure


def delete(owner: Owner) -> None:
    """Remove the owner's check with every jump to it; nothing there is as wished."""
    chain = chain_of(owner)
    with suppress(Unavailable):  # then there can be no check
        # no rule can jump to a chain that is not there
        if _exists(chain):
            _remove(lambda: {chain})


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove the checks of links that are gone or belong to an invalid attachment of the network.

    A link without a tag is the reference's, and stays with its check.
    """
    keep = tuple(valid)

    def leaked() -> set[str]:
        jumps = _jumps()  # before the links: what jumps now had its link then
        with host_namespace() as host:
            aliases = {link.name: link.alias for link in host.links()}
        gone = stale(aliases.values(), network, keep)
        return {
            _target_of(rule)
            for rule in jumps
            if _link_of(rule) not in aliases or aliases[_link_of(rule)] in gone
        }

    with suppress(Unavailable):  # then there can be no check
        if _jumps():
            _remove(leaked)


def chain_of(owner: Owner) -> str:
    """The name of the chain that the check begins with."""
    return f"{CHAIN}{_identity(owner)}"


def _remove(chains: Callable[[], set[str]]) -> None:
    """Remove the checks in one transaction; look again if some of it vanished meanwhile."""
    remove("remove the spoof check", lambda: [one for chain in chains() for one in _removal(chain)])


def _identity(owner: Owner) -> str:
    identity = f"{owner.container_id}-{owner.ifname}"
    if len(f"{CHAIN}{identity}{MAC_CHAIN}".encode()) <= LONGEST_NAME:
        return identity
    return f"{short(owner.container_id, LONGEST_CONTAINER_ID)}-{owner.ifname}"


def _frame() -> list[Command]:
    """The table and the chain that every frame passes; as before where they exist."""
    hook = {"type": "filter", "hook": "prerouting", "prio": DSTNAT, "policy": "accept"}
    return [
        {"add": {"table": {"family": FAMILY, "name": TABLE}}},
        {"add": {"chain": {**IN_TABLE, "name": BASE_CHAIN, **hook}}},
    ]


def _check(owner: Owner, link: str, mac: str) -> list[Command]:
    name = chain_of(owner)
    from_link = _equals({"meta": {"key": "iifname"}}, link)
    from_mac = _equals({"payload": {"protocol": "ether", "field": "saddr"}}, mac)
    comment = f"{COMMENT}{_identity(owner)}"[:LONGEST_COMMENT]
    return [
        {"create": {"chain": {**IN_TABLE, "name": name}}},
        {"create": {"chain": {**IN_TABLE, "name": f"{name}{MAC_CHAIN}"}}},
        _rule(BASE_CHAIN, [from_link, {"jump": {"target": name}}], comment),
        _rule(name, [{"jump": {"target": f"{name}{MAC_CHAIN}"}}], comment),
        _rule(f"{name}{MAC_CHAIN}", [from_mac, {"return": None}], comment),
        _rule(f"{name}{MAC_CHAIN}", [{"drop": None}], comment),
    ]


def _removal(chain: str) -> Iterable[Command]:
    """Delete every jump to the check's chain, stale ones too, and its chains."""
    for rule in _jumps():
        if _target_of(rule) == chain:
            yield {"delete": {"rule": {**IN_BASE_CHAIN, "handle": rule["handle"]}}}
    for name in filter(_exists, (chain, f"{chain}{MAC_CHAIN}")):
        yield {"flush": {"chain": {**IN_TABLE, "name": name}}}
        yield {"delete": {"chain": {**IN_TABLE, "name": name}}}


def _exists(chain: str) -> bool:
    return bool(read_if_there(f"find the chain {chain}", chain={**IN_TABLE, "name": chain}))


def _jumps() -> list[Rule]:
    """The rules that begin a check, everybody's."""
    listing = read_if_there("list spoof checks", chain={**IN_TABLE, "name": BASE_CHAIN})
    rules: list[Rule] = [entry["rule"] for entry in listing if "rule" in entry]
    return [rule for rule in rules if _target_of(rule).startswith(CHAIN)]


def _target_of(rule: Rule) -> str:
    jumps = [one["jump"]["target"] for one in rule["expr"] if "jump" in one]
    return str(jumps[0]) if jumps else ""


def _link_of(rule: Rule) -> str:
    names = [one["match"]["right"] for one in rule["expr"] if "match" in one]
    return str(names[0]) if names else ""


def _rule(chain: str, expression: list[Any], comment: str) -> Command:
    return {"add": {"rule": {**IN_TABLE, "chain": chain, "expr": expression, "comment": comment}}}


def _equals(left: Any, right: str) -> Any:
    return {"match": {"op": "==", "left": left, "right": right}}
