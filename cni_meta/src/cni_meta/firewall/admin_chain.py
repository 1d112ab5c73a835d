"""What may be the name of the administrator's chain, for any iptables."""

from __future__ import annotations

import re

from cnicore.errors import InvalidNetworkConfig

NAME = re.compile(r"[#-,.-~][!#-~]*")
LONGEST = 28  # linux/netfilter/x_tables.h: XT_EXTENSION_MAXNAMELEN with the terminating zero
CHAINS = {
    *("INPUT", "FORWARD", "OUTPUT"),
    *("CNI-FORWARD", "CNI-FORWARD-OWNERS", "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"),
}
TARGETS = {
    *("ACCEPT", "DROP", "RETURN", "QUEUE", "standard", "AUDIT", "CHECKSUM", "CLASSIFY"),
    *("CLUSTERIP", "CONNMARK", "CONNSECMARK", "CT", "DNAT", "DNPT", "DSCP", "ECN", "HL", "HMARK"),
    *("IDLETIMER", "LED", "LOG", "MARK", "MASQUERADE", "NETMAP", "NFLOG", "NFQUEUE", "NOTRACK"),
    *("RATEEST", "REDIRECT", "REJECT", "SECMARK", "SET", "SNAT", "SNPT", "SYNPROXY", "TCPMSS"),
    *("TCPOPTSTRIP", "TEE", "TOS", "TPROXY", "TRACE", "TTL", "ULOG"),
}
"""Those of iptables-extensions(8), whether for one IP version or both; a host may have more."""
IS_TARGET = "it is a target of iptables"
CLASH = "chain name may not clash with target name"
"""How iptables refuses a chain that is called like a target."""


def require_usable(name: str) -> None:
    """Raise InvalidNetworkConfig for a name that no chain of the administrator can have."""
    if name in TARGETS:
        raise unusable(name, IS_TARGET)
    if name in CHAINS:
        raise unusable(name, "it is a chain with another purpose")
    if len(name) > LONGEST:
        raise unusable(name, f"it is longer than {LONGEST} characters")
    if not NAME.fullmatch(name):
        raise unusable(name, "it begins with - or !, or has a character that no name has")


def unusable(name: str, reason: str) -> InvalidNetworkConfig:
    return InvalidNetworkConfig(
        f'iptablesAdminChainName: "{name}" cannot be the chain of the administrator\'s rules:'
        f" {reason}, choose another name"
    )
