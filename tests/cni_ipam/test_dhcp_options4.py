"""What the options of a DHCPACK grant: address, time, routes, and what else there is."""

import math
from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni_ipam.dhcp.message4 import Kind4, Malformed, Message4
from cni_ipam.dhcp.options4 import lease_of
from cni_ipam.dhcp.terms import Term
from cnicore.result import Route

MAC, SERVER_MAC = bytes(6), bytes.fromhex("561b22f85daf")
ROUTER = "c0a80701"
NEEDED = {1: "ffffff00", 54: ROUTER}

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def lease(yiaddr="192.168.7.6", begin=100.0, **options):
    """The lease of an ACK with these options as hex digits by `o<code>`; None is not sent."""
    sent = NEEDED | {int(name[1:]): value for name, value in options.items()}
    raw = {code: bytes.fromhex(value) for code, value in sent.items() if value is not None}
    ack = Message4(Kind4.ACK, 1, MAC, raw, yiaddr=IPv4Address(yiaddr), reply=True)
    return lease_of(ack, SERVER_MAC, begin)


def route(dst, gw, scope=None):
    return Route(IPv4Interface(dst), IPv4Address(gw), scope=scope)


class TestAddress:
    def test_the_lease_tells_address_server_and_where_the_ack_came_from(self):
        granted = lease()

        assert granted.address == IPv4Interface("192.168.7.6/24")
        assert granted.server == IPv4Address("192.168.7.1")
        assert granted.server_mac == SERVER_MAC
        assert (granted.gateway, granted.routes, granted.mtu) == (None, (), 0)
        assert (granted.dns, granted.domain, granted.search) == ((), "", ())

    @pytest.mark.parametrize(
        ("mask", "length"),
        [("ff000000", 8), ("fffffe00", 23), ("ffffffff", 32), ("80000000", 1)],
    )
    def test_the_mask_is_the_prefix_length(self, mask, length):
        assert lease(o1=mask).address.network.prefixlen == length

    def test_a_lease_without_a_mask_is_refused_in_the_words_of_the_reference(self):
        with pytest.raises(Malformed, match="^DHCP option Subnet Mask not found in DHCPACK$"):
            lease(o1=None)

    @pytest.mark.parametrize(
        "mask", ["", "ffffff", "ffffff0000", "00000000", "ff00ff00", "000000ff"]
    )
    def test_a_mask_that_is_none_is_refused(self, mask):
        with pytest.raises(Malformed, match=f"Subnet Mask is no mask in DHCPACK: {mask}$"):
            lease(o1=mask)

    @pytest.mark.parametrize(
        "address",
        ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"],  # noqa: S104
    )
    def test_an_address_that_no_host_can_have_is_refused(self, address):
        with pytest.raises(Malformed, match=f"no host can have the address {address} "):
            lease(yiaddr=address)

    @pytest.mark.parametrize("server", [None, "", "c0a807", "c0a8070100"])
    def test_a_lease_of_nobody_is_refused(self, server):
        with pytest.raises(Malformed, match="Server Identifier not found in DHCPACK"):
            lease(o54=server)


class TestTerm:
    def test_the_server_says_when(self):
        assert lease(o51="00000078", o58="0000003c", o59="00000069").term == Term(
            begin=100, renew=160, rebind=205, expire=220
        )

    def test_without_a_time_it_is_an_hour(self):
        assert lease(begin=0).term == Term(0, 1800, 3150, 3600)

    def test_the_shortest_lease_is_renewed_in_time(self):
        assert lease(begin=0, o51="00000001").term == Term(0, 0.5, 0.875, 1)

    @pytest.mark.parametrize(
        ("t1", "t2"),
        [
            ("0000003c", "0000003c"),  # both at once
            ("0000004b", "0000003c"),  # the wrong way round
            ("00000000", "00000000"),
            ("00000000", "00000050"),
            ("00000028", "00000064"),  # rebind when the lease is over
            ("00000064", None),
            ("ffffffff", "ffffffff"),
            (None, "00000020"),  # before the default of the other
            ("28", "50"),  # not four bytes
            ("", ""),
        ],
    )
    def test_nonsense_is_repaired(self, t1, t2):
        assert lease(begin=0, o51="00000064", o58=t1, o59=t2).term == Term(0, 50, 87.5, 100)

    def test_one_of_both_is_kept_if_it_fits(self):
        assert lease(begin=0, o51="00000064", o58="0000000a").term == Term(0, 10, 87.5, 100)

    def test_an_endless_lease_never_needs_renewal(self):
        endless = Term(100, math.inf, math.inf, math.inf)

        assert lease(o51="ffffffff", o58="0000003c").term == endless

    @pytest.mark.parametrize("time", ["00000000", "", "0078", "0000000078"])
    def test_a_lease_of_no_time_is_refused(self, time):
        with pytest.raises(Malformed, match=f"Lease Time is no time in DHCPACK: 0x{time}$"):
            lease(o51=time)


