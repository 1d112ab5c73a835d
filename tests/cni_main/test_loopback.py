"""loopback, on the kernel in memory."""

import pytest

from cnicore.addresses import parse_cidr
from cnicore.net.link import Link

CONF = {"cniVersion": "1.1.0", "name": "lo", "type": "loopback"}


@pytest.fixture
def container(fake_kernel):
    namespace = fake_kernel.namespaces["/run/netns/c1"]
    namespace.by_name["lo"] = Link(1, "lo")
    namespace.cidrs["lo"] = [parse_cidr("127.0.0.1/8"), parse_cidr("::1/128")]
    return namespace


@pytest.mark.parametrize(
    ("conf", "code", "message"),
    [
        ({"prevResult": "x"}, 6, "prevResult: expected an object, not a string"),
        (
            {"prevResult": {"cniVersion": "0.4.0"}},
            6,
            'result type supports [1.0.0 1.1.0] but unmarshalled CNIVersion is "0.4.0"',
        ),
        ({"dns": 1}, 7, "dns: "),
    ],
)
def test_a_bad_configuration_is_refused(call, container, conf, code, message):
    outcome = call("ADD", {**CONF, **conf})

    assert (outcome.status, outcome.document["code"]) == (1, code)
    assert message in outcome.document["msg"]
    assert not container.by_name["lo"].is_up


def test_add_brings_lo_up_and_reports_the_first_address_of_each_family(call, container):
    document = call.add(CONF)

    assert container.by_name["lo"].is_up
    assert document == {
        "cniVersion": "1.1.0",
        "interfaces": [{"mac": "00:00:00:00:00:00", "name": "lo", "sandbox": "/run/netns/c1"}],
        "ips": [
            {"address": "127.0.0.1/8", "interface": 0},
            {"address": "::1/128", "interface": 0},
        ],
    }


def test_add_passes_an_earlier_result_on_in_the_configurations_version(call, container):
    earlier = {"ips": [{"version": "4", "address": "10.0.0.2/24"}]}

    document = call.add({**CONF, "cniVersion": "0.4.0", "prevResult": earlier})

    assert document["ips"] == [{"version": "4", "address": "10.0.0.2/24"}]
    assert document["cniVersion"] == "0.4.0"


def test_the_result_has_the_shape_of_an_old_version_too(call, container):
    document = call.add({"name": "lo", "type": "loopback"})

    assert document == {
        "cniVersion": "0.1.0",
        "ip4": {"ip": "127.0.0.1/8"},
        "ip6": {"ip": "::1/128"},
        "dns": {},
    }


def test_a_foreign_address_on_lo_is_an_error_and_lo_stays_down(call, container):
    container.cidrs["lo"].append(parse_cidr("10.0.0.1/24"))

    outcome = call("ADD", CONF)

    assert 'non-loopback address "10.0.0.1"' in outcome.document["msg"]
    assert not container.by_name["lo"].is_up


def test_add_that_fails_at_any_call_leaves_lo_down(call, container, fake_kernel):
    for number in range(1, 20):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", CONF)
        if outcome.status == 0:
            break
        assert not container.by_name["lo"].is_up, number
    assert outcome.status == 0


def test_del_takes_lo_down_and_succeeds_again_and_without_a_namespace(call, container):
    call.add(CONF)

    assert call("DEL", CONF).status == 0
    assert not container.by_name["lo"].is_up
    assert call("DEL", CONF).status == 0
    assert call("DEL", CONF, CNI_NETNS="").status == 0
    assert call("DEL", CONF, CNI_NETNS="/run/netns/gone").status == 0


def test_check_fails_when_lo_was_set_down(call, container):
    call.add(CONF)
    assert call("CHECK", CONF).status == 0

    container.set_down("lo")

    assert call("CHECK", CONF).document["msg"] == "loopback interface is down"


def test_gc_and_status_succeed(call, container):
    assert call("GC", CONF).status == 0
    assert call("STATUS", CONF).status == 0


def test_a_missing_namespace_is_named(call, container):
    outcome = call("ADD", CONF, CNI_NETNS="/run/netns/gone")

    assert outcome.document["code"] == 8
    assert '"/run/netns/gone"' in outcome.document["msg"]
