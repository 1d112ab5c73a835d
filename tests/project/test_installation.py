"""The distributions: what is in them, and that pip alone installs them into a working program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from conformance.stage import environment

ROOT = Path(__file__).parents[2]
MEMBERS = {
    "cnicore": "cnicore",
    "cni_main": "cni-main",
    "cni_ipam": "cni-ipam",
    "cni_meta": "cni-meta",
}
PLUGINS = {
    *("bridge", "dummy", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan"),
    *("dhcp", "host-local", "static"),
    *("bandwidth", "firewall", "flannel", "portmap", "sbr", "tuning", "vrf"),
}
LIBRARIES = {"cni_meta": ["jeepney>=0.8"]}
"""What a member needs beside the core."""
LOOPBACK = {"cniVersion": "1.1.0", "name": "lo", "type": "loopback"}


def project(folder: str) -> dict:
    """The table `project` of the pyproject.toml in the folder."""
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]


def run(*command, **options) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "text": True, "timeout": 240, **options}
    return subprocess.run(command, check=False, **options)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A copy of the five projects, so that nothing is built inside the tree."""
    copy = tmp_path_factory.mktemp("sources")
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in MEMBERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    return copy


@pytest.fixture(scope="module")
def wheels(sources) -> dict[str, zipfile.ZipFile]:
    """The wheel of each distribution, by its name; built without the network."""
    found = {}
    for folder, name in {**MEMBERS, ".": "cni-suite"}.items():
        target = sources / "wheels" / name
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target]
        done = run(*command, cwd=sources / folder)
        assert done.returncode == 0, done.stderr
        (wheel,) = target.glob("*.whl")
        found[name] = zipfile.ZipFile(wheel)
    return found


def metadata_of(wheel: zipfile.ZipFile):
    (file,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(file))


class TestDistributions:
    def test_all_have_one_version(self):
        assert len({project(folder)["version"] for folder in (".", *MEMBERS)}) == 1

    def test_the_suite_is_the_four_at_that_version_and_nothing_else(self, wheels):
        version = project(".")["version"]

        required = metadata_of(wheels["cni-suite"]).get_all("Requires-Dist")
        own = [line for line in required if "extra ==" not in line]
        folders = {name.partition("/")[0] for name in wheels["cni-suite"].namelist()}

        assert sorted(own) == sorted(f"{name}=={version}" for name in MEMBERS.values())
        assert folders == {f"cni_suite-{version}.dist-info"}

    @pytest.mark.parametrize("folder", ["cni_main", "cni_ipam", "cni_meta"])
    def test_plugins_need_the_core_of_the_same_version_and_little_else(self, folder):
        core = f"cnicore=={project('cnicore')['version']}"
        assert project(folder)["dependencies"] == [core, *LIBRARIES.get(folder, [])]

    @pytest.mark.parametrize("name", [*MEMBERS.values(), "cni-suite"])
    def test_a_wheel_has_the_licence(self, wheels, name):
        wheel = wheels[name]

        (licence,) = [file for file in wheel.namelist() if file.endswith("/LICENSE")]

        assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
        assert metadata_of(wheel)["License-Expression"] == "Apache-2.0"
        assert metadata_of(wheel)["License-File"] == "LICENSE"

    @pytest.mark.parametrize("folder", MEMBERS)
    def test_a_wheel_has_its_package_with_its_types_and_nothing_beside_it(self, wheels, folder):
        files = wheels[MEMBERS[folder]].namelist()

        assert f"{folder}/py.typed" in files
        assert {re.sub(r"-.*", "", file.partition("/")[0]) for file in files} == {folder}
        assert {file for file in files if file.startswith(f"{folder}/")} == {
            str(file.relative_to(ROOT / folder / "src"))
            for file in (ROOT / folder / "src").rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }


@pytest.fixture(scope="module")
def fresh(sources) -> Path:
    """The `bin` of a new environment into which pip alone installed the four folders.

    pip fetches hatchling and what cnicore depends on, as on a user's machine.
    """
    virtual = sources / "venv"
    assert run(sys.executable, "-m", "venv", virtual).returncode == 0
    pip = [virtual / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    download = run(*pip, "download", "--no-deps", "--dest", sources / "probe", "hatchling>=1.27")
    if download.returncode:
        pytest.skip("needs an index of packages that pip can reach")
    done = run(*pip, "install", *(f"./{folder}" for folder in MEMBERS), cwd=sources)
    assert done.returncode == 0, done.stderr
    return virtual / "bin"


class TestFreshEnvironment:
    def test_the_plugins_are_listed_without_a_problem(self, fresh):
        listed = json.loads(run(fresh / "cni", "plugins", "--json").stdout)

        assert {plugin["type"] for plugin in listed} == PLUGINS
        assert [plugin for plugin in listed if plugin["problem"] or not plugin["verbs"]] == []

    def test_it_needs_nothing_of_the_source_tree(self, fresh):
        code = "import cnicore.main, cni_main.bridge, cni_ipam.static; print(cnicore.__file__)"

        done = run(fresh / "python", "-c", code, cwd="/")

        assert done.stdout.startswith(str(fresh.parent))
        assert str(ROOT) not in "".join(
            file.read_text() for file in fresh.parent.glob("lib/*/site-packages/*.pth")
        )

    @pytest.mark.kernel
    def test_what_it_installs_attaches_and_detaches(self, fresh, sandbox, tmp_path):
        sandbox.container()
        directory = tmp_path / "plugins"
        installed = run(fresh / "cni", "install", directory, env={})
        types = {file.name for file in directory.iterdir() if file.is_symlink()}
        states = []

        for verb in ("ADD", "DEL"):
            variables = {"CNI_IFNAME": "lo", "CNI_PATH": str(directory)}
            answer = run(
                directory / "loopback",
                input=json.dumps(LOOPBACK),
                env=environment(verb, variables),
            )
            assert (answer.returncode, answer.stderr) == (0, "")
            (link,) = sandbox.json("ip -json link show lo", "c1")
            states.append("UP" in link["flags"])

        assert installed.returncode == 0, installed.stderr
        assert types == PLUGINS
        assert states == [True, False]
