"""The dialogue with DHCPv6 servers: which messages, when, which answers count."""

import asyncio
import logging
import math
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface

import pytest
from hypothesis import HealthCheck, given, settings

from cni_ipam.dhcp.dialogue import Refused, Unanswered
from cni_ipam.dhcp.exchange6 import Client6, Exchange6
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.message6 import Ia, Kind6, Status, encode
from cni_ipam.dhcp.terms import DHCPV6, Lease6, Term, Wish
from dhcp.damage import CHANGES, damaging
from dhcp.scene import OWNER, Scene, in_place
from dhcp.servers import ADDRESS6, DUID, Server6, ia_of, serving6
from dhcp.virtual import START, run

OUR_DUID = bytes.fromhex("00040b2d986ae30816cd1bacb3f39e6f8bdd")
OTHER = bytes.fromhex("00030001020000000099")
INFINITE = 0xFFFFFFFF


@pytest.fixture
def server():
    with serving6(Server6()) as server:
        yield server


@pytest.fixture
def scene(tmp_path):
    with in_place(Scene(tmp_path)) as scene:
        scene.container.cidrs["eth0"] = [IPv6Interface("fe80::2/64")]
        yield scene


@pytest.fixture
def dialogue(scene):
    return exchange(scene)


def exchange(scene, netns=3, **wish):
    wish = Wish(protocols=(DHCPV6,), **wish)
    client = Client6(netns, scene.place(), wish, b"c1/mynet/eth0")
    return Exchange6(client, Journal(OWNER))


def a_lease(address=ADDRESS6):
    return Lease6(address, DUID, Term(START, START + 250, START + 400, START + 1000))


def obtained(dialogue, seconds=10.0):
    return run(lambda: dialogue.obtain(seconds, START))


def extended(dialogue, *, of_all=False):
    return run(lambda: dialogue.extend(a_lease(), of_all=of_all, seconds=10.0))


