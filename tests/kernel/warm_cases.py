"""What tests of the server call, and how they wait in the middle of it."""

from conformance.stage import DATA
from kernel.dhcp_servers import eventually
from kernel.warm_server import SLOW

LEASED = {"type": "host-local", "dataDir": str(DATA), "ranges": [[{"subnet": "10.1.0.0/24"}]]}
BOTH = {**LEASED, "ranges": [*LEASED["ranges"], [{"subnet": "fd00:1::/64"}]]}
NET = {"cniVersion": "1.1.0", "name": "net"}
PTP = {**NET, "type": "ptp", "ipMasq": True, "ipam": BOTH}
BRIDGE = {**NET, "type": "bridge", "bridge": "br0", "isGateway": True, "ipam": BOTH}
SLOW_PTP = {**NET, "type": "ptp", "ipam": {"type": "slow"}}
PREVIOUS = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": [{"address": "10.1.0.2/24", "interface": 0}],
}
PORTMAP = {
    **NET,
    "type": "portmap",
    "prevResult": PREVIOUS,
    "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
}
FIREWALL = {**NET, "type": "firewall", "prevResult": PREVIOUS}
ALONE = {**NET, "type": "host-local", "ipam": LEASED}
LOOPBACK = {**NET, "type": "loopback"}


def both(host, act):
    """What is true without a server, and with one that nobody can do without."""
    seen = []
    for suite in ("cold", "strict"):
        host.use(suite)
        seen.append(act())
    return seen


def begun(host, times=1, **keys):
    """An ADD that waits for the foreign plugin."""
    process = host.start("ADD", SLOW_PTP, **keys)
    wait_for_begin(times)
    return process


def wait_for_begin(times=1):
    eventually(lambda: said().count("ADD") >= times)
    eventually((SLOW / "lease-c1").exists)


def said():
    log = SLOW / "log"
    return log.read_text().split() if log.exists() else []


def go():
    (SLOW / "go").touch()
