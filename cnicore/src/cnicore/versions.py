"""Results from and to the documents of every version of the specification.

Three shapes exist: 0.1.0/0.2.0 (one address of each family), 0.3.0/0.3.1/0.4.0 (lists, each address
with its family), 1.0.0/1.1.0 (no family, sorted keys). Inside there is only the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from cnicore.addresses import parse_address, parse_cidr
from cnicore.documents import Document, fold_keys, kind_of
from cnicore.errors import CniError, DecodingFailure
from cnicore.result import Address, Cidr, Dns, Interface, IpConfig, Result, Route
from cnicore.spec import SINCE_0_1_0

T = TypeVar("T")

IP_OBJECTS = SINCE_0_1_0[:2]
IP_LISTS_WITH_FAMILY = SINCE_0_1_0[2:5]
IP_LISTS = SINCE_0_1_0[5:]


def shape_of(version: str) -> tuple[str, ...]:
    """The versions whose results look alike; an empty version is 0.1.0.

    Raises CniError for a version that the specification does not have.
    """
    for shape in (IP_OBJECTS, IP_LISTS_WITH_FAMILY, IP_LISTS):
        if (version or "0.1.0") in shape:
            return shape
    raise CniError(f'unsupported CNI result version "{version}"')


# --- to a document


def encode_result(result: Result, version: str) -> Document:
    """The result as a document of the version (empty: 0.1.0), its keys in the usual order.

    Raises CniError when a version before 0.3.0 has no address to show.
    """
    version = version or "0.1.0"
    shape = shape_of(version)
    if shape is IP_OBJECTS:
        return _encode_ip_objects(result, version)
    if shape is IP_LISTS_WITH_FAMILY:
        return _encode_ip_lists_with_family(result, version)
    return _encode_ip_lists(result, version)


def _encode_ip_lists(result: Result, version: str) -> Document:
    document = {
        "cniVersion": version,
        "dns": _sorted(_encode_dns(result.dns)),
        "interfaces": [_encode_interface(interface) for interface in result.interfaces],
        "ips": [_encode_ip(ip) for ip in result.ips],
        "routes": [_sorted(_encode_route(route)) for route in result.routes],
    }
    return _present(document)


def _encode_ip_lists_with_family(result: Result, version: str) -> Document:
    interfaces = [
        _present({"name": link.name, "mac": link.mac, "sandbox": link.sandbox}, "name")
        for link in result.interfaces
    ]
    ips = [
        {"version": str(ip.address.version), **_encode_ip(ip, index_first=True)}
        for ip in result.ips
    ]
    routes = [_encode_route(route) for route in result.routes]
    lists = _present(
        {"cniVersion": version, "interfaces": interfaces, "ips": ips, "routes": routes}
    )
    return {**lists, "dns": _encode_dns(result.dns)}


def _encode_ip_objects(result: Result, version: str) -> Document:
    document: Document = {"cniVersion": version}
    for family in (4, 6):
        ip = next((ip for ip in result.ips if ip.address.version == family), None)
        if ip:
            routes = [
                _present({"dst": str(route.dst), "gw": _text(route.gw)})
                for route in result.routes
                if route.dst.version == family
            ]
            document[f"ip{family}"] = _present(
                {"ip": str(ip.address), "gateway": _text(ip.gateway), "routes": routes}
            )
    if len(document) == 1:
        raise CniError("cannot convert: no valid IP addresses")
    return {**document, "dns": _encode_dns(result.dns)}


def _encode_interface(interface: Interface) -> Document:
    document = {
        "mac": interface.mac,
        "mtu": interface.mtu,
        "name": interface.name,
        "pciID": interface.pci_id,
        "sandbox": interface.sandbox,
        "socketPath": interface.socket_path,
    }
    return _present(document, "name")


def _encode_ip(ip: IpConfig, *, index_first: bool = False) -> Document:
    index = {} if ip.interface is None else {"interface": ip.interface}
    address = _present({"address": str(ip.address), "gateway": _text(ip.gateway)})
    return {**index, **address} if index_first else {**address, **index}


def _encode_route(route: Route) -> Document:
    numbers = _present({"mtu": route.mtu, "advmss": route.advmss, "priority": route.priority})
    optional = {"table": route.table, "scope": route.scope}
    present = {key: value for key, value in optional.items() if value is not None}  # 0 is kept
    return {**_present({"dst": str(route.dst), "gw": _text(route.gw)}), **numbers, **present}


def _encode_dns(dns: Dns) -> Document:
    return _present(
        {
            "nameservers": list(dns.nameservers),
            "domain": dns.domain,
            "search": list(dns.search),
            "options": list(dns.options),
        }
    )


def _sorted(document: Document) -> Document:
    return dict(sorted(document.items()))


def _present(document: Document, *always: str) -> Document:
    return {key: value for key, value in document.items() if value or key in always}


def _text(address: Address | None) -> str:
    return "" if address is None else str(address)


# --- from a document


def decode_result(document: Document, version: str) -> Result:
    """The result in a document whose own cniVersion must have the shape of `version`.

    Raises DecodingFailure naming the member that is wrong, CniError for an unknown version.
    """
    shape = shape_of(version)
    own = _member(document, "cniVersion", str, "")
    if (own or ("0.1.0" if shape is IP_OBJECTS else "")) not in shape:
        supported = " ".join(shape)
        raise CniError(f'result type supports [{supported}] but unmarshalled CNIVersion is "{own}"')
    if shape is IP_OBJECTS:
        return _decode_ip_objects(document)
    is_newest = shape is IP_LISTS
    return _decode_ip_lists(document, _decode_interface if is_newest else _decode_old_interface)


def with_version(document: Document, version: str) -> Document:
    """The result document; without a version of its own it has the configuration's."""
    own = document.get("cniVersion")
    return document if isinstance(own, str) and own else {**document, "cniVersion": version}


