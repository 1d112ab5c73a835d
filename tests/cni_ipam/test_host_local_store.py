"""The reservations on disk when things go wrong: failing calls, full disks, torn files."""

import errno
import os
import resource
from ipaddress import ip_address
from pathlib import Path

import pytest

from cni_ipam.host_local import directory as directory_module
from cni_ipam.host_local.directory import locked
from cni_ipam.host_local.store import Holder, Store, is_address
from cnicore.owner import Owner

OWNER = Owner("mynet", "c1", "eth0")
ADDRESSES = (ip_address("10.1.2.7"), ip_address("fd00::7"))


class FailingFiles:
    """The files of a real directory; the call of number `fail_at` finds the disk broken."""

    def __init__(self, files, fail_at=0):
        self.path = files.path
        self._files = files
        self.fail_at = fail_at
        self.calls = 0

    def _call(self, name, *args):
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(errno.EIO, "Input/output error")
        return getattr(self._files, name)(*args)

    def names(self):
        return self._call("names")

    def read(self, name):
        return self._call("read", name)

    def create(self, name, data):
        self._call("create", name, data)

    def replace(self, name, data):
        self._call("replace", name, data)

    def remove(self, name):
        self._call("remove", name)


@pytest.fixture
def prepared(directory):
    """A store that has given addresses before, and has a torn file where the next one goes."""
    directory.mkdir(parents=True)
    (directory / "10.1.2.6").write_bytes(b"c0\r\neth0")
    (directory / "10.1.2.7").write_bytes(b"")
    (directory / "last_reserved_ip.0").write_bytes(b"10.1.2.6")
    return directory


def reservations(files):
    return {name: data for name, data in files().items() if data}


def calls_of_a_reservation(directory):
    with locked(str(directory)) as real:
        counted = FailingFiles(real)
        Store(counted).reserve(ADDRESSES, OWNER)
        Store(real).release(OWNER)
    return counted.calls


def test_a_reservation_that_fails_at_any_call_leaves_what_was_there(prepared, files):
    before = reservations(files)
    total = calls_of_a_reservation(prepared)
    assert total >= 8

    for number in range(1, total + 1):
        (prepared / "10.1.2.7").write_bytes(b"")
        (prepared / "last_reserved_ip.0").write_bytes(b"10.1.2.6")
        (prepared / "last_reserved_ip.1").unlink(missing_ok=True)
        with locked(str(prepared)) as real, pytest.raises(OSError, match="Input/output error"):
            Store(FailingFiles(real, number)).reserve(ADDRESSES, OWNER)
        assert reservations(files) == before, f"call {number} of {total}"


def test_a_signal_between_two_calls_leaves_what_was_there(prepared, files):
    class Interrupted(FailingFiles):
        def replace(self, name, data):
            super().replace(name, data)
            if name == "last_reserved_ip.1":
                raise KeyboardInterrupt

    before = reservations(files)
    with locked(str(prepared)) as real, pytest.raises(KeyboardInterrupt):
        Store(Interrupted(real)).reserve(ADDRESSES, OWNER)

    assert reservations(files) == before


def in_a_child(act):
    """Whether `act` succeeds in a process of its own, whose limits it may change."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001  (the parent looks at the status)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("used_before", [True, False])
def test_an_add_that_cannot_write_leaves_nothing(call, network, files, data_dir, used_before):
    if used_before:
        call.add(network(), CNI_CONTAINERID="other")
    before = reservations(files) if used_before else {}

    def add_without_space():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        outcome = call("ADD", network())
        assert outcome.status == 1
        assert outcome.document["msg"] == (
            f"could not reserve addresses in the directory {data_dir / 'mynet'} (ipam.dataDir):"
            " File too large"
        )

    assert in_a_child(add_without_space)
    assert reservations(files) == before


@pytest.mark.kernel
def test_on_a_full_disk_add_fails_and_leaves_nothing_and_status_says_so(sandbox, call, network):
    disk = Path("/run/disk")
    sandbox.shell(f"mkdir {disk} && mount -t tmpfs -o size=64k,nr_inodes=64 tmpfs {disk}")
    conf = network(dataDir=str(disk))
    call.add(conf, CNI_CONTAINERID="other")
    sandbox.shell(f"cat /dev/zero > {disk}/filler 2>/dev/null || true")
    names = sorted(path.name for path in (disk / "mynet").iterdir())

    status, add = call("STATUS", conf), call("ADD", conf)

    where = f"the directory {disk}/mynet (ipam.dataDir): No space left on device"
    assert status.document == {"code": 50, "msg": f"could not write to {where}"}
    assert add.document == {"code": 999, "msg": f"could not reserve addresses in {where}"}
    assert sorted(path.name for path in (disk / "mynet").iterdir()) == names
    assert (disk / "mynet" / "last_reserved_ip.0").read_text() == "10.1.2.2"


@pytest.mark.kernel
def test_on_a_read_only_disk_add_del_and_status_name_the_path(sandbox, call, network):
    disk = Path("/run/disk")
    sandbox.shell(f"mkdir {disk} && mount -t tmpfs tmpfs {disk}")
    conf = network(dataDir=str(disk))
    call.add(conf)
    sandbox.shell(f"mount -o remount,ro {disk}")

    messages = [call(verb, conf).document["msg"] for verb in ("STATUS", "DEL")]
    other = call("ADD", conf, CNI_CONTAINERID="c2").document["msg"]

    assert messages == [
        f"could not write to the directory {disk}/mynet (ipam.dataDir): Read-only file system",
        f"could not remove the reservation {disk}/mynet/10.1.2.2: Read-only file system",
    ]
    assert other == (
        f"could not reserve addresses in the directory {disk}/mynet (ipam.dataDir):"
        " Read-only file system"
    )
    assert call("CHECK", conf).status == 0


@pytest.fixture
def without_unnamed_files(monkeypatch):
    """A file system that has no O_TMPFILE; which ones do not depends on the kernel's age."""
    real_open = os.open

    def refusing(path, flags, mode=0o777, *, dir_fd=None):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(directory_module.os, "open", refusing)