class TestObtain:
    def test_an_address_is_asked_for_in_two_steps(self, server, dialogue):
        lease = obtained(dialogue)

        assert server.kinds() == ["SOLICIT", "REQUEST"]
        assert (lease.address, lease.server) == (ADDRESS6, DUID)
        begin = lease.term.begin
        assert lease.term == Term(begin, begin + 250, begin + 400, begin + 1000)
        assert lease.preferred == begin + 500

    def test_the_messages_name_the_client_and_its_address(self, server, dialogue):
        obtained(dialogue)
        solicit, request = (one.message for one in server.heard)

        assert solicit.client == request.client == OUR_DUID
        assert (solicit.server, request.server) == (None, DUID)
        assert solicit.xid != request.xid
        assert ia_of(solicit).addresses == ()
        assert [one.address for one in ia_of(request).addresses] == [ADDRESS6]
        assert ia_of(solicit).iaid == ia_of(request).iaid
        assert solicit.elapsed == 0
        assert 100 <= request.elapsed <= 102

    def test_it_is_called_the_same_every_time_and_unlike_others(self, server, scene):
        obtained(exchange(scene))
        obtained(exchange(scene))

        assert {one.message.client for one in server.heard} == {OUR_DUID}
        other = Client6(3, scene.place(), Wish(), b"c2/mynet/eth0")
        assert other.duid != OUR_DUID

    @pytest.mark.parametrize(
        ("request_", "asked"),
        [((3, 1), ()), ((6,), (23,)), ((15, 119), (24,)), ((119, 3, 6), (24, 23))],
    )
    def test_what_is_asked_for_is_translated(self, server, scene, request_, asked):
        obtained(exchange(scene, request=request_))

        assert all(one.message.request == asked for one in server.heard)

    def test_what_servers_say_of_names_is_kept(self, server, dialogue):
        server.more = {"dns": (IPv6Address("fd00::53"),), "search": ("example.org",)}
        lease = obtained(dialogue)

        assert lease.dns == (IPv6Address("fd00::53"),)
        assert lease.search == ("example.org",)

    def test_the_best_advertisement_of_the_first_second_wins(self, server, dialogue):
        def replies(message):
            (one,) = Server6.replies(server, message)
            if message.kind is Kind6.REQUEST:
                return [replace(one, server=message.server)]
            return [replace(one, preference=1), replace(one, preference=7, server=OTHER), one]

        server.replies = replies
        assert obtained(dialogue).server == OTHER

    def test_a_server_that_is_sure_is_not_waited_for(self, server, dialogue):
        server.more = {"preference": 255}
        assert obtained(dialogue).term.begin == START

    def test_half_of_a_short_attempt_is_left_for_the_request(self, server, dialogue):
        assert obtained(dialogue, seconds=1.0).term.begin == START + 0.5

    def test_a_message_is_repeated_until_the_attempt_is_over(self, server, dialogue):
        server.answers = set()

        async def attempt():
            with pytest.raises(Unanswered):
                await dialogue.obtain(10.0, START)
            return asyncio.get_running_loop().time()

        assert run(attempt) == pytest.approx(START + 10)
        assert server.kinds() == ["SOLICIT"] * 4
        assert len({one.message.xid for one in server.heard}) == 1
        for one in server.heard:
            assert one.message.elapsed / 100 == pytest.approx(one.moment - START, abs=0.02)

    def test_the_link_is_waited_for_until_its_own_address_can_be_used(self, server, scene):
        scene.container.cidrs.clear()

        async def main():
            asyncio.get_running_loop().call_later(
                3, lambda: scene.container.cidrs.update(eth0=[IPv6Interface("fe80::2/64")])
            )
            return await exchange(scene).obtain(10.0, START)

        assert run(main).address == ADDRESS6
        assert server.heard[0].moment == pytest.approx(START + 3, abs=0.2)

    def test_without_such_an_address_the_reason_is_told(self, server, scene):
        scene.container.cidrs.clear()

        with pytest.raises(Unanswered, match="eth0 has no link-local IPv6 address that can be"):
            obtained(exchange(scene))
        assert server.heard == []

    @pytest.mark.parametrize(
        ("times", "preferred", "valid", "term"),
        [
            ((100, 200), 500, 1000, (100, 200, 1000)),
            ((0, 0), 500, 1000, (250, 400, 1000)),
            ((600, 600), 800, 1000, (400, 640, 1000)),
            ((900, 1000), 1000, 1000, (500, 800, 1000)),
            ((0, 0), 0, 1000, (500, 800, 1000)),
            ((0, 0), INFINITE, INFINITE, (math.inf, math.inf, math.inf)),
            ((INFINITE, INFINITE), 500, 1000, (250, 400, 1000)),
        ],
    )
    def test_the_times(self, server, dialogue, times, preferred, valid, term):
        server.times, server.preferred, server.valid = times, preferred, valid
        server.more = {"preference": 255}
        lease = obtained(dialogue)

        assert lease.term == Term(START, *(START + one for one in term))


class TestAnswers:
    @pytest.mark.parametrize(
        "change",
        [
            lambda one: replace(one, xid=one.xid ^ 1),
            lambda one: replace(one, client=OTHER),
            lambda one: replace(one, kind=Kind6.RENEW),
            lambda one: b"",
            lambda one: b"\1" * 300,
        ],
        ids=["number", "client", "of a client", "empty", "noise"],
    )
    def test_what_is_not_for_us_is_passed_over_in_silence(self, server, dialogue, caplog, change):
        server.change = change

        with pytest.raises(Unanswered) as raised:
            obtained(dialogue)
        assert (str(raised.value), caplog.messages) == ("", [])

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda one: replace(one, server=None), "does not say which server"),
            (lambda one: replace(one, ia=Ia(7)), "another association"),
            (lambda one: replace(one, ia=None), "no address that can be used"),
            (lambda one: replace(one, ia=replace(one.ia, addresses=())), "no address that can"),
            (lambda one: with_address(one, address=IPv6Address("::")), "no address that can"),
            (lambda one: with_address(one, address=IPv6Address("::1")), "no address that can"),
            (lambda one: with_address(one, address=IPv6Address("ff02::1")), "no address that can"),
            (lambda one: with_address(one, address=IPv6Address("fe80::9")), "no address that can"),
            (lambda one: with_address(one, valid=0), "no address that can be used"),
            (lambda one: replace(one, status=Status(2, "none left")), "NoAddrsAvail: none left"),
            (
                lambda one: replace(one, ia=replace(one.ia, status=Status(2))),
                "advertises no address: NoAddrsAvail",
            ),
            (lambda one: replace(one, status=Status(77)), "status 77"),
            (lambda one: encode(one)[:-3], "cut off|longer than its packet"),
        ],
    )
    def test_a_useless_advertisement_is_told_once_and_ignored(
        self, server, dialogue, caplog, change, complaint
    ):
        server.change = change

        with pytest.raises(Unanswered, match=complaint):
            obtained(dialogue)
        assert server.kinds() == ["SOLICIT"] * 4
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("c1/mynet/eth0: ignored a dhcpv6 message: ")

    def test_no_to_a_request_is_an_end_of_the_attempt(self, server, dialogue):
        server.status = {Kind6.REQUEST: Status(2, "taken")}

        with pytest.raises(Refused, match="the DHCPv6 server said no: NoAddrsAvail: taken"):
            obtained(dialogue)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_whatever_comes_the_dialogue_goes_on(dialogue, changes):
    """A server whose every answer has some bytes changed: a lease, a no, or no answer."""
    names = {"dns": (ADDRESS6,), "search": ("example.org",)}
    with serving6(Server6(change=damaging(changes, encode), more=names)):
        with suppress(Unanswered, Refused):
            assert isinstance(obtained(dialogue), Lease6)
        with suppress(Unanswered, Refused):
            assert isinstance(extended(dialogue, of_all=True), Lease6)