def convert(document: Document, version: str) -> Document:
    """A result document in another version; in its own version it is returned as it is."""
    own = _member(document, "cniVersion", str, "")
    if (own or "0.1.0") == (version or "0.1.0"):
        return document
    if (version or "0.1.0") not in SINCE_0_1_0 or (own or "0.1.0") not in SINCE_0_1_0:
        raise CniError(f"no converter for CNI result version {own} to {version}")
    return encode_result(decode_result(document, own), version)


def _decode_ip_lists(
    document: Document, decode_interface: Callable[[Document], Interface]
) -> Result:
    return Result(
        interfaces=tuple(_each(document, "interfaces", decode_interface)),
        ips=tuple(_each(document, "ips", _decode_ip)),
        routes=tuple(_each(document, "routes", decode_route)),
        dns=decode_dns(_member(document, "dns", dict, {})),
    )


def _decode_ip_objects(document: Document) -> Result:
    families = [_member(document, key, dict, {}) for key in ("ip4", "ip6")]
    present = [family for family in families if family]
    ips = [
        IpConfig(_cidr(family, "ip"), _optional_address(family, "gateway")) for family in present
    ]
    routes = [route for family in present for route in _each(family, "routes", decode_route)]
    dns = decode_dns(_member(document, "dns", dict, {}))
    return Result(ips=tuple(ips), routes=tuple(routes), dns=dns)


def _decode_old_interface(document: Document) -> Interface:
    return Interface(
        name=_member(document, "name", str, ""),
        mac=_member(document, "mac", str, ""),
        sandbox=_member(document, "sandbox", str, ""),
    )


def _decode_interface(document: Document) -> Interface:
    return replace(
        _decode_old_interface(document),
        mtu=_member(document, "mtu", int, 0),
        socket_path=_member(document, "socketPath", str, ""),
        pci_id=_member(document, "pciID", str, ""),
    )


def _decode_ip(document: Document) -> IpConfig:
    return IpConfig(
        address=_cidr(document, "address"),
        gateway=_optional_address(document, "gateway"),
        interface=_member(document, "interface", int, None),
    )


def decode_route(document: Document) -> Route:
    """A route object of a result or of an IPAM configuration. Raises DecodingFailure."""
    return Route(
        dst=_cidr(document, "dst"),
        gw=_optional_address(document, "gw"),
        mtu=_member(document, "mtu", int, 0),
        advmss=_member(document, "advmss", int, 0),
        priority=_member(document, "priority", int, 0),
        table=_member(document, "table", int, None),
        scope=_member(document, "scope", int, None),
    )


def decode_dns(document: Document) -> Dns:
    """A dns object. Raises DecodingFailure."""
    return Dns(
        nameservers=_texts(document, "nameservers"),
        domain=_member(document, "domain", str, ""),
        search=_texts(document, "search"),
        options=_texts(document, "options"),
    )


def _member(document: Document, key: str, kind: type[Any], default: Any) -> Any:
    value = fold_keys(document, [key]).get(key, default)
    is_right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
    if value is not default and not is_right:
        raise DecodingFailure(f"{key}: expected {_KINDS[kind]}, not {kind_of(value)}")
    return value


_KINDS = {str: "a string", int: "an integer", list: "a list", dict: "an object"}


def _each(document: Document, key: str, decode: Callable[[Document], T]) -> Iterable[T]:
    for index, item in enumerate(_member(document, key, list, [])):
        if not isinstance(item, dict):
            raise DecodingFailure(f"{key}[{index}]: expected an object, not {kind_of(item)}")
        try:
            yield decode(item)
        except DecodingFailure as error:
            raise DecodingFailure(f"{key}[{index}].{error.msg}") from error


def _texts(document: Document, key: str) -> tuple[str, ...]:
    texts = _member(document, key, list, [])
    if not all(isinstance(text, str) for text in texts):
        raise DecodingFailure(f"{key}: expected a list of strings")
    return tuple(texts)


def _cidr(document: Document, key: str) -> Cidr:
    try:
        return parse_cidr(_member(document, key, str, ""))
    except ValueError as error:
        raise DecodingFailure(f"{key}: {error}") from error


def _optional_address(document: Document, key: str) -> Address | None:
    text = _member(document, key, str, "")
    try:
        return parse_address(text) if text else None
    except ValueError as error:
        raise DecodingFailure(f"{key}: {error}") from error
