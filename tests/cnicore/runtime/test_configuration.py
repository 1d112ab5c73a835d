"""Loading from directories: which file is a network's, and what is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnicore.errors import CniError
from cnicore.runtime import load_network, load_network_file


def write(directory: Path, **files: str) -> None:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name.replace("_", ".")).write_text(content)


def conflist(name: str, plugin: str = "bridge", more: str = "") -> str:
    return f'{{"name": "{name}", "plugins": [{{"type": "{plugin}"}}]{more}}}'


def conf(name: str, plugin: str = "ptp") -> str:
    return f'{{"name": "{name}", "cniVersion": "0.4.0", "type": "{plugin}"}}'


def test_a_list_is_found_by_the_name_in_it(tmp_path: Path) -> None:
    write(tmp_path, a_conflist=conflist("other"), b_conflist=conflist("dbnet"))
    assert load_network(tmp_path, "dbnet").plugins[0].type == "bridge"


def test_a_list_beats_a_single_plugin_whatever_the_files_are_called(tmp_path: Path) -> None:
    write(tmp_path, a_conf=conf("dbnet"), z_conflist=conflist("dbnet"))
    assert load_network(tmp_path, "dbnet").plugins[0].type == "bridge"


def test_among_lists_and_among_single_plugins_the_first_file_by_name_counts(tmp_path: Path) -> None:
    write(tmp_path, b_conflist=conflist("l", "two"), a_conflist=conflist("l", "one"))
    write(tmp_path, b_conf=conf("s", "two"), a_json=conf("s", "one"), c_conf=conf("s", "three"))
    assert load_network(tmp_path, "l").plugins[0].type == "one"
    assert load_network(tmp_path, "s").plugins[0].type == "one"


def test_a_single_plugin_is_tried_when_no_list_has_the_name(tmp_path: Path) -> None:
    write(tmp_path, a_conflist=conflist("other"), b_conf=conf("dbnet"))
    network = load_network(tmp_path, "dbnet")
    assert (network.is_list, network.cni_version) == (True, "0.4.0")


@pytest.mark.parametrize(("files", "message"), [
    ({}, "no net configurations found in "),
    ({"a_txt": "{}", "b_conflist~": "{"}, "no net configurations found in "),
    ({"a_conflist": conflist("other")}, 'no net configuration with name "dbnet" in '),
    ({"a_conf": conf("other")}, 'no net configuration with name "dbnet" in '),
    ({"a_conflist": "{", "b_conflist": conflist("dbnet")},
     "a.conflist: error parsing configuration list: "),
    ({"a_conflist": '{"name": "x"}', "b_conflist": conflist("dbnet")},
     "a.conflist: no plugin configs found"),
    ({"a_conf": '{"name": "x"}', "b_conf": conf("dbnet")},
     "a.conf: error parsing configuration: missing 'type'"),
])  # fmt: skip
def test_what_cannot_be_loaded_is_named(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    write(tmp_path, **files)
    with pytest.raises(CniError) as failure:
        load_network(tmp_path, "dbnet")
    assert message in str(failure.value)


def test_an_absent_directory_has_no_networks(tmp_path: Path) -> None:
    with pytest.raises(CniError, match="no net configurations found in "):
        load_network(tmp_path / "absent", "dbnet")


def test_a_broken_file_after_the_match_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, a_conflist=conflist("dbnet"), b_conflist="{", c_conf="{")
    assert load_network(tmp_path, "dbnet").name == "dbnet"


def test_the_folder_named_after_the_network_adds_plugins_in_order(tmp_path: Path) -> None:
    write(tmp_path, a_conflist=conflist("dbnet"))
    write(tmp_path / "dbnet", b_conf=conf("", "tuning"), a_conf=conf("", "portmap"), c_json="{")
    (tmp_path / "dbnet" / "sub.conf").mkdir()
    types = [plugin.type for plugin in load_network(tmp_path, "dbnet").plugins]
    assert types == ["bridge", "portmap", "tuning"]


def test_the_folder_alone_may_hold_the_plugins(tmp_path: Path) -> None:
    write(tmp_path, a_conflist='{"name": "dbnet"}')
    write(tmp_path / "dbnet", a_conf=conf("", "portmap"))
    assert [plugin.type for plugin in load_network(tmp_path, "dbnet").plugins] == ["portmap"]


def test_the_folder_is_ignored_if_only_inlined_plugins_are_wanted(tmp_path: Path) -> None:
    write(tmp_path, a_conflist=conflist("dbnet", more=', "loadOnlyInlinedPlugins": true'))
    write(tmp_path / "dbnet", a_conf="{")
    assert [plugin.type for plugin in load_network(tmp_path, "dbnet").plugins] == ["bridge"]


def test_a_broken_file_in_the_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, a_conflist=conflist("dbnet"))
    write(tmp_path / "dbnet", a_conf="{")
    with pytest.raises(CniError, match=r"dbnet/a\.conf: error parsing configuration"):
        load_network(tmp_path, "dbnet")


@pytest.mark.parametrize(("name", "content", "plugin"), [
    ("a.conflist", conflist("n"), "bridge"),
    ("a.conf", conf("n"), "ptp"),
    ("a.json", conflist("n"), "bridge"),
])  # fmt: skip
def test_a_file_is_a_list_or_a_single_plugin_by_what_it_holds(
    tmp_path: Path, name: str, content: str, plugin: str
) -> None:
    (tmp_path / name).write_text(content)
    assert load_network_file(tmp_path / name).plugins[0].type == plugin


def test_a_name_that_is_a_path_leads_to_no_folder(tmp_path: Path) -> None:
    write(tmp_path / "net.d", a_conflist=conflist("../other"))
    write(tmp_path / "other", a_conf=conf("", "portmap"))
    network = load_network_file(tmp_path / "net.d" / "a.conflist")
    assert [plugin.type for plugin in network.plugins] == ["bridge"]


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CniError, match=r"could not read .*a\.conf: No such file or directory"):
        load_network_file(tmp_path / "a.conf")