def with_address(message, **keys):
    (address,) = message.ia.addresses
    changed = replace(address, **{"preferred": 0, **keys})
    return replace(message, ia=replace(message.ia, addresses=(changed,)))


class TestExtend:
    @pytest.mark.parametrize("of_all", [False, True])
    def test_what_is_had_is_named(self, server, dialogue, of_all):
        lease = extended(dialogue, of_all=of_all)
        (heard,) = server.heard

        assert heard.message.kind is (Kind6.REBIND if of_all else Kind6.RENEW)
        assert heard.message.server == (None if of_all else DUID)
        assert [one.address for one in ia_of(heard.message).addresses] == [ADDRESS6]
        assert lease == replace(a_lease(), preferred=START + 500)

    def test_it_is_sent_once(self, server, dialogue):
        server.answers = set()
        with pytest.raises(Unanswered):
            extended(dialogue)

        assert server.kinds() == ["RENEW"]

    def test_a_server_that_has_forgotten_it_says_no(self, server, dialogue):
        server.status = {Kind6.RENEW: Status(3)}

        with pytest.raises(Refused, match="NoBinding"):
            extended(dialogue)

    @pytest.mark.parametrize("of_all", [False, True])
    def test_another_server_may_answer_a_rebinding_only(self, server, dialogue, of_all):
        server.change = lambda one: replace(one, server=OTHER)

        if of_all:
            assert extended(dialogue, of_all=True).server == OTHER
        else:
            with pytest.raises(Unanswered):
                extended(dialogue)

    def test_an_address_that_is_taken_away_is_none(self, server, dialogue):
        server.preferred, server.valid = 0, 0

        with pytest.raises(Refused, match="granted no address"):
            extended(dialogue)

    def test_another_address_is_taken(self, server, dialogue):
        server.address = IPv6Address("fd00::77")

        assert extended(dialogue, of_all=True).address == IPv6Address("fd00::77")


class TestRelease:
    def released(self, scene, server, netns=3):
        async def main():
            exchange(scene, netns).release(a_lease())

        run(main)
        return [(one.link, one.message) for one in server.heard]

    def test_it_goes_through_the_containers_interface(self, scene, server, caplog):
        caplog.set_level(logging.INFO)
        ((link, message),) = self.released(scene, server)

        assert (link, message.kind) == ("eth0", Kind6.RELEASE)
        assert (message.client, message.server) == (OUR_DUID, DUID)
        assert [one.address for one in ia_of(message).addresses] == [ADDRESS6]
        assert "c1/mynet/eth0: released fd00::50 through eth0" in caplog.messages

    def test_if_that_is_gone_it_goes_through_the_hosts_bridge(self, scene, server, caplog):
        caplog.set_level(logging.INFO)
        scene.container.delete_link("eth0")

        assert self.released(scene, server)[0][0] == "br0"
        assert "released fd00::50 through br0 of the host" in caplog.text

    def test_if_the_namespace_is_gone_it_goes_through_the_hosts_bridge(self, scene, server):
        assert self.released(scene, server, None)[0][0] == "br0"

    def test_without_any_link_it_is_for_the_journal(self, scene, server, caplog):
        scene.host.delete_link("br0")

        assert self.released(scene, server, None) == []
        assert "could not send the DHCPv6 RELEASE of fd00::50: its link is gone" in caplog.text
