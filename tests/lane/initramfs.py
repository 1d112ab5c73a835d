"""What the emulated kernel starts with: the modules that it needs to see the machine's files."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

NEEDED = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
SCRIPT = Path(__file__).with_name("initramfs.sh")


def write_initramfs(target: Path, modules: Path, busybox: Path) -> None:
    """Write it anew, which costs little: its script may have changed."""
    with tempfile.TemporaryDirectory() as work:
        root = Path(work)
        for directory in ("bin", "modules", "proc", "dev", "new"):
            (root / directory).mkdir()
        shutil.copy(busybox, root / "bin/busybox")
        shutil.copy(SCRIPT, root / "init")
        (root / "init").chmod(0o755)
        needed = load_order(dependencies(modules / "modules.dep"), NEEDED)
        for number, module in enumerate(needed):
            shutil.copy(modules / module, root / f"modules/{number:02}.ko")
        written = target.with_name(f"initramfs.{os.getpid()}")
        written.write_bytes(b"".join(archive(root)))
        written.rename(target)


def dependencies(index: Path) -> dict[str, list[str]]:
    """What each module needs, by their paths, from depmod's text."""
    lines = (line.partition(":") for line in index.read_text().splitlines())
    return {module: needs.split() for module, _, needs in lines}


def load_order(needs: Mapping[str, list[str]], names: Iterable[str]) -> list[str]:
    """The paths of the modules and of all that they need, each after what it needs itself."""
    paths = {Path(path).stem.replace("-", "_"): path for path in needs}
    order: dict[str, None] = {}

    def visit(path: str) -> None:
        for needed in needs[path]:
            visit(needed)
        order.setdefault(path)

    for name in names:
        visit(paths[name])
    return list(order)


def archive(root: Path) -> Iterator[bytes]:
    """The files below the directory in the format that the kernel reads: cpio, newc."""
    for number, path in enumerate(sorted(root.rglob("*")), 1):
        status = path.stat()
        content = b"" if stat.S_ISDIR(status.st_mode) else path.read_bytes()
        yield from entry(str(path.relative_to(root)), number, status.st_mode, content)
    yield from entry("TRAILER!!!", 0, 0, b"")


def entry(name: str, number: int, mode: int, content: bytes) -> Iterator[bytes]:
    """A header of numbers in hexadecimal, the name, the content, each filled up to four bytes."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    yield padded(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
    yield padded(content)


def padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