def test_without_unnamed_files_the_directory_looks_the_same(
    call, network, files, without_unnamed_files
):
    conf = network()
    call.add(conf)

    assert call("STATUS", conf).status == 0
    assert files() == {"10.1.2.2": b"c1\r\neth0", "last_reserved_ip.0": b"10.1.2.2", "lock": b""}
    assert call("ADD", conf).status == 1
    assert call.add(conf, CNI_CONTAINERID="c2")["ips"][0]["address"] == "10.1.2.3/24"


def test_without_unnamed_files_a_torn_file_is_replaced(
    call, network, prepared, files, without_unnamed_files
):
    assert call.add(network())["ips"][0]["address"] == "10.1.2.7/24"
    assert files()["10.1.2.7"] == b"c1\r\neth0"


@pytest.mark.parametrize("torn", [b"", b" \n", b"\0\0\0\0\0\0\0\0"])
def test_a_torn_file_counts_as_free_and_is_replaced(call, network, prepared, files, torn):
    (prepared / "10.1.2.7").write_bytes(torn)

    assert call.add(network())["ips"][0]["address"] == "10.1.2.7/24"
    assert files()["10.1.2.7"] == b"c1\r\neth0"
    assert call("DEL", network()).status == 0
    assert sorted(files()) == ["10.1.2.6", "last_reserved_ip.0", "lock"]


def test_what_bears_an_address_and_is_no_file_is_left_alone(call, network, directory):
    directory.mkdir(parents=True)
    (directory / "10.1.2.2").mkdir()
    (directory / "10.1.2.3").symlink_to("/no/such")

    assert call.add(network())["ips"][0]["address"] == "10.1.2.4/24"
    taken = call("ADD", {**network(), "runtimeConfig": {"ips": ["10.1.2.3"]}}, CNI_IFNAME="eth1")
    assert taken.document["msg"].endswith("something that is no regular file holds it")
    assert (directory / "10.1.2.2").is_dir()
    assert (directory / "10.1.2.3").is_symlink()


@pytest.mark.parametrize(
    ("content", "holder"),
    [
        (b"c1\r\neth0", Holder("c1", "eth0")),
        (b" c1\r\neth0\n", Holder("c1", "eth0")),
        (b"c1", Holder("c1", "")),
        (b"c1\r\n", Holder("c1", "")),
        (b"\xff\xfe", Holder("��", "")),
    ],
)
def test_the_holder_is_read_leniently(directory, content, holder):
    directory.mkdir(parents=True)
    (directory / "10.1.2.2").write_bytes(content)

    with locked(str(directory)) as real:
        assert Store(real).holders() == {"10.1.2.2": holder}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10.1.2.3", True),
        ("2001:db8::1", True),
        ("10.1.2", False),
        ("10.01.2.3", False),
        ("10.1.2.3.bak", False),
        ("fe80::1%eth0", False),
        ("lock", False),
        ("last_reserved_ip.0", False),
        (".new", False),
        ("", False),
    ],
)
def test_only_names_that_are_addresses_are_reservations(name, expected):
    assert is_address(name) is expected


def test_directories_are_made_with_mode_0755_whatever_the_umask_allows(call, network, data_dir):
    before = os.umask(0)
    try:
        call.add(network(dataDir=f"{data_dir}/deep/er"))
    finally:
        os.umask(before)

    made = [data_dir, data_dir / "deep", data_dir / "deep/er", data_dir / "deep/er/mynet"]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o755] * 4
