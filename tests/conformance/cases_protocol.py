"""Calls that are decided before any plugin's own code runs."""

from __future__ import annotations

from conformance.cases_ptp import loopback
from conformance.scenario import Case

CONF = loopback()

VARIABLES: dict[str, dict[str, str | None]] = {
    "no container id": {"CNI_CONTAINERID": None},
    "empty container id": {"CNI_CONTAINERID": ""},
    "no netns": {"CNI_NETNS": None},
    "no ifname": {"CNI_IFNAME": None},
    "no path": {"CNI_PATH": None},
    "nothing": dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH")),
    "container id with a slash": {"CNI_CONTAINERID": "../c1"},
    "container id with a newline": {"CNI_CONTAINERID": "c1\n"},
    "container id that starts with a dot": {"CNI_CONTAINERID": ".c1"},
    "bad container id and no ifname": {"CNI_CONTAINERID": "a b", "CNI_IFNAME": None},
    "ifname of 16 characters": {"CNI_IFNAME": "i" * 16},
    "ifname of 16 bytes": {"CNI_IFNAME": "é" * 8},
    "ifname is a dot": {"CNI_IFNAME": "."},
    "ifname is two dots": {"CNI_IFNAME": ".."},
    "ifname with a slash": {"CNI_IFNAME": "a/b"},
    "ifname with a colon": {"CNI_IFNAME": "a:b"},
    "ifname with a space": {"CNI_IFNAME": "a b"},
    "unknown verb": {"CNI_COMMAND": "FROB"},
    "verb in lower case": {"CNI_COMMAND": "add"},
}

INPUTS = {
    "empty stdin": "",
    "no JSON": "{",
    "trailing text": '{"cniVersion":"1.0.0","name":"n1","type":"loopback"} x',
    "null": "null",
    "a list": "[]",
    "a text": '"n1"',
    "no name": '{"cniVersion":"1.0.0","type":"loopback"}',
    "empty name": '{"cniVersion":"1.0.0","name":"","type":"loopback"}',
    "name with a slash": '{"cniVersion":"1.0.0","name":"../n","type":"loopback"}',
    "name with a blank": '{"cniVersion":"1.0.0","name":"a b","type":"loopback"}',
    "name is a number": '{"cniVersion":"1.0.0","name":1,"type":"loopback"}',
    "version is a number": '{"cniVersion":1,"name":"n1","type":"loopback"}',
    "version 9.9.9": '{"cniVersion":"9.9.9","name":"n1","type":"loopback"}',
    "version 1.0": '{"cniVersion":"1.0","name":"n1","type":"loopback"}',
    "version is no version": '{"cniVersion":"abc","name":"n1","type":"loopback"}',
    "keys in capitals": '{"CNIVERSION":"0.4.0","NAME":"n1","TYPE":"loopback"}',
    "a name twice": '{"cniVersion":"1.0.0","name":"a b","type":"loopback","name":"n1"}',
    "white space around": ' \n{"cniVersion":"1.0.0","name":"n1","type":"loopback"}\n ',
    "bytes that are no UTF-8": '{"cniVersion":"1.0.0","name":"n1","x":"\udcff"}',
}

CASES = [
    *(
        Case(f"protocol, {name}", CONF, ("ADD",), variables=variables)
        for name, variables in VARIABLES.items()
    ),
    *(
        Case(f"protocol, {name}", verbs=("ADD",), plugin="loopback", stdin=stdin)
        for name, stdin in INPUTS.items()
    ),
    *(
        Case(f"protocol, {name}, {verb}", verbs=(verb,), plugin="loopback", stdin=INPUTS[name])
        for name in ("version 9.9.9", "version is no version", "version is a number")
        for verb in ("CHECK", "DEL")
    ),
    Case("protocol, CHECK of 0.3.1", loopback(cniVersion="0.3.1"), ("CHECK",)),
    Case("protocol, unknown verb and no JSON", variables={"CNI_COMMAND": "FROB"}, verbs=("ADD",),
         plugin="loopback", stdin="{"),
    Case(
        "protocol, DEL without a container id",
        CONF,
        ("DEL",),
        variables={"CNI_CONTAINERID": None, "CNI_NETNS": None},
    ),
]  # fmt: skip
