"""SIGTERM, whenever it comes: one document that says so, and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from cnicore.cli.launcher import import_directories, launcher_text, real_interpreter
from cnicore.errors import Terminated
from cnicore.main import error_document

ENTRY_POINTS = "[cni.plugins]\nacme = acme_plugin\nleaf = acme_leaf\n"
CONF = b'{"cniVersion": "1.1.0", "name": "net", "type": "acme"}'
MESSAGE = "terminated by SIGTERM before the work was done; what was made is taken back"

PLUGIN = """
import os, signal
from pathlib import Path
from cnicore.config import NetConf
from cnicore.delegate import delegate_add
from cnicore.hookspecs import hookimpl
from cnicore.result import Result
from cnicore.rollback import rollback

MARK = Path(__file__).with_name("mark")

def terminate():
    os.kill(os.getpid(), signal.SIGTERM)

{before}

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add(request):
    with rollback() as on_failure:
        MARK.touch()
        on_failure(MARK.unlink)
{add}
    return Result()

@hookimpl
def cni_del():
    MARK.unlink(missing_ok=True)
"""

LEAF = "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n"

DURING_A_DECODE = """
try:
    terminate()
except Exception as error:
    raise ValueError("cannot decode") from error
"""

DURING_A_CLASS = """
class Name:
    def __set_name__(self, owner, name):
        terminate()

class Named:
    name = Name()
"""

SWALLOWED = """
for _ in range(3):
    try:
        terminate()
    except Exception:
        pass
"""

WHILE_WRITING = """
write = os.write

def write_and_terminate(file, data):
    written = write(file, data)
    terminate()
    return written

os.write = write_and_terminate
"""


@pytest.fixture
def add(distribute, tmp_path):
    """Runs the ADD of a plugin with these lines; returns the process, and whether its mark is left."""

    def add(lines="pass", before=""):
        source = PLUGIN.format(add=indent(lines, "        "), before=before)
        site = distribute(ENTRY_POINTS, acme_plugin=source, acme_leaf=LEAF)
        program = tmp_path / "cni"
        program.write_text(launcher_text(real_interpreter(), import_directories(sys.path)))
        program.chmod(0o755)
        for name in ("acme", "leaf"):
            (tmp_path / name).symlink_to("cni")
        return run(tmp_path), (site / "mark").exists()

    return add


def run(directory: Path) -> subprocess.CompletedProcess[bytes]:
    environ = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(directory),
    }
    return subprocess.run(
        [directory / "acme"], input=CONF, env=environ, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("lines", "before"),
    [
        ("pass", "terminate()"),
        ('delegate_add("leaf", request)', ""),
        (DURING_A_DECODE, ""),
        (DURING_A_CLASS, ""),
        ("import acme_leaf", DURING_A_CLASS),
        (SWALLOWED, ""),
    ],
    ids=[
        "import",
        "import of a delegate",
        "decode",
        "class",
        "class in an import",
        "swallowed",
    ],
)
def test_it_is_never_taken_for_another_failure(add, lines, before):
    done, is_left = add(lines, before)

    assert done.returncode == 1
    assert json.loads(done.stdout) == {"code": 999, "msg": MESSAGE}
    assert done.stderr == b""
    assert not is_left


def test_once_the_answer_is_written_it_counts(add):
    done, is_left = add("pass", WHILE_WRITING)

    assert (done.returncode, json.loads(done.stdout)) == (0, {"cniVersion": "1.1.0"})
    assert is_left


def test_its_document_has_no_traceback(capsys):
    assert error_document(Terminated(MESSAGE)) == {"code": 999, "msg": MESSAGE}
    assert capsys.readouterr().err == ""
