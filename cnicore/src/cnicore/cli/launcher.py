"""The script that `cni install` writes: it starts Python with nothing but what a plugin needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cnicore.errors import CniError

MARKER = '# written by "cni install"; "cni uninstall" removes it'
SOCKET = "/run/cni/cni.sock"
LONGEST_SHEBANG = 254  # bytes that the kernel reads of the first line, less the newline

SCRIPT = """\
#!{interpreter} -IS
{marker}
import gc
import sys

gc.disable()  # a plugin lives for milliseconds
sys.path += {path!r}

from cnicore.warm.client import main

main({socket!r})
"""


def launcher_text(interpreter: str, path: Iterable[str], socket: str = SOCKET) -> str:
    """Write the script for an interpreter, the directories to import from, and a server's socket.

    With -I and -S the interpreter reads neither environment nor .pth files, so the directories are
    written down. Raises CniError if the kernel could not start that interpreter.
    """
    line = os.fsencode(f"#!{interpreter} -IS")
    if len(line) > LONGEST_SHEBANG or any(character.isspace() for character in interpreter):
        raise CniError(
            f'the path of the interpreter "{interpreter}" is too long for a #! line or has a space:'
            " install Python under a shorter path and install cni with it"
        )
    return SCRIPT.format(
        interpreter=interpreter, marker=MARKER, path=list(path), socket=os.fsencode(socket)
    )


def is_launcher(file: Path) -> bool:
    """Whether the file is a script of ours."""
    try:
        with file.open("rb") as stream:
            lines = stream.read(len(MARKER) + 2 * LONGEST_SHEBANG).splitlines()
    except OSError:
        return False
    return MARKER.encode() in lines[:2]


def real_interpreter() -> str:
    """Find the interpreter itself, not a virtual environment's link to it. Raises CniError."""
    executable = getattr(sys, "_base_executable", "") or sys.executable
    if not executable:
        raise CniError("cannot tell which interpreter runs: start cni with a Python from a file")
    return str(Path(executable).resolve())


def import_directories(path: Iterable[str]) -> list[str]:
    """List the directories of `path` that hold distributions, and those their .pth files add.

    The rest of the path (the script's own directory, the current one) is nothing that a program
    run by root should import from.
    """
    sites = [Path(entry) for entry in path if entry and any(Path(entry).glob("*.dist-info"))]
    found = [directory for site in sites for directory in (site, *added_directories(site))]
    return list(dict.fromkeys(str(directory.resolve()) for directory in found))


def added_directories(site: Path) -> Iterator[Path]:
    for file in sorted(site.glob("*.pth")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            text = line.rstrip()
            if (
                text
                and not text.startswith(("#", "import ", "import\t"))
                and (site / text).is_dir()
            ):
                yield site / text
