"""Addresses from the plugin that the configuration names."""

from __future__ import annotations

import json

import pytest

from cnicore import ipam
from cnicore.attempts import attempt_all
from cnicore.config import NetConf, parse_config
from cnicore.errors import CniError, ForeignError, InvalidNetworkConfig
from cnicore.request import read_request
from cnicore.rollback import rollback

LEASED = '{"ips": [{"address": "10.0.0.5/24"}]}'


@pytest.fixture
def asked(tmp_path):
    """Makes the IPAM plugin `acme`, which answers an ADD; returns what asks for a verb."""
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "ptp", "ipam": {"type": "acme"}}
    file = tmp_path / "acme"

    def asked(answer=LEASED, status=0, verb="ADD", **changes):
        log = f'echo "$CNI_COMMAND" >>{tmp_path}/verbs'
        answers = f"""[ "$CNI_COMMAND" = DEL ] || {{ echo '{answer}'; exit {status}; }}"""
        file.write_text(f"#!/bin/sh\n{log}\n{answers}\n")
        file.chmod(0o755)
        stdin = json.dumps({**conf, **changes}).encode()
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/run/netns/c1",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(tmp_path),
        }
        request = read_request(environ, lambda: stdin)
        return request, parse_config(NetConf, request.document)

    return asked


@pytest.fixture
def verbs(tmp_path):
    def verbs():
        file = tmp_path / "verbs"
        return file.read_text().split() if file.exists() else []

    return verbs


def lease(request, conf):
    with rollback() as on_failure:
        return ipam.lease(request, conf, on_failure)


def test_addresses_are_leased_and_kept(asked, verbs):
    assert [str(ip.address) for ip in lease(*asked()).ips] == ["10.0.0.5/24"]
    assert verbs() == ["ADD"]


def test_a_later_failure_gives_them_back(asked, verbs):
    with pytest.raises(LookupError), rollback() as on_failure:
        ipam.lease(*asked(), on_failure)
        raise LookupError
    assert verbs() == ["ADD", "DEL"]


def test_a_lease_without_an_address_is_refused_and_given_back(asked, verbs):
    with pytest.raises(InvalidNetworkConfig, match="IPAM plugin returned missing IP config"):
        lease(*asked("{}"))
    assert verbs() == ["ADD", "DEL"]


@pytest.mark.parametrize("answer", ["garbage", "[]", '{"cniVersion": "9.9.9"}', '{"ips": 5}'])
def test_a_lease_that_nobody_can_read_is_given_back(asked, verbs, answer):
    with pytest.raises(CniError):
        lease(*asked(answer))
    assert verbs() == ["ADD", "DEL"]


def test_a_lease_that_failed_is_not_given_back(asked, verbs):
    """DEL would take the address of an earlier attachment of the same interface."""
    with pytest.raises(ForeignError) as caught:
        lease(*asked('{"code": 11, "msg": "full"}', 1))
    assert (caught.value.code, caught.value.msg) == (11, "full")
    assert verbs() == ["ADD"]


def test_without_a_plugin_there_is_nothing_to_lease_from(asked, verbs):
    with pytest.raises(InvalidNetworkConfig) as caught:
        lease(*asked(ipam={}))
    assert caught.value.msg == (
        'ipam.type: no plugin name provided: "ptp" needs an IPAM plugin, for example host-local'
    )
    assert verbs() == []


@pytest.mark.parametrize("verb", ["CHECK", "GC", "STATUS"])
def test_other_verbs_are_passed_on(asked, verbs, verb):
    ipam.forward(*asked(verb=verb))
    assert verbs() == [verb]


def test_a_plugin_that_cannot_serve_is_the_callers_failure(asked):
    with pytest.raises(CniError) as caught:
        ipam.forward(*asked('{"code": 50, "msg": "no store"}', 1, "STATUS"))
    assert caught.value.code == 50


@pytest.mark.parametrize("work", [ipam.release, ipam.forward])
def test_without_a_plugin_nothing_is_passed_on(asked, verbs, work):
    work(*asked(verb="CHECK", ipam=None))
    assert verbs() == []


def test_addresses_are_released_whatever_verb_it_is_for(asked, verbs):
    ipam.release(*asked(verb="ADD"))
    assert verbs() == ["DEL"]


@pytest.mark.parametrize(
    ("plugin_type", "order"),
    [("acme", ["the link is gone", "DEL"]), ("dhcp", ["DEL", "the link is gone"])],
)
def test_an_address_is_given_back_behind_the_link_or_through_it(
    asked, tmp_path, verbs, plugin_type, order
):
    request, conf = asked(verb="DEL", ipam={"type": plugin_type})
    (tmp_path / "acme").rename(tmp_path / plugin_type)
    done = []
    with attempt_all() as attempt, ipam.releasing(request, conf, attempt):
        done += [*verbs(), "the link is gone"]
    assert [*done, *verbs()[len(done) - 1 :]] == order


@pytest.mark.parametrize("plugin_type", ["acme", "dhcp"])
def test_all_is_tried_whatever_becomes_of_the_address(asked, plugin_type):
    request, conf = asked(verb="DEL", ipam={"type": f"no-{plugin_type}"})
    done = []
    with pytest.raises(CniError, match="failed to find plugin"), attempt_all() as attempt:
        with ipam.releasing(request, conf, attempt):
            done.append("the link is gone")
        attempt(done.append, "the rest")
    assert done == ["the link is gone", "the rest"]


def test_an_address_that_is_still_in_use_is_kept(asked, verbs):
    request, conf = asked(verb="DEL")
    with (
        pytest.raises(LookupError),
        attempt_all() as attempt,
        ipam.releasing(request, conf, attempt),
    ):
        raise LookupError
    assert verbs() == []
