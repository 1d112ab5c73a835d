"""The choice of addresses, on any ranges: nobody's, no gateway, in turn, and fast."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_ipam.host_local.allocation import choose, next_free
from cni_ipam.host_local.ranges import RangeConf, is_in, parse_range, parse_range_sets
from cni_ipam.host_local.store import Holder
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.owner import Owner

OTHER = Holder("other", "eth0")


def owner(number):
    return Owner("net", f"c{number}", "eth0")


def range_of(subnet, start=None, end=None, gateway=None):
    return parse_range(
        RangeConf(
            subnet=subnet, range_start=start or "", range_end=end or "", gateway=gateway or ""
        )
    )


@st.composite
def small_ranges(draw, bases=("10.1.0.0", "fd00::")):
    """A range of at most a few dozen addresses, with bounds and gateway anywhere in it."""
    base = ip_address(draw(st.sampled_from(bases)))
    subnet = ip_network((base, base.max_prefixlen - draw(st.integers(2, 5))))
    addresses = list(subnet)
    start, end = sorted(draw(st.lists(st.sampled_from(addresses), min_size=2, max_size=2)))
    return range_of(str(subnet), str(start), str(end), str(draw(st.sampled_from(addresses))))


@st.composite
def range_sets(draw):
    """One to three ranges of one family in different subnets."""
    bases = draw(st.sampled_from([("10.1.0.0", "10.2.0.0", "10.3.0.0"), ("fd00::", "fd01::")]))
    count = draw(st.integers(1, len(bases)))
    return tuple(draw(small_ranges((base,))) for base in bases[:count])


def all_addresses(range_set):
    gateways = {one.gateway for one in range_set}
    numbers = [(one, n) for one in range_set for n in range(int(one.start), int(one.end) + 1)]
    return [a for one, n in numbers if (a := type(one.start)(n)) not in gateways]


@given(range_sets())
def test_every_address_is_given_once_and_never_the_gateway(range_set):
    holders, given_out = {}, []
    last = None
    while address := next_free(range_set, holders, last):
        given_out.append(address)
        holders[str(address)] = OTHER
        last = address

    assert given_out == all_addresses(range_set)


@given(range_sets(), st.data())
def test_whatever_is_taken_the_next_free_address_after_the_last_is_given(range_set, data):
    addresses = all_addresses(range_set)
    anywhere = [type(range_set[0].start)(int(range_set[0].start)), *addresses]
    last = data.draw(st.none() | st.sampled_from(anywhere))
    taken = data.draw(st.sets(st.sampled_from(addresses))) if addresses else set()

    address = next_free(range_set, {str(one): OTHER for one in taken}, last)

    turn = addresses
    if last is not None:
        position = next((i for i, one in enumerate(addresses) if one > last), len(addresses))
        turn = addresses[position:] + addresses[:position]
    assert address == next((one for one in turn if one not in taken), None)


@given(range_sets(), st.lists(st.booleans(), max_size=60))
def test_an_address_that_was_given_back_waits_for_its_turn(range_set, adds):
    """Any sequence of ADD (true) and DEL of the oldest (false) gives addresses round robin."""
    addresses = all_addresses(range_set)
    held, holders, last = [], {}, None
    for number, add in enumerate(adds):
        if add and len(held) < len(addresses):
            (lease,) = choose(owner(number), [range_set], [], holders, [last])
            expected = addresses[(addresses.index(last) + 1) % len(addresses)] if last else None
            assert lease.address == (expected or addresses[0])
            last = lease.address
            held.append(last)
            holders[str(last)] = Holder(f"c{number}", "eth0")
        elif held and not add:
            del holders[str(held.pop(0))]


@given(range_sets(), st.data())
def test_a_request_is_given_or_refused_but_never_taken_from_somebody(range_set, data):
    every = all_addresses(range_set) + [one.gateway for one in range_set]
    wanted = data.draw(st.sampled_from(every))
    taken = {str(one): OTHER for one in data.draw(st.sets(st.sampled_from(every)))}

    try:
        (lease,) = choose(owner(1), [range_set], [wanted], taken, [None])
    except CniError:
        is_gateway = wanted in {one.gateway for one in range_set}
        assert is_gateway or str(wanted) in taken or not is_in(wanted, range_set)
    else:
        assert lease.address == wanted
        assert str(wanted) not in taken


@given(small_ranges())
def test_what_is_filled_in_can_be_written_out_and_gives_the_same_range(one):
    assert range_of(str(one.subnet), str(one.start), str(one.end), str(one.gateway)) == one


@given(small_ranges(), small_ranges())
def test_overlap_is_having_an_address_in_common_in_either_order(one, other):
    addresses = {type(one.start)(n) for n in range(int(one.start), int(one.end) + 1)}
    others = {type(other.start)(n) for n in range(int(other.start), int(other.end) + 1)}

    assert one.overlaps(other) == other.overlaps(one) == bool(addresses & others)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_as_bounds_is_a_range_or_a_refusal_that_names_the_key(start, end):
    try:
        conf = RangeConf(subnet="10.0.0.0/24", range_start=start, range_end=end)
    except ValueError:
        return
    try:
        ((parsed,),) = parse_range_sets([("ipam.ranges[0]", {"ipam.ranges[0][0]": conf})])
    except InvalidNetworkConfig as error:
        assert "ipam.ranges[0][0]" in error.msg  # noqa: PT017  (both outcomes are right)
    else:
        assert parsed.start <= parsed.end


@pytest.mark.parametrize(
    ("subnet", "last", "expected"),
    [
        ("10.0.0.0/24", None, "10.0.0.2"),
        ("10.0.0.0/24", "10.0.0.2", "10.0.0.3"),
        ("10.0.0.0/24", "10.0.0.254", "10.0.0.2"),
        ("10.0.0.0/24", "10.0.0.255", "10.0.0.2"),
        ("10.0.0.0/24", "fd00::7", "10.0.0.2"),
        ("fd00::/64", "fd00::ffff:ffff:ffff:fffe", "fd00::ffff:ffff:ffff:ffff"),
        ("fd00::/64", "fd00::ffff:ffff:ffff:ffff", "fd00::2"),
    ],
)
def test_the_search_starts_after_the_last_address_and_goes_round(subnet, last, expected):
    last = ip_address(last) if last else None

    assert next_free((range_of(subnet),), {}, last) == ip_address(expected)


def test_the_last_address_is_tried_last():
    range_set = (range_of("10.0.0.0/29"),)
    holders = {f"10.0.0.{number}": OTHER for number in (2, 3, 5, 6)}

    assert next_free(range_set, holders, ip_address("10.0.0.4")) == ip_address("10.0.0.4")


class Counting(dict):
    """Holders that count how often somebody looks for an address."""

    looks = 0

    def __contains__(self, key):
        self.looks += 1
        return super().__contains__(key)


@pytest.mark.parametrize(
    ("subnet", "family"), [("fd00::/64", IPv6Address), ("10.0.0.0/8", IPv4Address)]
)
def test_a_huge_range_is_not_walked_further_than_what_is_taken(subnet, family):
    one = range_of(subnet)
    first = int(one.start) + 1
    holders = Counting({str(family(first + step)): OTHER for step in range(1000)})

    assert next_free((one,), holders, None) == family(first + 1000)
    assert holders.looks <= 1002


def test_the_gateway_of_one_range_is_not_given_from_another_of_the_set():
    range_set = (
        range_of("10.1.0.0/29", gateway="10.2.0.1"),
        range_of("10.2.0.0/29", gateway="10.2.0.6"),
    )

    assert ip_address("10.2.0.1") not in all_addresses(range_set)
    (lease,) = choose(owner(1), [range_set], [], {}, [ip_address("10.1.0.6")])
    assert lease.address == ip_address("10.2.0.2")
    assert str(ip_interface((lease.address, lease.range.subnet.prefixlen))) == "10.2.0.2/29"
