"""The kernels of the lane, each made ready from Debian's packages, and the commands that start them."""

from __future__ import annotations

import lzma
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lane.initramfs import write_initramfs
from lane.packages import Packages, Unavailable, run
from lane.plugin import QEMU, UML

LOADER = b"/lib64/ld-linux-x86-64.so.2\0"
NEAR_LOADER = b"./ld.so"
EMULATOR = "qemu-system-x86_64"
XZ = b"\xfd7zXZ\0"
QUIET = "quiet loglevel=1"


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready, and what its guests need to know.

    `command` gives the program and its arguments; it takes the guest's directory, whose parent is
    shared by all guests, and the number of a processor.
    """

    name: str
    modules: Path
    busybox: Path
    settings: dict[str, str]
    command: Callable[[Path, int], list[str]]


def user_mode_linux(packages: Packages) -> Kernel:
    """Debian's kernel as a process. Raises Unavailable.

    That of trixie: its system calls cost half of what they cost in bookworm's.
    """
    files = packages.unpacked("user-mode-linux", "trixie")
    libraries = packages.unpacked("libc6", "trixie") / "usr/lib/x86_64-linux-gnu"
    busybox = packages.unpacked("busybox-static", "trixie") / "usr/bin/busybox"
    modules = index_modules(files / "usr/lib/uml/modules", busybox)
    home = with_own_loader(files / "usr/bin/linux.uml", libraries)

    def command(place: Path, processor: int) -> list[str]:
        return start_uml(home, libraries, place, processor)

    settings = {"kind": "hostfs", "terminal": "/dev/tty1", "tables": "legacy"}
    return Kernel(UML, modules, busybox, settings, command)


def emulated(packages: Packages) -> Kernel:
    """Debian's usual kernel in a processor that QEMU emulates. Raises Unavailable."""
    if shutil.which(EMULATOR) is None:
        raise Unavailable(f"{EMULATOR} is missing: install Debian's package qemu-system-x86")
    files = packages.unpacked_for("linux-image-amd64", "bookworm", "linux-image-")
    busybox = packages.unpacked("busybox-static", "trixie") / "usr/bin/busybox"
    modules = index_modules(files / "lib/modules", busybox)
    kernel, initramfs = files / "vmlinux", files / "initramfs"
    if not kernel.exists():
        (compressed,) = (files / "boot").glob("vmlinuz-*")
        kernel.write_bytes(decompressed(compressed.read_bytes()))
    write_initramfs(initramfs, modules, busybox)

    def command(place: Path, processor: int) -> list[str]:
        return start_qemu(kernel, initramfs, place)

    settings = {"kind": "9p", "terminal": "/dev/ttyS0", "tables": ""}
    return Kernel(QEMU, modules, busybox, settings, command)


def index_modules(parent: Path, busybox: Path) -> Path:
    """The directory of the only kernel version there, with the index that the package lacks."""
    (modules,) = (path for path in parent.iterdir() if path.is_dir())
    if not (modules / "modules.dep").exists():
        # depmod wants to see them as /lib/modules below some directory
        root = modules.parent / "root"
        (root / "lib").mkdir(parents=True)
        (root / "lib/modules").symlink_to(modules.parent)
        run([busybox, "depmod", "-b", root, modules.name])
        shutil.rmtree(root)
    return modules


def with_own_loader(program: Path, libraries: Path) -> Path:
    """A directory with a copy of the program that starts with the C library of its own release.

    The program starts itself again, so the loader cannot be called with its name. What names the
    loader inside the program becomes a path relative to this directory.
    """
    home = program.parent / "near"
    if not home.exists():
        copy = program.read_bytes()
        if copy.count(LOADER) != 1:
            raise Unavailable(f"{program.name} does not name its loader once")
        work = home.with_name("near.new")
        work.mkdir(exist_ok=True)
        (work / "linux").write_bytes(copy.replace(LOADER, NEAR_LOADER.ljust(len(LOADER), b"\0")))
        (work / "linux").chmod(0o755)
        shutil.copy(libraries / "ld-linux-x86-64.so.2", work / "ld.so")
        work.rename(home)
    return home


def start_uml(home: Path, libraries: Path, place: Path, processor: int) -> list[str]:
    """Start it on one processor: the kernel and the process that it traces take turns."""
    linux = [
        *("./linux", "mem=1G", f"uml_dir={place}/", "umid=guest"),
        *("rootfstype=hostfs", "rootflags=/", "ro", f"init={place}/init", f"lane={place}"),
        *("con=null", "con0=null,fd:2", "con1=null,fd:1", *QUIET.split()),
    ]
    # its memory is a file that must be executable, which /dev/shm need not be, and large
    memory = place / "memory"
    mount = ["mount", "-t", "tmpfs", "-o", "size=1100M,mode=700", "memory", str(memory)]
    environ = [f"TMPDIR={memory}", f"LD_LIBRARY_PATH={libraries}"]
    start = ["taskset", "--cpu-list", str(processor), "env", *environ, *linux]
    script = f"{shlex.join(mount)} && cd {shlex.quote(str(home))} && {shlex.join(start)}; exit $?"
    return ["sh", "-c", script]


def start_qemu(kernel: Path, initramfs: Path, place: Path) -> list[str]:
    boot = [
        *("console=ttyS0", *QUIET.split(), "panic=-1", f"lane={place}", f"lane_init={place}/init"),
        *("nokaslr", "mitigations=off", "tsc=reliable", "no_timer_check", "random.trust_cpu=on"),
        *("cryptomgr.notests", "nowatchdog", "apparmor=0", "audit=0", "net.ifnames=0"),
    ]
    return [
        *(EMULATOR, "-M", "q35", "-accel", "tcg,tb-size=512", "-cpu", "Nehalem", "-m", "1G"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-net", "none"),
        *("-kernel", str(kernel), "-initrd", str(initramfs), "-append", " ".join(boot)),
        *shared("root", Path("/"), "readonly=on"),
        *shared("lane", place.parent, "readonly=off"),
        *("-chardev", "file,id=console,path=/dev/stdout", "-serial", "chardev:console"),
    ]


def shared(tag: str, path: Path, access: str) -> list[str]:
    """A directory that the guest mounts by its tag."""
    escaped = str(path).replace(",", ",,")
    share = f"local,id={tag},path={escaped},security_model=none,multidevs=remap,{access}"
    return ["-fsdev", share, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def decompressed(image: bytes) -> bytes:
    """The kernel inside a bzImage: started as it is, it need not unpack itself in emulation."""
    start = image.find(XZ)
    if start < 0:
        raise Unavailable("the kernel image is not compressed by xz")
    return lzma.LZMADecompressor().decompress(image[start:])
