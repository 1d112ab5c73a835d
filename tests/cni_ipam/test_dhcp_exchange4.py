"""The dialogue with DHCPv4 servers: which messages, when, which answers count."""

import asyncio
import errno
import logging
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings

from cni_ipam.dhcp.dialogue import Refused, Unanswered
from cni_ipam.dhcp.exchange4 import Client4, Exchange4
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.message4 import Kind4, encode
from cni_ipam.dhcp.terms import Lease4, Place, Term, Wish
from cni_ipam.dhcp.wire4 import Way
from cnicore.errors import CniError
from dhcp.damage import CHANGES, damaging
from dhcp.scene import OWNER, Scene, in_place
from dhcp.servers import ADDRESS, MAC, SERVER, SERVER_MAC, Server4, serving4
from dhcp.virtual import START, run

IDENTITY = {61: b"\0c1/mynet/eth0"}
WISH = Wish()
OTHER = IPv4Address("10.1.0.9")


@pytest.fixture
def server():
    with serving4(Server4()) as server:
        yield server


def exchange(wish=WISH, netns=3, *, broadcast=False):
    place = Place("/run/netns/c1", 4, 5, "eth0", MAC, ("br0",))
    client = Client4(netns, place, wish, b"c1/mynet/eth0", broadcast)
    return Exchange4(client, Journal(OWNER))


def obtained(dialogue=None, seconds=10.0, since=START):
    return run(lambda: (dialogue or exchange()).obtain(seconds, since))


def a_lease():
    term = Term(START, START + 500, START + 875, START + 1000)
    return Lease4(IPv4Interface("10.1.0.50/24"), SERVER, SERVER_MAC, term)


def extended(*, of_all=False, seconds=10.0):
    return run(lambda: exchange().extend(a_lease(), of_all=of_all, seconds=seconds))


class TestObtain:
    def test_a_lease_is_asked_for_in_two_steps(self, server):
        lease = obtained()

        assert server.kinds() == ["DISCOVER", "REQUEST"]
        assert lease.address == IPv4Interface("10.1.0.50/24")
        assert (lease.server, lease.server_mac) == (SERVER, SERVER_MAC)
        assert lease.term == Term(START, START + 500, START + 875, START + 1000)

    def test_the_messages_are_as_the_reference_sends_them(self, server):
        obtained()
        discover, request = server.heard

        common = {55: b"\3\1", 57: (1500).to_bytes(2, "big"), **IDENTITY}
        assert discover.message.options == common
        assert request.message.options == {**common, 50: ADDRESS.packed, 54: SERVER.packed}
        assert request.message.xid == discover.message.xid
        for one in server.heard:
            assert one.way == Way()
            assert (one.message.mac, one.message.ciaddr) == (MAC, IPv4Address(0))
            assert not one.message.broadcast
            assert one.message.secs == 0

    def test_every_lease_is_asked_for_with_another_number(self, server):
        obtained()
        obtained()

        assert len({one.message.xid for one in server.of(Kind4.DISCOVER)}) == 2

    def test_servers_are_told_for_how_long_they_have_been_asked(self, server):
        obtained(since=START - 70)

        assert [one.message.secs for one in server.heard] == [70, 70]

    def test_the_broadcast_flag_is_set_if_it_is_wished_for(self, server):
        obtained(exchange(broadcast=True))

        assert all(one.message.broadcast for one in server.heard)

    def test_the_configuration_chooses_what_is_asked_for_and_sent(self, server):
        wish = Wish(request=(121, 12, 3, 1), send=((12, b"web"), (60, b"cni")))
        obtained(exchange(wish))

        for one in server.heard:
            assert one.message.options[55] == bytes([121, 12, 3, 1])
            assert one.message.options[12] == b"web"
            assert one.message.options[60] == b"cni"

    def test_a_configured_client_identifier_takes_the_place_of_ours(self, server):
        dialogue = exchange(Wish(send=((61, b"\1abc"),)))
        lease = obtained(dialogue)
        run(lambda: extend(dialogue, lease))

        assert [one.message.options[61] for one in server.heard] == [b"\1abc"] * 3

    def test_what_the_codec_writes_itself_cannot_be_configured(self, server):
        obtained(exchange(Wish(send=((53, b"\7"), (0, b"x"), (255, b"x")))))

        assert server.kinds() == ["DISCOVER", "REQUEST"]

    def test_a_message_is_repeated_after_one_two_and_four_seconds(self, server):
        server.answers = set()
        with pytest.raises(Unanswered):
            obtained()

        moments = [one.moment - START for one in server.heard]
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert len(moments) == 4
        for gap, wanted in zip(gaps, (1, 2, 4), strict=True):
            assert wanted * 0.9 <= gap <= wanted * 1.1
        assert len(set(gaps)) == 3
        assert len({one.message.xid for one in server.heard}) == 1

    def test_an_attempt_lasts_as_long_as_it_may(self, server):
        server.answers = set()

        async def attempt():
            with pytest.raises(Unanswered):
                await exchange().obtain(10.0, START)
            return asyncio.get_running_loop().time()

        assert run(attempt) == pytest.approx(START + 10)

    def test_offer_and_acknowledgement_share_the_time_of_the_attempt(self, server):
        server.answers = {Kind4.DISCOVER}

        async def attempt():
            with pytest.raises(Unanswered):
                await exchange().obtain(10.0, START)
            return asyncio.get_running_loop().time()

        assert run(attempt) == pytest.approx(START + 10)
        assert len(server.of(Kind4.REQUEST)) == 4

    def test_no_is_an_end_of_the_attempt(self, server):
        server.naks = {Kind4.REQUEST}
        server.change = lambda message: replace(
            message, options={**message.options, 56: b"taken\0"}
        )

        with pytest.raises(Refused, match=r"the server 10\.1\.0\.1 said no \(DHCPNAK\): taken"):
            obtained()

    def test_the_words_of_a_server_break_no_line_of_the_log(self, server):
        server.naks = {Kind4.REQUEST}
        server.change = lambda one: replace(one, options={**one.options, 56: b"a\nb\x1b\xff"})

        with pytest.raises(Refused, match=r"a\?b\?.$"):
            obtained()

    def test_the_port_is_closed_whatever_happens(self, server):
        server.error = OSError(errno.ENETDOWN, "Network is down")

        with pytest.raises(OSError, match="Network is down"):
            obtained()
        assert server.open_ports == 0


