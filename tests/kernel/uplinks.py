"""A container with two uplinks: each leads to a router of its own, and both to the same world.

    c1 eth0 10.0.0.2, fd00::2  --  router0  --+
                                              +--  world 198.51.100.9, fd99::9
    c1 eth1 10.1.0.2, fd01::2  --  router1  --+

A router forwards only what carries an address of its own network, as providers do.
"""

from __future__ import annotations

WORLD = {4: "198.51.100.9", 6: "fd99::9"}
CONTAINER = "/run/netns/c1"

ROUTER = """
ip link add v{n} netns router{n} type veth peer name eth{n} netns c1
ip link add w{n} netns router{n} type veth peer name r{n} netns world
ip -n router{n} link set v{n} up; ip -n router{n} link set w{n} up
ip -n c1 link set eth{n} up; ip -n world link set r{n} up
ip -n c1 addr add 10.{n}.0.2/24 dev eth{n}
ip -n c1 addr add fd0{n}::2/64 dev eth{n} nodad
ip -n router{n} addr add 10.{n}.0.1/24 dev v{n}
ip -n router{n} addr add fd0{n}::1/64 dev v{n} nodad
ip -n router{n} addr add 192.0.{n}.1/24 dev w{n}
ip -n router{n} addr add fd98:{n}::1/64 dev w{n} nodad
ip -n world addr add 192.0.{n}.2/24 dev r{n}
ip -n world addr add fd98:{n}::2/64 dev r{n} nodad
ip -n router{n} route add 198.51.100.9 via 192.0.{n}.2
ip -n router{n} route add fd99::9 via fd98:{n}::2
ip -n world route add 10.{n}.0.0/24 via 192.0.{n}.1
ip -n world route add fd0{n}::/64 via fd98:{n}::1
ip netns exec router{n} sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward;
    echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
ip netns exec router{n} nft -f - <<END
table inet f {{
    chain c {{
        type filter hook forward priority 0
        iifname "v{n}" meta nfproto ipv4 ip saddr != 10.{n}.0.0/24 drop
        iifname "v{n}" meta nfproto ipv6 ip6 saddr != fd0{n}::/64 drop
    }}
}}
END
"""

DEFAULTS = """
ip -n c1 route add default via 10.0.0.1
ip -n c1 route add default via fd00::1
ip -n c1 route add 203.0.113.0/24 via 10.1.0.1 mtu 1400
ip -n c1 -6 route append default via fd01::1 dev eth1
"""


def build(sandbox) -> None:
    """Make the namespaces; the container's default routes are as plugins make them."""
    quiet = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up"
    script = [
        f"ip netns add {name}; ip netns exec {name} sh -c '{quiet}'"
        for name in ("c1", "router0", "router1", "world")
    ]
    script += [
        "ip -n world addr add 198.51.100.9/32 dev lo; ip -n world addr add fd99::9/128 dev lo"
    ]
    script += [ROUTER.format(n=number) for number in (0, 1)]
    sandbox.shell("set -e\n" + "\n".join([*script, DEFAULTS]))
    settle(sandbox, "eth0", "eth1")


def settle(sandbox, *names: str) -> None:
    """Wait for the link-local addresses: the kernel gives them when it has seen the carrier."""
    for name in names:
        sandbox.shell(
            f"for i in $(seq 600); do ip -6 route show table local dev {name} | grep -q '^local fe80:'"
            " && exit 0; sleep 0.05; done; exit 1",
            CONTAINER,
        )


def result(number: int, *, gateways: bool = True, extra: tuple = ()) -> dict:
    """What a plugin that made that uplink would have said."""
    ips = [
        {"address": f"10.{number}.0.2/24", "gateway": f"10.{number}.0.1", "interface": 0},
        {"address": f"fd0{number}::2/64", "gateway": f"fd0{number}::1", "interface": 0},
        *extra,
    ]
    if not gateways:
        ips = [{key: ip[key] for key in ip if key != "gateway"} for ip in ips]
    return {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": f"eth{number}", "sandbox": CONTAINER}],
        "ips": ips,
    }


def listing(sandbox) -> str:
    """All routes and rules of the container, in the kernel's order."""
    return sandbox.shell(
        "ip route show table all; ip -6 route show table all; ip rule; ip -6 rule", CONTAINER
    )