class TestRoutes:
    def test_the_first_router_is_gateway_and_default_route(self):
        granted = lease(o3=ROUTER + "c0a80702")

        assert granted.gateway == IPv4Address("192.168.7.1")
        assert granted.routes == (route("0.0.0.0/0", "192.168.7.1"),)

    @pytest.mark.parametrize("routers", ["", "00000000", "c0a807", ROUTER + "01"])
    def test_a_router_that_is_none_is_no_gateway(self, routers):
        granted = lease(o3=routers)

        assert (granted.gateway, granted.routes) == (None, ())

    @pytest.mark.parametrize(
        ("value", "dst"),
        [
            ("0a000000", "10.0.0.0/8"),
            ("ac100000", "172.16.0.0/16"),
            ("c0a80100", "192.168.1.0/24"),
            ("c0a80105", "192.168.1.0/24"),
            ("7f000000", "127.0.0.0/8"),
            ("bfff0000", "191.255.0.0/16"),
            ("dfffff00", "223.255.255.0/24"),
        ],
    )
    def test_the_class_of_a_static_route_tells_its_mask(self, value, dst):
        assert lease(o33=value + ROUTER).routes == (route(dst, "192.168.7.1"),)

    def test_static_routes_come_before_the_default_route(self):
        assert lease(o3=ROUTER, o33="0a000000c0a80702" + "c0a80100c0a80703").routes == (
            route("10.0.0.0/8", "192.168.7.2"),
            route("192.168.1.0/24", "192.168.7.3"),
            route("0.0.0.0/0", "192.168.7.1"),
        )

    def test_static_routes_that_cannot_be_are_left_out(self):
        nowhere, multicast, rest = "00000000" + ROUTER, "e0000000" + ROUTER, "0a0000"

        assert lease(o33=nowhere + "0a000000c0a80702" + multicast + rest).routes == (
            route("10.0.0.0/8", "192.168.7.2"),
        )

    def test_classless_routes_are_all_the_routes_there_are(self):
        granted = lease(
            o3=ROUTER,
            o33="0a000000c0a80702",
            o121="100a01c0a80702" + "18c0a809c0a80703" + "20c0a80a01c0a80704" + "00c0a80705",
        )

        assert granted.gateway == IPv4Address("192.168.7.1")
        assert granted.routes == (
            route("10.1.0.0/16", "192.168.7.2"),
            route("192.168.9.0/24", "192.168.7.3"),
            route("192.168.10.1/32", "192.168.7.4"),
            route("0.0.0.0/0", "192.168.7.5"),
        )

    def test_a_router_of_zeros_is_the_link_itself(self):
        assert lease(o121="18c0a809" + "00000000").routes == (
            route("192.168.9.0/24", "0.0.0.0", scope=253),  # noqa: S104
        )

    def test_bits_behind_the_prefix_are_not_part_of_it(self):
        assert lease(o121="0c0aff" + ROUTER).routes == (route("10.240.0.0/12", "192.168.7.1"),)

    @pytest.mark.parametrize(
        "broken",
        ["", "10", "100a01", "100a01c0a807", "210a000000ff" + ROUTER, "100a01" + ROUTER + "18"],
    )
    def test_broken_classless_routes_are_none_and_the_others_count(self, broken):
        assert lease(o3=ROUTER, o121=broken).routes == (route("0.0.0.0/0", "192.168.7.1"),)


class TestOthers:
    @pytest.mark.parametrize(
        ("value", "mtu"), [("05dc", 1500), ("0044", 68), ("0043", 0), ("dc", 0), ("000005dc", 0)]
    )
    def test_the_mtu_is_one_that_ipv4_can_live_with(self, value, mtu):
        assert lease(o26=value).mtu == mtu

    @pytest.mark.parametrize(
        ("value", "servers"),
        [(ROUTER + "09090909", ("192.168.7.1", "9.9.9.9")), ("", ()), (ROUTER + "09", ())],
    )
    def test_name_servers(self, value, servers):
        assert tuple(map(str, lease(o6=value).dns)) == servers

    @pytest.mark.parametrize(
        ("value", "domain"),
        [
            (b"example.org", "example.org"),
            (b"example.org.\0\0", "example.org"),
            (b"two words", ""),
            (b"a\nnameserver 192.0.2.1", ""),
            (b"\xff\xfe", ""),
        ],
    )
    def test_the_domain_is_a_name_or_not_there(self, value, domain):
        assert lease(o15=value.hex()).domain == domain

    def test_the_search_list_may_be_compressed(self):
        value = b"\3eng\7example\3org\0\xc0\x04\3sub\xc0\0"

        assert lease(o119=value.hex()).search == (
            "eng.example.org",
            "example.org",
            "sub.eng.example.org",
        )

    @pytest.mark.parametrize("value", [b"\3or", b"\xc0\0", b"\xff" * 255])
    def test_a_broken_search_list_is_none(self, value):
        assert lease(o119=value.hex()).search == ()


codes = st.sampled_from([1, 3, 6, 15, 26, 33, 51, 54, 58, 59, 119, 121])
values = st.binary(max_size=4) | st.binary(max_size=300)


@patient
@given(st.dictionaries(codes, values, max_size=12), st.ip_addresses(v=4))
def test_any_options_are_a_lease_or_malformed(options, yiaddr):
    needed = {code: bytes.fromhex(value) for code, value in NEEDED.items()}
    for sent in (options, needed | options, options | needed):
        ack = Message4(Kind4.ACK, 1, MAC, sent, yiaddr=yiaddr, reply=True)
        try:
            term = lease_of(ack, SERVER_MAC, 0).term
        except Malformed:
            continue
        assert 0 < term.renew <= term.rebind <= term.expire