async def extend(dialogue, lease):
    return await dialogue.extend(lease, of_all=False, seconds=10.0)


class TestAnswers:
    @pytest.mark.parametrize(
        "change",
        [
            lambda one: replace(one, xid=one.xid ^ 1),
            lambda one: replace(one, mac=SERVER_MAC),
            lambda one: replace(one, reply=False),
            lambda one: replace(one, kind=Kind4.DECLINE),
            lambda one: b"",
            lambda one: b"\1" * 300,
        ],
        ids=["number", "mac", "of a client", "kind", "empty", "noise"],
    )
    def test_what_is_not_for_us_is_passed_over_in_silence(self, server, caplog, change):
        server.change = change

        with pytest.raises(Unanswered) as raised:
            obtained()
        assert str(raised.value) == ""
        assert caplog.messages == []

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda one: without(one, 54), "does not say which server it is from"),
            (lambda one: replace(one, options={**one.options, 54: bytes(4)}), "which server"),
            (lambda one: replace(one, yiaddr=IPv4Address(0)), "0.0.0.0, which no host can have"),
            (lambda one: replace(one, yiaddr=IPv4Address("224.0.0.1")), "224.0.0.1, which no"),
            (lambda one: replace(one, yiaddr=IPv4Address("127.0.0.1")), "127.0.0.1, which no"),
            (lambda one: replace(one, yiaddr=IPv4Address("255.255.255.255")), "which no host"),
            (lambda one: replace(one, options={**one.options, 51: bytes(4)}), "for 0 s"),
            (lambda one: encode(one)[:260], "longer than its packet|cut off"),
            (lambda one: encode(one)[:239], "too short"),
        ],
    )
    def test_a_malformed_offer_is_told_once_and_ignored(self, server, caplog, change, complaint):
        server.change = change

        with pytest.raises(Unanswered, match=complaint):
            obtained()
        assert server.kinds() == ["DISCOVER"] * 4
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("c1/mynet/eth0: ignored a dhcpv4 message: ")

    def test_a_good_offer_after_a_malformed_one_is_taken(self, server):
        server.change = lambda one: (
            replace(one, yiaddr=IPv4Address(0)) if len(server.heard) == 1 else one
        )

        assert obtained().address.ip == ADDRESS
        assert server.kinds() == ["DISCOVER", "DISCOVER", "REQUEST"]

    def test_an_acknowledgement_of_another_server_does_not_count(self, server):
        server.change = lambda one: (
            replace(one, options={**one.options, 54: OTHER.packed})
            if one.kind is Kind4.ACK
            else one
        )

        with pytest.raises(Unanswered):
            obtained()

    @pytest.mark.parametrize(
        ("option", "value", "complaint"),
        [(51, bytes(4), "Lease Time"), (1, b"\1\2\3\4", "Subnet Mask is no mask")],
    )
    def test_a_malformed_acknowledgement_is_ignored(self, server, option, value, complaint):
        server.change = lambda one: (
            replace(one, options={**one.options, option: value}) if one.kind is Kind4.ACK else one
        )

        with pytest.raises(Unanswered, match=complaint):
            obtained()

    def test_without_a_subnet_mask_there_is_no_lease_and_the_server_is_told(self, server):
        server.change = lambda one: without(one, 1)

        with pytest.raises(CniError, match="DHCP option Subnet Mask not found in DHCPACK"):
            obtained()
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]
        require_release(server.heard[-1])

    def test_a_cancelled_request_is_given_back(self, server):
        server.answers = {Kind4.DISCOVER}

        async def cancelled():
            task = asyncio.create_task(exchange().obtain(10.0, START))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(cancelled)
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]
        require_release(server.heard[-1])

    def test_a_cancelled_search_leaves_nothing_to_give_back(self, server):
        server.answers = set()

        async def cancelled():
            task = asyncio.create_task(exchange().obtain(10.0, START))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        run(cancelled)
        assert server.kinds() == ["DISCOVER"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_whatever_comes_the_dialogue_goes_on(changes):
    """A server whose every answer has some bytes changed: a lease, a no, or no answer."""

    with serving4(
        Server4(
            change=damaging(changes, encode), options={121: bytes(5), 119: b"\1a\0", 6: bytes(4)}
        )
    ):
        with suppress(Unanswered, Refused, CniError):
            assert isinstance(obtained(), Lease4)
        with suppress(Unanswered, Refused, CniError):
            assert isinstance(extended(of_all=True), Lease4)


def without(message, code):
    return replace(
        message, options={key: one for key, one in message.options.items() if key != code}
    )


def require_release(heard):
    assert heard.message.kind is Kind4.RELEASE
    assert heard.message.options == {**IDENTITY, 54: SERVER.packed}
    assert heard.message.ciaddr == ADDRESS
    assert heard.way == Way(ADDRESS, SERVER, SERVER_MAC)


class TestExtend:
    def test_a_renewal_goes_to_the_server_alone(self, server):
        lease = extended()
        (request,) = server.heard

        assert request.way == Way(ADDRESS, SERVER, SERVER_MAC)
        assert request.message.ciaddr == ADDRESS
        assert request.message.options == {55: b"\3\1", 57: b"\5\xdc", **IDENTITY}
        assert lease.term == Term(START, START + 500, START + 875, START + 1000)

    def test_a_rebinding_goes_to_all(self, server):
        extended(of_all=True)

        assert server.heard[0].way == Way(source=ADDRESS)
        assert server.heard[0].message.ciaddr == ADDRESS

    def test_it_is_sent_once(self, server):
        server.answers = set()
        with pytest.raises(Unanswered):
            extended()

        assert server.kinds() == ["REQUEST"]

    @pytest.mark.parametrize("of_all", [False, True])
    def test_another_server_may_answer_a_rebinding_only(self, server, of_all):
        server.change = lambda one: replace(one, options={**one.options, 54: OTHER.packed})

        if of_all:
            assert extended(of_all=True).server == OTHER
        else:
            with pytest.raises(Unanswered):
                extended()

    def test_another_address_is_taken(self, server):
        server.address = IPv4Address("10.1.0.77")

        assert extended(of_all=True).address == IPv4Interface("10.1.0.77/24")

    def test_the_mask_stays_if_the_server_does_not_repeat_it(self, server):
        server.change = lambda one: without(one, 1)

        assert extended().address == IPv4Interface("10.1.0.50/24")

    def test_no_is_no(self, server):
        server.naks = {Kind4.REQUEST}

        with pytest.raises(Refused, match="without reason"):
            extended()


class TestRelease:
    @pytest.fixture
    def scene(self, tmp_path):
        with in_place(Scene(tmp_path)) as scene:
            yield scene

    def released(self, netns=3):
        exchange(netns=netns).release(a_lease())

    def release(self, server):
        (heard,) = server.heard
        require_release(heard)
        return heard.link, heard.sender

    @pytest.fixture
    def heard(self, server, scene, caplog):
        caplog.set_level(logging.INFO)
        run_now = run

        def release(netns=3):
            async def main():
                self.released(netns)

            run_now(main)
            return self.release(server)

        return release

    def test_it_goes_through_the_containers_interface(self, heard, caplog):
        assert heard() == ("eth0", MAC)
        assert "released 10.1.0.50 to the server 10.1.0.1 through eth0" in caplog.text

    def test_if_that_is_gone_it_goes_through_the_hosts_bridge(self, scene, heard):
        scene.container.delete_link("eth0")

        assert heard() == ("br0", MAC)

    def test_another_interface_of_that_name_is_not_the_containers(self, scene, heard):
        scene.container.set_mac("eth0", "02:00:00:00:00:99")

        assert heard() == ("br0", MAC)

    def test_if_the_namespace_is_gone_it_goes_through_the_hosts_bridge(self, heard):
        assert heard(None) == ("br0", MAC)

    def test_a_failure_is_for_the_journal(self, server, scene, caplog):
        server.error = OSError(errno.ENETDOWN, "Network is down")
        self.released()

        assert "could not send the DHCPRELEASE of 10.1.0.50 to 10.1.0.1" in caplog.text
