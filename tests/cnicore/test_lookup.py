"""Finding a plugin's file along CNI_PATH."""

from __future__ import annotations

import pytest

from cnicore.errors import CniError
from cnicore.lookup import find_plugin_file


def test_the_first_directory_with_the_file_wins_and_it_need_not_be_executable(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ptp").touch()
    directories = [str(tmp_path / "gone"), str(tmp_path / "a"), str(tmp_path / "b")]
    assert find_plugin_file("ptp", directories) == str(tmp_path / "a" / "ptp")


def test_a_directory_of_that_name_is_no_plugin(tmp_path):
    (tmp_path / "ptp").mkdir()
    with pytest.raises(CniError) as caught:
        find_plugin_file("ptp", [str(tmp_path), "/nowhere"])
    assert caught.value.msg == f'failed to find plugin "ptp" in path [{tmp_path} /nowhere]'


def test_a_type_cannot_lead_out_of_the_directories(tmp_path):
    (tmp_path / "sh").touch()
    (tmp_path / "bin").mkdir()
    with pytest.raises(CniError, match=r"invalid plugin name: \.\./sh"):
        find_plugin_file("../sh", [str(tmp_path / "bin")])


@pytest.mark.parametrize("directories", [[], [""]])
def test_without_directories_the_variable_is_named(directories):
    with pytest.raises(CniError, match="no paths provided: set CNI_PATH"):
        find_plugin_file("ptp", directories)
