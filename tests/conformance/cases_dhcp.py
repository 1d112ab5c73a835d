"""Configurations of dhcp and what its server is told to say, one address in its pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conformance.cases_bridge import bridge
from conformance.scenario import LIFE, Case

ROUTER = "dhcp-option=option:router,10.1.0.1"
DEFAULT_TOO = "dhcp-option=option:classless-static-route,10.9.0.0/16,10.1.0.3,0.0.0.0/0,10.1.0.1"
ON_LINK = "dhcp-option=option:classless-static-route,10.9.0.0/16,0.0.0.0"
OLD_ROUTES = "dhcp-option=option:static-route,10.9.0.0,10.1.0.3,192.168.5.0,10.1.0.4"
SHORT = ("ADD", "DEL")
CLASSLESS = [{"option": "121"}]


@dataclass(frozen=True)
class Served:
    """A case, and lines for the server's configuration. With `is_away` no daemon answers."""

    case: Case
    lines: tuple[str, ...] = (ROUTER,)
    is_away: bool = False


def dhcp(**keys: Any) -> dict[str, Any]:
    ipam = {"type": "dhcp", **keys}
    return {"cniVersion": "1.0.0", "name": "n1", "type": "dhcp", "ipam": ipam}


GOOD = [
    Served(Case("dhcp", dhcp(), LIFE)),
    Served(Case("dhcp without a router", dhcp(), SHORT), ()),
    Served(
        Case("dhcp two routers", dhcp(), SHORT), ("dhcp-option=option:router,10.1.0.1,10.1.0.2",)
    ),
    Served(Case("dhcp 0.2.0", {**dhcp(), "cniVersion": "0.2.0"}, SHORT)),
    Served(
        Case("dhcp static routes", dhcp(request=[{"option": "33"}]), SHORT), (ROUTER, OLD_ROUTES)
    ),
    Served(Case("dhcp classless routes", dhcp(request=CLASSLESS), SHORT), (ROUTER, DEFAULT_TOO)),
    Served(Case("dhcp classless routes without asking", dhcp(), SHORT), (ROUTER, DEFAULT_TOO)),
    Served(
        Case("dhcp classless before static", dhcp(request=[*CLASSLESS, {"option": "33"}]), SHORT),
        (ROUTER, DEFAULT_TOO, OLD_ROUTES),
    ),
    Served(
        Case(
            "dhcp skipDefault",
            dhcp(request=[{"skipDefault": True, "option": "subnet-mask"}]),
            SHORT,
        )
    ),
    Served(
        Case(
            "dhcp provide",
            dhcp(
                provide=[
                    {"option": "host-name", "value": "web", "fromArg": "POD"},
                    {"option": "vendor-class-identifier", "value": "shop"},
                ]
            ),
            SHORT,
            variables={"CNI_ARGS": "POD=web-1"},
        )
    ),
    Served(
        Case(
            "bridge dhcp",
            bridge(ipam=dhcp()["ipam"]),
            ("ADD", "CHECK", "DEL"),
            prepare="ip -n c1 link delete eth0",
        )
    ),
]

CHANGED = [
    Served(Case("dhcp on the link", dhcp(request=CLASSLESS), SHORT), (ON_LINK,)),
    Served(Case("dhcp name servers", dhcp(request=[{"option": "6"}]), SHORT)),
    Served(Case("dhcp CHECK alone", dhcp(), ("CHECK",))),
    Served(Case("dhcp DEL alone", dhcp(), ("DEL",))),
]

BAD = [
    Served(Case("dhcp option unknown", dhcp(request=[{"option": "colour"}]), SHORT, says="colour")),
    Served(Case("dhcp no daemon", dhcp(), SHORT, says="dhcp daemon"), is_away=True),
    Served(
        Case(
            "dhcp no such interface",
            dhcp(),
            SHORT,
            variables={"CNI_IFNAME": "eth7"},
            says="eth7",
        )
    ),
    Served(
        Case(
            "dhcp no netns",
            dhcp(),
            SHORT,
            variables={"CNI_NETNS": "/run/netns/none"},
            says="/run/netns/none",
        )
    ),
]

CASES = [*GOOD, *CHANGED, *BAD]
