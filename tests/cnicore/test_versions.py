"""Result documents of every version, and what is lost between them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnicore import spec
from cnicore.documents import encode
from cnicore.errors import CniError, DecodingFailure
from cnicore.result import Dns, Interface, IpConfig, Result, Route
from cnicore.versions import convert, decode_result, encode_result, with_version

OLDEST = ("0.1.0", "0.2.0")
MIDDLE = ("0.3.0", "0.3.1", "0.4.0")
NEWEST = ("1.0.0", "1.1.0")
VERSIONS = (*OLDEST, *MIDDLE, *NEWEST)
PAIRS = list(product(VERSIONS, VERSIONS))
FAMILIES = {version: family for family in (OLDEST, MIDDLE, NEWEST) for version in family}

NO_ADDRESS = "cannot convert: no valid IP addresses"

# --- one result, as each version prints it

RESULT = Result(
    interfaces=(
        Interface("br0", "02:00:00:00:00:01", mtu=1400),
        Interface("eth0", "02:00:00:00:00:02", "/run/netns/c1", 1400, "/run/s", "0000:00:1f.6"),
    ),
    ips=(
        IpConfig(ip_interface("fd00::5/64"), ip_address("fd00::1"), 0),
        IpConfig(ip_interface("10.0.0.5/24"), ip_address("10.0.0.1"), 1),
        IpConfig(ip_interface("10.0.1.5/24")),
    ),
    routes=(
        Route(ip_interface("::/0"), ip_address("fd00::1")),
        Route(ip_interface("0.0.0.0/0"), ip_address("10.0.0.1"), 1400, 1360, 5, 0, 0),
        Route(ip_interface("10.9.0.1/16"), table=100, scope=253),
    ),
    dns=Dns(("10.0.0.53",), "example.org", ("a.example.org",), ("ndots:2",)),
)

NEWEST_DOCUMENT = """{
    "cniVersion": "1.1.0",
    "dns": {
        "domain": "example.org",
        "nameservers": ["10.0.0.53"],
        "options": ["ndots:2"],
        "search": ["a.example.org"]
    },
    "interfaces": [
        {"mac": "02:00:00:00:00:01", "mtu": 1400, "name": "br0"},
        {"mac": "02:00:00:00:00:02", "mtu": 1400, "name": "eth0", "pciID": "0000:00:1f.6",
         "sandbox": "/run/netns/c1", "socketPath": "/run/s"}
    ],
    "ips": [
        {"address": "fd00::5/64", "gateway": "fd00::1", "interface": 0},
        {"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 1},
        {"address": "10.0.1.5/24"}
    ],
    "routes": [
        {"dst": "::/0", "gw": "fd00::1"},
        {"advmss": 1360, "dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1400, "priority": 5,
         "scope": 0, "table": 0},
        {"dst": "10.9.0.1/16", "scope": 253, "table": 100}
    ]
}"""

MIDDLE_DOCUMENT = """{
    "cniVersion": "0.4.0",
    "interfaces": [
        {"name": "br0", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/c1"}
    ],
    "ips": [
        {"version": "6", "interface": 0, "address": "fd00::5/64", "gateway": "fd00::1"},
        {"version": "4", "interface": 1, "address": "10.0.0.5/24", "gateway": "10.0.0.1"},
        {"version": "4", "address": "10.0.1.5/24"}
    ],
    "routes": [
        {"dst": "::/0", "gw": "fd00::1"},
        {"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1400, "advmss": 1360, "priority": 5,
         "table": 0, "scope": 0},
        {"dst": "10.9.0.1/16", "table": 100, "scope": 253}
    ],
    "dns": {
        "nameservers": ["10.0.0.53"],
        "domain": "example.org",
        "search": ["a.example.org"],
        "options": ["ndots:2"]
    }
}"""

OLDEST_DOCUMENT = """{
    "cniVersion": "0.2.0",
    "ip4": {
        "ip": "10.0.0.5/24",
        "gateway": "10.0.0.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "10.9.0.1/16"}]
    },
    "ip6": {
        "ip": "fd00::5/64",
        "gateway": "fd00::1",
        "routes": [{"dst": "::/0", "gw": "fd00::1"}]
    },
    "dns": {
        "nameservers": ["10.0.0.53"],
        "domain": "example.org",
        "search": ["a.example.org"],
        "options": ["ndots:2"]
    }
}"""

LITERAL = {OLDEST: OLDEST_DOCUMENT, MIDDLE: MIDDLE_DOCUMENT, NEWEST: NEWEST_DOCUMENT}


def literal(version: str) -> dict[str, Any]:
    """RESULT as that version has it, in the order in which the reference prints it."""
    return {**json.loads(LITERAL[FAMILIES[version]]), "cniVersion": version}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_is_printed_as_the_reference_does_key_by_key(version):
    assert encode(encode_result(RESULT, version)) == encode(literal(version))


@pytest.mark.parametrize(
    ("version", "document"),
    [
        ("0.3.0", {"cniVersion": "0.3.0", "dns": {}}),
        ("0.4.0", {"cniVersion": "0.4.0", "dns": {}}),
        ("1.0.0", {"cniVersion": "1.0.0"}),
        ("1.1.0", {"cniVersion": "1.1.0"}),
    ],
)
def test_of_an_empty_result_only_old_versions_print_dns(version, document):
    assert encode_result(Result(), version) == document


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0"])
def test_versions_before_0_3_0_cannot_say_that_there_is_no_address(version):
    with pytest.raises(CniError) as caught:
        encode_result(replace(RESULT, ips=()), version)
    assert (caught.value.code, caught.value.msg) == (999, NO_ADDRESS)


def test_versions_before_0_3_0_print_dns_and_only_the_families_they_have():
    result = Result(
        ips=(IpConfig(ip_interface("fd00::5/64")),),
        routes=(Route(ip_interface("10.0.0.0/8")), Route(ip_interface("::/0"))),
    )
    assert encode_result(result, "") == {
        "cniVersion": "0.1.0",
        "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0"}]},
        "dns": {},
    }


def test_names_are_printed_even_if_they_are_empty():
    result = Result(interfaces=(Interface(""),))
    assert [encode_result(result, version)["interfaces"] for version in ("0.4.0", "1.1.0")] == [
        [{"name": ""}],
        [{"name": ""}],
    ]


# --- properties over all results

SMALL_TEXT = st.text(max_size=4)
NUMBER = st.integers(0, 2**32)
ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(
    lambda address: not address.ipv4_mapped  # those are read as the IPv4 address they stand for
)
CIDRS = ADDRESSES.flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda length: ip_interface(f"{address}/{length}")
    )
)
TEXTS = st.lists(SMALL_TEXT, max_size=2).map(tuple)
RESULTS = st.builds(
    Result,
    interfaces=st.lists(
        st.builds(
            Interface,
            SMALL_TEXT,
            mac=SMALL_TEXT,
            sandbox=SMALL_TEXT,
            mtu=NUMBER,
            socket_path=SMALL_TEXT,
            pci_id=SMALL_TEXT,
        ),
        max_size=2,
    ).map(tuple),
    ips=st.lists(
        st.builds(
            IpConfig, CIDRS, gateway=st.none() | ADDRESSES, interface=st.none() | st.integers(0, 9)
        ),
        max_size=4,
    ).map(tuple),
    routes=st.lists(
        st.builds(
            Route,
            CIDRS,
            gw=st.none() | ADDRESSES,
            mtu=NUMBER,
            advmss=NUMBER,
            priority=NUMBER,
            table=st.none() | NUMBER,
            scope=st.none() | st.integers(0, 255),
        ),
        max_size=4,
    ).map(tuple),
    dns=st.builds(Dns, TEXTS, SMALL_TEXT, TEXTS, TEXTS),
)


def kept(result: Result, version: str) -> Result | None:
    """What a document of the version says of the result; None if it cannot say it."""
    if version in NEWEST:
        return result
    if version in MIDDLE:
        interfaces = [Interface(link.name, link.mac, link.sandbox) for link in result.interfaces]
        return replace(result, interfaces=tuple(interfaces))
    v4, v6 = (
        [ip for ip in result.ips if ip.address.version == family][:1] for family in (4, 6)
    )  # the first of each
    routes = [
        Route(route.dst, route.gw)
        for ips, family in ((v4, 4), (v6, 6))
        for route in result.routes
        if ips and route.dst.version == family
    ]
    ips = tuple(replace(ip, interface=None) for ip in v4 + v6)
    return Result(ips=ips, routes=tuple(routes), dns=result.dns) if ips else None


@given(RESULTS)
def test_a_document_keeps_what_its_version_can_say_and_nothing_else(result):
    for version in VERSIONS:
        expected = kept(result, version)
        if expected is None:
            with pytest.raises(CniError, match=NO_ADDRESS):
                encode_result(result, version)
        else:
            document = encode_result(result, version)
            assert decode_result(document, version) == expected, version
            assert json.loads(encode(document)) == document, version


@given(RESULTS)
def test_a_conversion_loses_what_either_version_cannot_say(result):
    for source, target in PAIRS:
        said = kept(result, source)
        if said is None:
            continue
        document = encode_result(result, source)
        untouched = copy.deepcopy(document)
        expected = kept(said, target)
        if expected is None:
            with pytest.raises(CniError, match=NO_ADDRESS):
                convert(document, target)
        else:
            assert convert(document, target) == encode_result(expected, target), (source, target)
        assert document == untouched


@given(RESULTS, st.lists(st.sampled_from(VERSIONS), min_size=2, max_size=5))
def test_a_chain_of_conversions_loses_what_any_of_them_cannot_say(result, chain):
    expected = result
    for version in chain:
        expected = expected and kept(expected, version)
    if expected is None:
        return
    document = encode_result(result, chain[0])
    for version in chain[1:]:
        document = convert(document, version)
    assert decode_result(document, chain[-1]) == expected
    assert document["cniVersion"] == chain[-1]


ORDER = {
    OLDEST: {
        "": ["cniVersion", "ip4", "ip6", "dns"],
        "ip4": ["ip", "gateway", "routes"],
        "ip6": ["ip", "gateway", "routes"],
        "dns": ["nameservers", "domain", "search", "options"],
        "routes": ["dst", "gw"],
    },
    MIDDLE: {
        "": ["cniVersion", "interfaces", "ips", "routes", "dns"],
        "interfaces": ["name", "mac", "sandbox"],
        "ips": ["version", "interface", "address", "gateway"],
        "dns": ["nameservers", "domain", "search", "options"],
        "routes": ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"],
    },
    NEWEST: {
        "": ["cniVersion", "dns", "interfaces", "ips", "routes"],
        "interfaces": ["mac", "mtu", "name", "pciID", "sandbox", "socketPath"],
        "ips": ["address", "gateway", "interface"],
        "dns": ["domain", "nameservers", "options", "search"],
        "routes": ["advmss", "dst", "gw", "mtu", "priority", "scope", "table"],
    },
}
"""The keys of each object, by the member that it is in, in the order in which they are printed."""

ALWAYS = {
    OLDEST: {"": ["cniVersion", "dns"], "ip4": ["ip"], "ip6": ["ip"], "routes": ["dst"]},
    MIDDLE: {
        "": ["cniVersion", "dns"],
        "interfaces": ["name"],
        "ips": ["version", "address"],
        "routes": ["dst"],
    },
    NEWEST: {"": ["cniVersion"], "interfaces": ["name"], "ips": ["address"], "routes": ["dst"]},
}
"""The keys that are printed even when they are empty."""


def objects(member: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a document with the name of the member that it is in."""
    if isinstance(value, dict):
        yield member, value
        for key, inner in value.items():
            yield from objects(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(member, inner)


@given(RESULTS)
def test_keys_come_in_the_references_order_and_empty_ones_not_at_all(result):
    for version in VERSIONS:
        if kept(result, version) is None:
            continue
        order, always = ORDER[FAMILIES[version]], ALWAYS[FAMILIES[version]]
        for member, found in objects("", encode_result(result, version)):
            assert list(found) == [key for key in order[member] if key in found], (version, member)
            assert set(always.get(member, ())) <= found.keys(), (version, member)
            for key, value in found.items():
                zero_is_kept = key in {"interface", "table", "scope"}
                assert value or zero_is_kept or key in always.get(member, ()), (version, key)


# --- conversions in particular


@pytest.mark.parametrize("version", VERSIONS)
def test_a_document_in_its_own_version_is_returned_as_it_is(version):
    document = {"cniVersion": version, "ips": "whatever", "unknown": 1}
    assert convert(document, version) is document


@pytest.mark.parametrize(("own", "version"), [(None, "0.1.0"), ("", "0.1.0"), ("0.1.0", "")])
def test_an_empty_version_is_the_oldest(own, version):
    document = {"cniVersion": own, "ip4": {}}
    assert convert(document, version) is document


@pytest.mark.parametrize(("source", "target"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_every_pair_of_versions_is_convertible(source, target):
    converted = convert(literal(source), target)
    expected = {
        (OLDEST, OLDEST): OLD_FROM_OLD,
        (OLDEST, MIDDLE): MIDDLE_FROM_OLD,
        (OLDEST, NEWEST): NEWEST_FROM_OLD,
        (MIDDLE, NEWEST): NEWEST_FROM_MIDDLE,
    }.get((FAMILIES[source], FAMILIES[target]), literal(target))
    assert converted == {**expected, "cniVersion": target}


DNS = literal("0.2.0")["dns"]
ROUTES_FROM_OLD = [
    {"dst": "0.0.0.0/0", "gw": "10.0.0.1"},
    {"dst": "10.9.0.1/16"},
    {"dst": "::/0", "gw": "fd00::1"},
]
OLD_FROM_OLD = literal("0.2.0")
MIDDLE_FROM_OLD = {
    "ips": [
        {"version": "4", "address": "10.0.0.5/24", "gateway": "10.0.0.1"},
        {"version": "6", "address": "fd00::5/64", "gateway": "fd00::1"},
    ],
    "routes": ROUTES_FROM_OLD,
    "dns": DNS,
}
NEWEST_FROM_OLD = {
    "ips": [
        {"address": "10.0.0.5/24", "gateway": "10.0.0.1"},
        {"address": "fd00::5/64", "gateway": "fd00::1"},
    ],
    "routes": ROUTES_FROM_OLD,
    "dns": DNS,
}
NEWEST_FROM_MIDDLE = {
    **literal("1.0.0"),
    "interfaces": [
        {"name": "br0", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/c1"},
    ],
}


def test_between_old_versions_the_routes_keep_what_only_new_versions_print():
    """The old form has no word against them, and they must not get lost on the way up."""
    route = {"dst": "10.0.0.0/8", "gw": "10.0.0.1", "mtu": 1400, "table": 0}
    document = {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5/24", "routes": [route]}}
    assert convert(document, "0.3.0")["routes"] == [route]
    assert convert(document, "1.1.0")["routes"] == [route]


def test_interface_members_that_0_4_0_does_not_have_are_not_read_from_it():
    document = {
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "eth0", "mtu": 1400, "socketPath": "/run/s", "pciID": "0"}],
    }
    assert convert(document, "1.1.0")["interfaces"] == [{"name": "eth0"}]


@pytest.mark.parametrize(
    ("own", "version"), [("1.1.0", "2.0.0"), ("1.2.0", "1.1.0"), ("1.1.0", "1.1"), ("x", "")]
)
def test_other_versions_have_no_converter(own, version):
    with pytest.raises(CniError) as caught:
        convert({"cniVersion": own}, version)
    assert caught.value.msg == f"no converter for CNI result version {own} to {version}"


@pytest.mark.parametrize("version", ["0.0.1", "1.2.0", "1.1", "banana"])
def test_an_unknown_version_is_unsupported(version):
    for work in (decode_result, lambda _, version: encode_result(RESULT, version)):
        with pytest.raises(CniError) as caught:
            work({"cniVersion": version}, version)
        assert caught.value.msg == f'unsupported CNI result version "{version}"'


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "0.4.0"),
        ({"cniVersion": ""}, "0.4.0"),
        ({"cniVersion": None}, "0.4.0"),
        ({"cniVersion": 1}, "0.4.0"),
        ({"cniVersion": "0.2.0"}, "0.2.0"),
    ],
)
def test_a_result_without_a_version_has_the_configurations(document, expected):
    assert with_version(document, "0.4.0") == {"cniVersion": expected}


# --- documents of others


@pytest.mark.parametrize(("own", "version"), [*PAIRS, *(("", version) for version in VERSIONS)])
def test_the_documents_own_version_must_be_of_the_same_form(own, version):
    document = {"cniVersion": own}
    if FAMILIES[own or "0.1.0"] == FAMILIES[version] and (own or version in OLDEST):
        assert decode_result(document, version) == Result()
        return
    with pytest.raises(CniError) as caught:
        decode_result(document, version)
    supported = " ".join(FAMILIES[version])
    assert caught.value.msg == (
        f'result type supports [{supported}] but unmarshalled CNIVersion is "{own}"'
    )


def test_keys_are_read_in_any_case_null_is_absent_and_unknown_keys_are_ignored():
    document = {
        "CNIVersion": "1.1.0",
        "Interfaces": [{"Name": "eth0", "MAC": None, "color": "red"}],
        "IPs": [{"ADDRESS": "FD00::5/64", "gateway": None, "Interface": 0, "version": 6}],
        "routes": None,
        "DNS": {"nameServers": ["10.0.0.53"], "search": None},
        "color": "red",
    }
    assert decode_result(document, "1.1.0") == Result(
        interfaces=(Interface("eth0"),),
        ips=(IpConfig(ip_interface("fd00::5/64"), None, 0),),
        dns=Dns(("10.0.0.53",)),
    )


def test_addresses_are_printed_in_their_canonical_form_with_host_bits():
    document = {
        "cniVersion": "1.1.0",
        "ips": [{"address": "FD00:0:0::5/64", "gateway": "::ffff:10.0.0.1"}],
        "routes": [{"dst": "10.1.2.3/8"}],
    }
    converted = convert(document, "0.4.0")
    assert converted["ips"] == [{"version": "6", "address": "fd00::5/64", "gateway": "10.0.0.1"}]
    assert converted["routes"] == [{"dst": "10.1.2.3/8"}]


def test_a_mapped_ipv4_address_is_an_ipv4_address():
    document = {"cniVersion": "1.1.0", "ips": [{"address": "::ffff:10.0.0.5/120"}]}
    assert convert(document, "0.4.0")["ips"] == [{"version": "4", "address": "10.0.0.5/24"}]


WRONG = [
    ("1.1.0", {"interfaces": {}}, "interfaces: expected a list, not an object"),
    ("1.1.0", {"interfaces": [None]}, "interfaces[0]: expected an object, not null"),
    ("1.1.0", {"interfaces": [{"name": 1}]}, "interfaces[0].name: expected a string, not a number"),
    (
        "1.1.0",
        {"interfaces": [{"mtu": 1.5}]},
        "interfaces[0].mtu: expected an integer, not a number",
    ),
    (
        "1.1.0",
        {"interfaces": [{"mtu": True}]},
        "interfaces[0].mtu: expected an integer, not a boolean",
    ),
    ("1.1.0", {"ips": "x"}, "ips: expected a list, not a string"),
    ("1.1.0", {"ips": [{}]}, "ips[0].address: invalid CIDR address: "),
    ("0.4.0", {"ips": [{"address": 5}]}, "ips[0].address: expected a string, not a number"),
    (
        "0.4.0",
        {"ips": [{"address": "10.0.0.5"}]},
        "ips[0].address: invalid CIDR address: 10.0.0.5",
    ),
    (
        "0.4.0",
        {"ips": [{"address": "010.0.0.5/8"}]},
        "ips[0].address: invalid CIDR address: 010.0.0.5/8",
    ),
    (
        "0.4.0",
        {"ips": [{"address": "fe80::1%eth0/64"}]},
        "ips[0].address: invalid CIDR address: fe80::1%eth0/64",
    ),
    (
        "1.1.0",
        {"ips": [{"address": "10.0.0.5/8", "gateway": "fe80::1%eth0"}]},
        "ips[0].gateway: invalid IP address: fe80::1%eth0",
    ),
    (
        "1.1.0",
        {"ips": [{"address": "10.0.0.5/8"}, {"address": "10.0.0.6/8", "interface": "0"}]},
        "ips[1].interface: expected an integer, not a string",
    ),
    ("1.1.0", {"routes": [{"dst": "default"}]}, "routes[0].dst: invalid CIDR address: default"),
    (
        "1.1.0",
        {"routes": [{"dst": "::/0", "gw": "x"}]},
        "routes[0].gw: invalid IP address: x",
    ),
    ("1.1.0", {"dns": []}, "dns: expected an object, not a list"),
    ("1.1.0", {"dns": {"search": "x"}}, "search: expected a list, not a string"),
    ("1.1.0", {"dns": {"options": [1]}}, "options: expected a list of strings"),
    ("0.2.0", {"ip4": []}, "ip4: expected an object, not a list"),
    ("0.2.0", {"ip6": {"ip": "x"}}, "ip: invalid CIDR address: x"),
    (
        "0.2.0",
        {"ip4": {"ip": "10.0.0.5/8", "routes": [{}]}},
        "routes[0].dst: invalid CIDR address: ",
    ),
]


@pytest.mark.parametrize(("version", "document", "msg"), WRONG)
def test_a_document_that_is_wrong_is_refused_by_the_name_of_the_member(version, document, msg):
    with pytest.raises(DecodingFailure) as caught:
        decode_result({"cniVersion": version, **document}, version)
    assert caught.value.msg == msg


def test_a_version_that_is_no_string_is_refused():
    for work in (decode_result, convert):
        with pytest.raises(DecodingFailure, match="cniVersion: expected a string, not a number"):
            work({"cniVersion": 1}, "1.1.0")


KEYS = sorted(
    {key for order in ORDER.values() for keys in order.values() for key in keys}
    | {"CNIVersion", "IPs", "x"}
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([*VERSIONS, "10.0.0.5/24", "fd00::1", "::ffff:1.2.3.4/99", "1/1", "/", ""])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), JSON, max_size=5)


def must_not_crash(document: dict[str, Any], version: str) -> None:
    """Whatever is wrong with the document, it is told as an error of ours."""
    for target in (version, *VERSIONS):
        for work in (decode_result, convert):
            with suppress(CniError):
                assert isinstance(work(with_version(document, version), target), Result | dict)


@given(OBJECTS, st.sampled_from(VERSIONS))
def test_a_document_of_anything_is_a_result_or_an_error(document, version):
    must_not_crash(document, version)


@given(st.sampled_from(VERSIONS), st.data())
def test_a_document_with_one_thing_wrong_is_a_result_or_an_error(version, data):
    document = literal(version)
    member: Any = document
    while member and isinstance(member, dict | list):
        parent = member
        key = data.draw(st.sampled_from(list(member) if isinstance(member, dict) else range(1)))
        member = parent[key]
        if data.draw(st.booleans()):
            break
    parent[key] = data.draw(JSON)
    must_not_crash(document, version)


# --- the versions themselves


def test_these_are_the_versions_of_the_specification():
    assert VERSIONS == spec.SINCE_0_1_0
    assert VERSIONS[-1] == spec.CURRENT
    assert [spec.SINCE_0_3_0[0], spec.SINCE_0_3_1[0], spec.SINCE_0_4_0[0]] == [
        "0.3.0",
        "0.3.1",
        "0.4.0",
    ]
    assert all(
        spec.parse_version(older) < spec.parse_version(newer) for older, newer in pairwise(VERSIONS)
    )


def test_versions_are_compared_number_by_number():
    assert spec.parse_version("0.10") > spec.parse_version("0.9.9")
    assert spec.parse_version("1") == spec.parse_version("1.0.0")
    assert spec.parse_version("") == spec.parse_version("0.1")


@pytest.mark.parametrize("text", ["0.", "..", "1.0.f", "1.2.3.4", ".", "1..0", "v1.0.0"])
def test_what_has_other_parts_than_three_numbers_is_no_version(text):
    with pytest.raises(ValueError, match="is no version"):
        spec.parse_version(text)
