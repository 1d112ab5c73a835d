"""Many containers at once, each with a process of its own, as when a node starts."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from kernel.dhcp_servers import eventually
from kernel.dhcp_site import RECORDS, addresses_of, alone
from kernel.dhcp_usage import usage_of

pytestmark = pytest.mark.kernel

COUNT = 50
NAMES = [f"c{number}" for number in range(COUNT)]


def called_for_all(site, verb):
    """What one process for each container answers, all of them started at once."""
    processes = [
        subprocess.Popen(
            [site.plugins / "dhcp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**site.caller(name).environ, "CNI_COMMAND": verb},
        )
        for name in NAMES
    ]
    for process in processes:
        process.stdin.write(json.dumps(alone()))
        process.stdin.close()
    answers = [process.stdout.read() for process in processes]
    assert [process.wait(120) for process in processes] == [0] * COUNT, answers
    for process in processes:
        process.stdout.close()
    return [json.loads(answer) if answer else None for answer in answers]


def require_quiet(daemon):
    """Nothing is due for a minute: it only looks now and then whether the containers are there."""
    before = usage_of(daemon)
    eventually(lambda: time.monotonic() > before.moment + 5)
    after = usage_of(daemon)
    assert after.sleeps - before.sleeps <= 3 + (after.moment - before.moment)
    assert after.processor - before.processor < 1
    assert after.files < COUNT + 20  # a lease that waits is a namespace's descriptor, and no socket


def test_50_attachments_at_once_get_different_addresses_and_give_all_back(site):
    server = site.dnsmasq("10.1.0.10,10.1.0.99,255.255.0.0,2m")
    daemon = site.daemon()
    site.wired(*NAMES)

    added = called_for_all(site, "ADD")

    addresses = {addresses_of(result)[0] for result in added}
    assert len(addresses) == COUNT
    assert set(server.leased()) == addresses
    assert len(list(RECORDS.glob("*.json"))) == COUNT
    require_quiet(daemon)
    assert called_for_all(site, "DEL") == [None] * COUNT
    eventually(lambda: not server.leased(), lambda: f"{server.log}\n{daemon.log}")
    assert list(RECORDS.iterdir()) == []


def test_two_calls_for_one_attachment_get_one_lease(site):
    """Two runtimes, or one that lost patience: nothing is leased twice, and DEL ends it."""
    server = site.dnsmasq("10.1.0.10,10.1.0.99,255.255.0.0,2m")
    site.daemon()
    site.wired("c0")
    environ = {**site.caller("c0").environ, "CNI_COMMAND": "ADD"}
    conf = json.dumps(alone())
    command = f"for n in 1 2 3 4; do echo '{conf}' | {site.plugins}/dhcp & done; wait"

    done = subprocess.run(
        ["sh", "-c", command], env=environ, capture_output=True, text=True, check=True, timeout=120
    )

    decoder, results, rest = json.JSONDecoder(), [], done.stdout.strip()
    while rest:
        result, end = decoder.raw_decode(rest)
        results.append(result)
        rest = rest[end:].strip()
    assert results == [results[0]] * 4
    assert server.leased() == addresses_of(results[0])
    assert site.caller("c0")("DEL", alone()).text == ""
    eventually(lambda: not server.leased(), lambda: server.log)
