"""The kernel lane's own machinery: choice and shares of tests, packages, guests, and what it tells."""

from __future__ import annotations

import json
import lzma
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lane import obstacles, report
from lane.guest import BEGIN, END, Ended, Order, confined, ends_in_time, furnish, script
from lane.initramfs import archive, dependencies, load_order
from lane.kernels import LOADER, Kernel, decompressed, index_modules, shared, with_own_loader
from lane.packages import Packages, Unavailable, main_archive, run, settings, source
from lane.part import Part
from lane.plugin import EITHER, QEMU, UML, take
from lane.selection import CollectionFailed, select, tally

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.full_kernel
def test_good(): pass

@pytest.mark.full_kernel
def test_bad(): assert False

@pytest.mark.full_kernel
def test_skips(): pytest.skip("needs a moon")

@pytest.mark.full_kernel_nft
def test_other_kernel(): pass

def test_may_skip(): pytest.skip("needs a moon")
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces of its own")


def no_command(place, processor):
    return ["true"]


def kernel(name=UML):
    return Kernel(name, Path("/modules"), Path("/busybox"), {"kind": "hostfs"}, no_command)


# --- which tests


@pytest.fixture
def project(tmp_path):
    """A project with a file of tests; the lane's part of pytest is a folder beside them."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/lane").symlink_to(ROOT / "tests/lane")
    (tmp_path / "tests/test_one.py").write_text(TESTS)
    marks = ['"full_kernel: x"', '"full_kernel_nft: x"']
    ini = f'[tool.pytest.ini_options]\ntestpaths = ["tests"]\nmarkers = [{", ".join(marks)}]\n'
    (tmp_path / "pyproject.toml").write_text(ini)
    return tmp_path


def share(project, place, tests):
    place.mkdir()
    (place / "tests.json").write_text(json.dumps(tests))
    (place.parent / "taken").mkdir(exist_ok=True)
    return subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-p", "lane.plugin", f"--lane-share={place}"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "tests")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_marked_tests_are_chosen_by_kernel(project):
    chosen = select(project, ["-k", "not bad"], "full_kernel or full_kernel_nft")

    assert chosen == {
        UML: ["tests/test_one.py::test_good", "tests/test_one.py::test_skips"],
        QEMU: ["tests/test_one.py::test_other_kernel"],
        EITHER: [],
    }
    assert select(project, ["-k", "may_skip"], "not full_kernel")[EITHER] == [
        "tests/test_one.py::test_may_skip"
    ]
    assert select(project, ["-k", "nothing"], "full_kernel") == {UML: [], QEMU: [], EITHER: []}


def test_what_cannot_be_listed_is_told_in_pytests_words(project):
    with pytest.raises(CollectionFailed, match="file or directory not found: none.py"):
        select(project, ["none.py"], "full_kernel")


def test_a_guest_runs_its_tests_and_writes_down_how_they_ended(project, tmp_path):
    names = [f"tests/test_one.py::test_{name}" for name in ("good", "bad", "skips", "may_skip")]

    done = share(project, tmp_path / "1", names)

    ends = ("passed", "failed", "failed", "skipped")
    assert (tmp_path / "1/ran").read_text().splitlines() == [
        f"{end} {name}" for end, name in zip(ends, names, strict=True)
    ]
    assert done.returncode == 1
    assert "skipped, which a test of the lane may not be: Skipped: needs a moon" in done.stdout
    assert "2 failed, 1 passed, 1 skipped, 1 deselected" in done.stdout


def test_a_file_is_taken_by_one_guest(project, tmp_path):
    (project / "tests/test_two.py").write_text("def test_more(): pass\n")
    names = ["tests/test_one.py::test_good", "tests/test_two.py::test_more"]
    (tmp_path / "taken").mkdir()
    assert take(tmp_path / "taken", Path("tests/test_one.py"))

    done = share(project, tmp_path / "1", names)

    assert (done.returncode, (tmp_path / "1/ran").read_text()) == (0, f"passed {names[1]}\n")
    assert not take(tmp_path / "taken", Path("tests/test_two.py"))


def test_between_the_files_that_it_takes_a_guest_takes_down_what_it_set_up(project, tmp_path):
    text = "import pytest\n@pytest.fixture(scope='package', autouse=True)\ndef made(): yield\n"
    names = []
    for folder in ("a", "b", "c"):
        (project / "tests" / folder).mkdir()
        (project / "tests" / folder / "conftest.py").write_text(text)
        (project / "tests" / folder / f"test_{folder}.py").write_text("def test_it(): pass\n")
        names.append(f"tests/{folder}/test_{folder}.py::test_it")
    (tmp_path / "taken").mkdir()
    take(tmp_path / "taken", Path("tests/b/test_b.py"))

    done = share(project, tmp_path / "1", names)

    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout


def test_what_no_guest_has_finished_is_known(tmp_path):
    for place, text in (("1", "passed a::x\nfailed a::y z\n"), ("2", "passed b::x\n")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "ran").write_text(text)
    places = [tmp_path / name for name in ("1", "2", "never started")]

    ends = tally(["a::x", "a::y z", "b::x", "b::y"], places)

    assert (ends.passed, ends.failed) == ({"a::x", "b::x"}, {"a::y z"})
    assert (ends.not_run, ends.is_good) == ({"b::y"}, False)


def test_what_does_not_pass_is_left_to_another_kernel(tmp_path):
    names = ("a::good", "a::bad", "a::skips", "a::marked", "a::died")
    lines = ("passed a::good", "failed a::bad", "skipped a::skips", "failed a::marked")
    one = part(tmp_path, UML, *lines, tests=names)

    assert one.give_up(["a::good", "a::bad", "a::skips", "a::died"]) == ["a::bad", "a::skips"]

    ends = one.tally()
    assert (ends.passed, ends.failed, ends.skipped) == ({"a::good"}, {"a::marked"}, frozenset())
    assert ends.not_run == {"a::died"}


# --- packages and kernels


@pytest.mark.parametrize("uri", ["http://mirror/debian/", "http://mirror/debian"])
def test_the_machines_mirror_is_used(uri):
    uris = ["http://mirror/debian-security/", "http://else/ubuntu", uri, "http://b/debian"]

    assert main_archive(uris) == uri
    assert re.fullmatch(rf"deb (\[signed-by=\S+\] )?{uri} trixie main\n", source(uri, "trixie"))


def test_a_machine_without_debians_archive_says_so():
    with pytest.raises(Unavailable, match="no source of Debian's main archive"):
        main_archive(["http://mirror/debian-security"])


def test_apt_keeps_to_its_directory(tmp_path):
    lines = [line for line in settings(tmp_path).splitlines() if "Dir::" in line]

    assert all(str(tmp_path) in line or "/dev/null" in line for line in lines)


def test_a_program_that_fails_is_told_with_its_words():
    with pytest.raises(Unavailable, match=r"sh -c echo no way >&2; exit 3: no way"):
        run(["sh", "-c", "echo no way >&2; exit 3"])


def test_what_is_unpacked_already_is_not_asked_for(tmp_path):
    for package in ("busybox-static", "linux-image-6.1.0-1-amd64"):
        (tmp_path / "bookworm" / package).mkdir(parents=True)
    packages = Packages(tmp_path)

    places = [
        packages.unpacked("busybox-static", "bookworm"),
        packages.unpacked_for("linux-image-amd64", "bookworm", "linux-image-"),
    ]

    assert [place.name for place in places] == ["busybox-static", "linux-image-6.1.0-1-amd64"]
    assert packages.fresh == set()


def test_modules_are_loaded_after_what_they_need(tmp_path):
    index = "k/a-b.ko: k/c.ko k/d.ko\nk/c.ko: k/d.ko\nk/d.ko:\nk/e.ko:\n"
    (tmp_path / "modules.dep").write_text(index)
    needs = dependencies(tmp_path / "modules.dep")

    assert load_order(needs, ["a_b", "d"]) == ["k/d.ko", "k/c.ko", "k/a-b.ko"]


def test_an_index_that_is_there_is_not_made_again(tmp_path):
    (tmp_path / "6.1").mkdir()
    (tmp_path / "6.1/modules.dep").touch()

    assert index_modules(tmp_path, Path("/none")) == tmp_path / "6.1"


def test_the_initramfs_is_an_archive_that_ends(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/x").write_bytes(b"12345")

    content = b"".join(archive(tmp_path))

    assert len(content) % 4 == 0
    assert re.findall(rb"070701[0-9a-f]{104}([^\0]+)\0", content) == [
        b"bin",
        b"bin/x",
        b"TRAILER!!!",
    ]
    assert b"bin/x\0" in content
    assert b"12345" + bytes(3) + b"070701" in content


def test_the_kernel_is_taken_out_of_its_wrapping():
    assert decompressed(b"MZ" + lzma.compress(b"\x7fELF") + b"rest") == b"\x7fELF"
    with pytest.raises(Unavailable, match="not compressed by xz"):
        decompressed(b"MZ")


def test_a_program_gets_a_loader_beside_it(tmp_path):
    (tmp_path / "linux.uml").write_bytes(b"a" + LOADER + b"b")
    (tmp_path / "ld-linux-x86-64.so.2").touch()

    home = with_own_loader(tmp_path / "linux.uml", tmp_path)

    assert (home / "linux").read_bytes() == b"a./ld.so" + bytes(len(LOADER) - 7) + b"b"
    assert (home / "ld.so").exists()


def test_a_comma_in_a_shared_path_is_none_of_qemus():
    assert "path=/a,,b," in shared("lane", Path("/a,b"), "readonly=off")[1]


# --- a guest


def test_the_command_is_run_in_the_folder_with_an_environment_of_its_own(tmp_path):
    words = ["sh", "-c", 'pwd; echo "$HOME" "$MORE"; exit 3']
    done = subprocess.run(
        ["sh", "-c", script(words, tmp_path)],
        env={"MORE": "x"},
        capture_output=True,
        text=True,
        check=False,
    )

    ended = Ended(done.returncode, f"booting\n{done.stdout}reboot: Power down\n")
    assert (ended.status, ended.output) == (3, f"{tmp_path}\n/root \n")


@pytest.mark.parametrize(
    ("console", "in_time", "told"),
    [
        ("panic\n", True, "The guest died. The end of its console:\npanic\n"),
        (
            f"boot\n{BEGIN}\n{'.' * 9}\nOops\n",
            False,
            "The guest was stopped at its time limit. The end of its console:\n.........\nOops\n",
        ),
        ("".join(f"{n}\n" for n in range(30)), True, f"\n{10}\n11\n"),
    ],
)
def test_the_end_of_the_console_is_shown_when_a_guest_dies(console, in_time, told):
    assert told in Ended(None, console, in_time).output


def test_a_guest_that_has_ended_is_not_said_to_have_died():
    assert Ended(0, f"{BEGIN}\n5 passed\n{END}\n").output == "5 passed\n"


def test_what_the_first_process_of_a_guest_needs_is_put_there(tmp_path):
    place = tmp_path / "run" / "it's 1"

    furnish(kernel(), Order(place, ["true"], tmp_path, 1))

    shell = f". '{tmp_path}/run/it'\\''s 1/settings'; echo $kind $modules $busybox \"$shared\""
    told = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert told == f"hostfs /modules /busybox {place.parent}\n"
    assert all(os.access(place / name, os.X_OK) for name in ("init", "command"))


@needs_root
def test_a_guest_ends_at_its_limit_and_all_its_processes_with_it(tmp_path):
    mark = tmp_path / "alive"
    loop = f"(while sleep 0.05; do echo >>{mark}; done) & wait"
    process = subprocess.Popen(confined(["sh", "-c", loop]))
    started = time.monotonic()
    while not mark.exists() and time.monotonic() - started < 30:
        time.sleep(0.02)

    assert not ends_in_time(process, 0.1)

    time.sleep(0.5)
    size = mark.stat().st_size
    time.sleep(0.5)
    assert mark.stat().st_size == size > 0


# --- what it tells


def part(tmp_path, name, *lines, tests=("a::x", "a::y")):
    made = Part(kernel(name), list(tests), tmp_path / name)
    place = tmp_path / name / "1"
    place.mkdir()
    (place / "ran").write_text("".join(f"{line}\n" for line in lines))
    made.places.append(place)
    return made


def test_the_last_line_counts_what_passed(tmp_path, capsys):
    parts = [part(tmp_path, name, "passed a::x", "passed a::y") for name in (QEMU, UML)]

    assert report.summary(parts, 61.4) == 0

    assert capsys.readouterr().err == (
        "kernel lane: 4 passed under QEMU and user-mode-linux in 61 s\n"
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("failed a::x", "kernel lane: 1 passed, 1 failed under QEMU in 1 s"),
        ("skipped a::x", "kernel lane: 1 passed, 1 skipped under QEMU in 1 s"),
        ("passed b::x", "kernel lane: 1 passed, 1 not run to the end under QEMU in 1 s"),
    ],
)
def test_the_lane_fails_with_a_test_and_with_a_guest_that_died_but_not_with_a_skip(
    tmp_path, capsys, line, told
):
    failed = report.summary([part(tmp_path, QEMU, line, "passed a::y")], 1)

    assert failed == (not line.startswith("skipped"))
    text = capsys.readouterr().err
    assert text.splitlines()[-1] == told
    assert ("these tests were not run to their end:\n  a::x\n" in text) == ("not run" in told)


def test_without_tests_there_is_nothing_to_fail(capsys):
    assert report.summary([], 0.2) == 0
    assert capsys.readouterr().err == "kernel lane: no tests in 0 s\n"


@pytest.mark.parametrize(("is_forgiven", "status"), [(True, 0), (False, 1)])
def test_what_cannot_be_run_is_said_loudly_and_once_more_at_the_end(capsys, is_forgiven, status):
    reasons = {"all of it": "this machine forbids ptrace"}

    assert report.not_run(reasons, is_forgiven=is_forgiven) == status

    *frame, last = capsys.readouterr().err.splitlines()
    assert frame[0] == frame[-1] == "!" * 100
    assert "The kernel lane was NOT RUN" in frame[1]
    assert last == "kernel lane: NOT RUN: all of it: this machine forbids ptrace"


def test_names_of_many_tests_are_cut_short():
    names = [f"t{number}" for number in range(13)]

    assert list(report.shown(names)) == [*names[:10], "and 3 more"]
    assert list(report.shown(names[:10])) == names[:10]


def test_every_obstacle_is_looked_for_before_anything_is_downloaded(monkeypatch):
    monkeypatch.setattr(obstacles, "OBSTACLES", ((lambda: False, "a"), (lambda: True, "b")))

    assert obstacles.obstacle() == "b"


def test_make_test_runs_the_lane_and_forgives_only_that_it_cannot():
    recipe = re.search(r"^test: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert recipe[1].splitlines() == [
        "\t@$(BIN)/pytest -q $(ARGS)",
        "\t@$(BIN)/python tests/lane/run.py --if-possible $(ARGS)",
    ]
