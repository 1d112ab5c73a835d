"""The registry's own scan finds what importlib.metadata finds, at a fraction of its cost."""

from __future__ import annotations

import re
import sys
from importlib import metadata

import pytest

from cnicore import registry

GROUPS = sorted(registry.GROUPS)
SUITE = {
    "bridge": "cni-main",
    "dhcp": "cni-ipam",
    "host-device": "cni-main",
    "host-local": "cni-ipam",
    "loopback": "cni-main",
    "ptp": "cni-main",
    "static": "cni-ipam",
}

ODD_SPELLINGS = {
    "Acme_Plugins-1.0": "[cni.plugins]\nacme=acme_plugin\n  Spaced\t =\t spaced_plugin  \n",
    "many_groups-2.0rc1": (
        "[console_scripts]\ncni = other:main\n\n"
        "[cni.extensions]\ntrace = tracing.hooks\n[cni.plugins]\n"
        "# off = not_this\nwith-dash = a.b.c\n[cni.plugins.more]\nother = group\n"
    ),
    "versioned-3.0.post1+local.2": (
        "[cni.plugins]\nnew = new_plugin\n[cni.versions]\nnew = cnicore.spec:SINCE_0_4_0\n"
    ),
    "program-1.0": "[cni.commands]\nacme-daemon = acme.daemon:main\n",
    "windows-1.0": "[cni.plugins]\r\ncarriage = return\r\n\r\n",
    "no_newline-1.0": "[cni.plugins]\nlast = line",
    "empty_group-1.0": "[cni.plugins]\n\n[other]\nname = value\n",
    "empty_file-1.0": "",
    "unicode-1.0": "[cni.plugins]\ngrün = gruen\n",
    "dotted.name-1.0": "[cni.plugins]\ndotted = dotted_plugin\n",
}


def scanned(path):
    return {
        (point.group, point.name, point.value, point.distribution, point.version)
        for point in registry.scan(path)
    }


def found_by_metadata(path):
    """The first of several distributions of one name counts, as in `metadata.entry_points()`."""
    distributions = {}
    for distribution in metadata.distributions(path=list(path)):
        name = re.sub(r"[-_.]+", "-", distribution.name).lower()
        distributions.setdefault(name, distribution)
    return {
        (point.group, point.name, point.value, name, distribution.version)
        for name, distribution in distributions.items()
        for point in distribution.entry_points
        if point.group in GROUPS
    }


def write(folder, stem, text):
    info = folder / f"{stem}.dist-info"
    info.mkdir(parents=True)
    name, _, version = stem.rpartition("-")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(text, newline="", encoding="utf-8")


def test_in_this_environment_both_find_the_same():
    assert scanned(sys.path) == found_by_metadata(sys.path)


@pytest.mark.parametrize("group", GROUPS)
def test_in_this_environment_the_groups_hold_the_same_names(group):
    ours = {point.name for point in registry.scan(sys.path) if point.group == group}

    assert ours == metadata.entry_points(group=group).names


def test_the_suites_plugins_are_found_in_their_distributions():
    plugins = registry.installed()

    assert {name: plugins[name].entry_point.distribution for name in SUITE} == SUITE


@pytest.mark.parametrize("stem", ODD_SPELLINGS)
def test_a_distribution_that_is_spelt_oddly_is_read_the_same(tmp_path, stem):
    write(tmp_path, stem, ODD_SPELLINGS[stem])

    assert scanned([str(tmp_path)]) == found_by_metadata([str(tmp_path)])


def test_all_of_them_together_are_read_the_same(tmp_path):
    for stem, text in ODD_SPELLINGS.items():
        write(tmp_path, stem, text)

    found = scanned([str(tmp_path)])

    assert found == found_by_metadata([str(tmp_path)])
    assert len(found) == 11


@pytest.mark.parametrize("later", ["acme_plugins", "Acme-Plugins", "acme.plugins", "ACME__plugins"])
def test_a_distribution_later_on_the_path_is_shadowed_in_any_spelling(tmp_path, later):
    write(tmp_path / "first", "acme_plugins-2.0", "[cni.plugins]\nacme = new\n")
    write(tmp_path / "second", f"{later}-1.0", "[cni.plugins]\nacme = old\ngone = old\n")
    path = [str(tmp_path / "first"), str(tmp_path / "second")]

    assert {(name, value) for _, name, value, *_ in scanned(path)} == {("acme", "new")}
