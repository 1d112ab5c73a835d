"""The result cache: the reference's bytes, whole files, and what torn ones do."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cnicore.errors import CniError
from cnicore.owner import Owner
from cnicore.runtime import Attachment, CachedAttachment
from cnicore.runtime.cache import ResultCache

OWNER = Owner("dbnet", "abc123", "eth0")
FULL = CachedAttachment(
    "dbnet",
    Attachment("abc123", "/run/netns/blue", "eth0", (("K", "v"),), {"mac": "x<y", "ips": ["é"]}),
    b'{"name": "dbnet"}\n',
)
RESULT = {"interfaces": [{"sandbox": "s", "name": "eth0"}], "cniVersion": "1.0.0"}
FULL_FILE = (
    '{"kind":"cniCacheV1","containerId":"abc123","config":"eyJuYW1lIjogImRibmV0In0K",'
    '"ifName":"eth0","networkName":"dbnet","netns":"/run/netns/blue","cniArgs":[["K","v"]],'
    '"capabilityArgs":{"ips":["é"],"mac":"x\\u003cy"},'
    '"result":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"s"}]}}'
)


@pytest.fixture
def cache(tmp_path: Path) -> ResultCache:
    return ResultCache(tmp_path / "cache" / "results")


def test_a_file_has_the_references_bytes_name_and_modes(cache: ResultCache) -> None:
    cache.write(OWNER, FULL, RESULT)
    file = cache.directory / "dbnet-abc123-eth0"
    assert file.read_text() == FULL_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


def test_empty_members_are_left_out(cache: ResultCache) -> None:
    cache.write(
        OWNER, CachedAttachment("dbnet", Attachment("abc123"), b""), {"cniVersion": "1.0.0"}
    )
    assert (cache.directory / "dbnet-abc123-eth0").read_text() == (
        '{"kind":"cniCacheV1","containerId":"abc123","config":"","ifName":"eth0",'
        '"networkName":"dbnet","result":{"cniVersion":"1.0.0"}}'
    )


def test_what_was_written_is_read_back(cache: ResultCache) -> None:
    cache.write(OWNER, FULL, RESULT)
    assert cache.read_attachment(OWNER) == FULL
    assert cache.read_result(OWNER, "1.0.0") == RESULT


def test_a_result_is_converted_to_the_wanted_version(cache: ResultCache) -> None:
    cache.write(OWNER, FULL, RESULT)
    assert cache.read_result(OWNER, "0.4.0") == {
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "eth0", "sandbox": "s"}],
        "dns": {},
    }


def test_a_bare_result_of_an_older_runtime_is_understood(cache: ResultCache) -> None:
    cache.directory.mkdir(parents=True)
    (cache.directory / "dbnet-abc123-eth0").write_text(
        '{"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24"}}'
    )
    assert cache.read_result(OWNER, "1.0.0") == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.0.0.2/24"}],
    }
    assert list(cache.attachments()) == []
    with pytest.raises(CniError, match="cniCacheV1"):
        cache.read_attachment(OWNER)


def test_nothing_is_remembered_where_there_is_no_file(cache: ResultCache) -> None:
    assert cache.read_result(OWNER, "1.0.0") is None
    assert cache.read_attachment(OWNER) is None
    assert list(cache.attachments()) == []


@pytest.mark.parametrize("content", ["", FULL_FILE[:200], "[]", '{"kind":"cniCacheV1","result":7}'])
def test_a_torn_file_is_an_error_when_read_and_left_out_when_listed(
    cache: ResultCache, content: str
) -> None:
    cache.directory.mkdir(parents=True)
    (cache.directory / "dbnet-abc123-eth0").write_text(content)
    with pytest.raises(CniError, match="cached result"):
        cache.read_result(OWNER, "1.0.0")
    assert list(cache.attachments()) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write(OWNER, FULL, RESULT)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full_disk)
    with pytest.raises(CniError, match="No space left on device"):
        cache.write(OWNER, FULL, {"cniVersion": "1.1.0"})
    assert [file.name for file in cache.directory.iterdir()] == ["dbnet-abc123-eth0"]
    assert cache.read_result(OWNER, "1.0.0") == RESULT


def test_attachments_are_sorted_and_those_of_one_container_selected(cache: ResultCache) -> None:
    for network, container_id in (("z", "abc"), ("a", "abc-1"), ("m", "abc")):
        owner = Owner(network, container_id, "eth0")
        cache.write(owner, CachedAttachment(network, Attachment(container_id), b""), RESULT)
    (cache.directory / ".half-written").write_text(FULL_FILE)
    assert [one.network for one in cache.attachments()] == ["a", "m", "z"]
    assert [one.network for one in cache.attachments("abc")] == ["m", "z"]


@pytest.mark.parametrize("container_id", ["", "../../etc", "a/b", "a\0b"])
def test_a_part_that_would_lead_elsewhere_is_refused(cache: ResultCache, container_id: str) -> None:
    with pytest.raises(CniError, match="cache file path requires"):
        cache.read_result(Owner("dbnet", container_id, "eth0"), "1.0.0")
    cache.remove(Owner("dbnet", container_id, "eth0"))
