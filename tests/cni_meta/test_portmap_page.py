"""The example of the page about portmap does what the page says."""

import json
import re
from pathlib import Path

import pytest

from kernel.published import PORTMAP, Host

PAGE = Path(__file__).parents[2] / "docs/reference/plugins/portmap.md"

pytestmark = pytest.mark.kernel


def blocks():
    return [
        json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    ]


def test_the_example_publishes_the_ports_on_the_page(sandbox, call):
    host = Host(sandbox, call)
    sandbox.shell("ip addr add 192.0.2.7/24 dev uplink")
    conflist, arguments, _ = blocks()
    common = {key: conflist[key] for key in ("cniVersion", "name")}
    main, portmap = ({**common, **conf} for conf in conflist["plugins"])
    host.netns["c1"] = sandbox.container("c1")
    host.attached["c1"] = host.caller("c1").add(main)
    conf = {**portmap, "runtimeConfig": arguments, "prevResult": host.attached["c1"]}

    assert host.caller("c1").add(conf) == host.attached["c1"]

    assert host.tcp("outside", "192.0.2.7", 8080, "c1") == "203.0.113.2"
    assert host.tcp("host", "127.0.0.1", 8080, "c1") == "10.1.0.1"
    assert host.udp("outside", "192.0.2.7", 5353, "c1") == "203.0.113.2"
    for verb in ("STATUS", "CHECK", "DEL"):
        assert host.caller("c1")(verb, conf).text == ""


def test_the_conditions_on_the_page_are_understood(sandbox, call):
    *_, conditions = blocks()
    host = Host(sandbox, call)
    ports = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}

    conf = host.publish("c1", ports, **conditions)

    assert host.caller("c1")("CHECK", conf).text == ""


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"runtimeConfig": {"portMappings": [{"containerPort": 80, "protocol": "tcp"}]}},
            "number: 0",
        ),
        ({"backend": "nftables", "markMasqBit": 13}, "iptables-specific options"),
        ({"conditionsV4": ["ip", "ttl", "1", "accept"]}, '"accept" is no condition'),
        ({"conditionsV4": ["bogus"]}, "nft does not understand the conditions"),
        ({"conditionsV4": ["--bogus"]}, "iptables refuses the conditions"),
        ({"externalSetMarkChain": "KUBE-MARK-MASQ"}, "create it first"),
    ],
)
def test_the_messages_on_the_page_are_real(sandbox, call, keys, says):
    host = Host(sandbox, call)
    host.attach("c1")
    port = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}

    message = host.caller("c1")("ADD", {**host.conf("c1", port), **keys}).document["msg"]

    assert says in message
    assert f"| `{message}` |" in PAGE.read_text()


def test_the_names_on_the_page_are_those_on_the_system(sandbox, call):
    host = Host(sandbox, call)
    host.publish(
        "c1", {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, backend="iptables"
    )
    saved = sandbox.shell("iptables-save")

    for name in re.findall(r"`(CNI-HOSTPORT-\w+)`", PAGE.read_text()):
        assert f":{name} -" in saved
    assert PORTMAP["type"] == "portmap"
