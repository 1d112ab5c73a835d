"""A host with a bridge or two, the world outside, and every way to drop forwarded packets."""

from __future__ import annotations

import dataclasses

import pytest

BRIDGE = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "bridge": "br0",
    "isGateway": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}
OTHER_BRIDGE = {
    **BRIDGE,
    "name": "other",
    "bridge": "br1",
    "ipam": {
        **BRIDGE["ipam"],
        "ranges": [[{"subnet": "10.2.0.0/24"}], [{"subnet": "fd02::/64"}]],
    },
}
FIREWALL = {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}
OUTSIDE = {4: "203.0.113.2", 6: "2001:db8::2"}

CHAIN = "{ type filter hook forward priority 0; policy drop; }"
POLICE = {
    "iptables-nft": "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP",
    "iptables-legacy": "iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP",
    "nftables inet": f"nft 'table inet filter {{ chain forward {CHAIN}; }}'",
    "nftables ip and ip6": (
        f"nft 'table ip guard {{ chain f {CHAIN}; }}'; nft 'table ip6 guard {{ chain f {CHAIN}; }}'"
    ),
    "nftables twice": (
        f"nft 'table inet one {{ chain f {CHAIN}; chain g {CHAIN}; }}';"
        f"nft 'table inet two {{ chain forward {CHAIN}; }}'"
    ),
}


class Host:
    """The sandbox with containers that the plugin bridge attached, and the plugin firewall."""

    def __init__(self, sandbox, call):
        self.sandbox, self.call = sandbox, call
        self.results, self.variables = {}, {}
        # a tentative address answers nobody for up to two seconds
        sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        sandbox.outside()
        sandbox.shell("ip -n outside addr add 2001:db8::2/64 dev eth0 nodad")
        sandbox.shell("ip addr add 2001:db8::1/64 dev uplink nodad")
        sandbox.shell("ip -n outside route add default via 203.0.113.1")
        sandbox.shell("ip -n outside route add default via 2001:db8::1")

    def attach(self, name, bridge=BRIDGE):
        """A container on the bridge; the firewall knows nothing of it yet."""
        caller = dataclasses.replace(
            self.call, netns=self.sandbox.container(name), container_id=name
        )
        self.results[name] = caller.add(bridge)

    def caller(self, name):
        return dataclasses.replace(self.call, netns=f"/run/netns/{name}", container_id=name)

    def firewall(self, verb, name, **keys):
        conf = {**FIREWALL, "prevResult": self.results[name], **keys}
        return self.caller(name)(verb, conf, **self.variables)

    def add(self, name, **keys):
        conf = {**FIREWALL, "prevResult": self.results[name], **keys}
        assert self.caller(name).add(conf, **self.variables)

    def succeed(self, verb, name, **keys):
        outcome = self.firewall(verb, name, **keys)
        assert (outcome.status, outcome.text) == (0, "")

    def address(self, name, version):
        return self.results[name]["ips"][0 if version == 4 else 1]["address"].split("/")[0]

    def reaches(self, name, target, version=4):
        """Whether a ping comes back, from the outside or a container, however busy the machine."""
        return any(self._answers(name, target, version, seconds=2) for _ in range(5))

    def is_kept_from(self, name, target, version=4):
        """Whether a ping is lost; what is dropped is not waited for long."""
        return not self._answers(name, target, version, seconds=0.3)

    def _answers(self, name, target, version, seconds):
        address = OUTSIDE[version] if target == "outside" else self.address(target, version)
        answered = self.sandbox.shell(f"ping -{version} -c1 -W{seconds} {address} || true", name)
        assert "1 packets transmitted" in answered
        return "1 received" in answered

    def ruleset(self):
        """All rules of all variants, without packet counters."""
        saves = "; ".join(
            f"{name}-save"
            for kind in ("nft", "legacy")
            for name in (f"iptables-{kind}", f"ip6tables-{kind}")
        )
        text = self.sandbox.shell(f"nft -s list ruleset; {saves}")
        return [line for line in text.splitlines() if line and line[0] not in "#:"]


@pytest.fixture
def host(sandbox, call):
    return Host(sandbox, call)
