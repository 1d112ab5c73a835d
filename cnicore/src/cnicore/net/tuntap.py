"""Tap devices: made through /dev/net/tun, which netlink cannot."""

from __future__ import annotations

import errno
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from typing import Any, NoReturn

from cnicore.net.link import RTM_GETLINK
from cnicore.net.messages import ifinfmsg
from cnicore.net.netlink import KernelError, Netlink, is_absent
from cnicore.net.switch import inside
from cnicore.rollback import OnFailure

TUN = "/dev/net/tun"
NO_DRIVER = {errno.ENOENT, errno.ENODEV, errno.ENXIO}
KIND = "tun"  # of a link; a tap is one of its two modes

# linux/if_tun.h; a few machines number "write" otherwise (asm/ioctl.h)
_WRITE = 2 if os.uname().machine.startswith(("alpha", "mips", "parisc", "ppc", "sparc")) else 1
TUNSETIFF, TUNSETPERSIST, TUNSETOWNER, TUNSETGROUP = (
    _WRITE << 30 | 0x400 << 8 | number for number in (0x54CA, 0x54CB, 0x54CC, 0x54CE)
)
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TUN_EXCL = 0x2, 0x100, 0x1000, 0x8000
IFREQ = struct.Struct("16sH22x")  # linux/if.h: struct ifreq with its flags

FILESYSTEMS = "/proc/filesystems"
OWN_CONTEXT = "/proc/thread-self/attr/current"
WITHOUT_A_POLICY = b"kernel"  # the context of everything until one is loaded
CREATING, ENTERING = b"c", b"e"  # what a child that makes a tap had come to


@dataclass(frozen=True, slots=True)
class Tap:
    """What a tap is, or is to be.

    Without an owner and a group every process that may open /dev/net/tun may attach to it, with
    both only one that has both.
    """

    owner: int | None = None
    group: int | None = None
    is_multi_queue: bool = False
    is_persistent: bool = True


class Taps:
    """The part of a namespace handle that is about tap devices. Every method raises KernelError."""

    netlink: Netlink
    fd: int | None

    def delete_link(self, name: str) -> None:
        raise NotImplementedError

    def require_taps(self) -> None:
        """Raise KernelError if this process could not make a tap here."""
        with self._tun_file():
            pass

    def add_tap(
        self, name: str, tap: Tap, on_failure: OnFailure, *, selinux_context: str = ""
    ) -> None:
        """Create a tap that stays, under its final name; it has no carrier until one attaches.

        Until the last step it would go with our file, and only then it has to be deleted.
        Whoever attaches first says whether frames begin with a header (IFF_VNET_HDR, IFF_NO_PI).
        """
        with self._tun_file() as file:
            _create(file, name, tap, selinux_context)
            if tap.owner is not None:
                _give(file, TUNSETOWNER, tap.owner, f"set the owner of {name} to {tap.owner}")
            if tap.group is not None:
                _give(file, TUNSETGROUP, tap.group, f"set the group of {name} to {tap.group}")
            # before it stays, or a signal in between would leave it
            on_failure(self.delete_link, name)
            with _kernel_errors(f"make {name} stay"):
                ioctl(file, TUNSETPERSIST, 1)

    def find_tap(self, name: str) -> Tap | None:
        """What the tap is, or None if there is no link of that name or if it is no tap."""
        message = ifinfmsg()
        message["attrs"] = [("IFLA_IFNAME", name)]
        try:
            return _decode(self.netlink.get(f"look up {name}", RTM_GETLINK, message))
        except KernelError as error:
            if is_absent(error):
                return None
            raise

    @contextmanager
    def _tun_file(self) -> Iterator[int]:
        """A file that makes taps in this namespace, whichever one the thread is in later."""
        try:
            with inside(self.fd):
                file = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            why = "load the kernel's module tun" if error.errno in NO_DRIVER else ""
            raise KernelError(f"open {TUN}", error.errno or errno.EIO, why) from error
        try:
            yield file
        finally:
            os.close(file)


def has_selinux() -> bool:
    """Whether the kernel runs with SELinux and has a policy."""
    with open(FILESYSTEMS, "rb") as filesystems:
        if b"\tselinuxfs\n" not in filesystems.read():
            return False
    with open(OWN_CONTEXT, "rb") as own:
        return own.read().rstrip(b"\0\n") != WITHOUT_A_POLICY


def _create(file: int, name: str, tap: Tap, selinux_context: str) -> None:
    flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE if tap.is_multi_queue else 0)
    # without "exclusive" it would attach to a tap of that name that is there already
    request = IFREQ.pack(name.encode(), flags | IFF_TUN_EXCL)
    act = f"create the tap {name}"
    if selinux_context:
        _create_labelled(file, request, act, selinux_context)
    else:
        with _kernel_errors(act):
            ioctl(file, TUNSETIFF, request)


def _create_labelled(file: int, request: bytes, act: str, context: str) -> None:
    """Create it in a child with that context, which is what the kernel labels the tap with.

    It looks at no other one (selinux_tun_dev_create), so not at the one for new sockets either.
    A process with one thread only may change its context, and ours could not change it back.
    """
    reading, writing = os.pipe()
    # in the child a signal would end up in our callers, whose work is not its own
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if not child:
        _be_child(file, request, context, writing)
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    os.close(writing)
    try:
        answer = os.read(reading, 2)
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    step, number = answer[:1], answer[-1] if answer else errno.ECHILD
    if step == ENTERING:
        act = f'enter the selinuxContext "{context}" to {act}'
    if number:
        raise KernelError(act, number)


def _be_child(file: int, request: bytes, context: str, writing: int) -> NoReturn:
    step = ENTERING
    try:
        with open(OWN_CONTEXT, "wb", buffering=0) as own:
            own.write(context.encode())
        step = CREATING
        ioctl(file, TUNSETIFF, request)
        os.write(writing, step + b"\0")
    except OSError as error:
        os.write(writing, step + bytes([error.errno or errno.EIO]))
    finally:
        os._exit(0)  # whatever happened: the rest of the program is the parent's


def _give(file: int, request: int, number: int, act: str) -> None:
    try:
        # Python takes a signed argument, the kernel its lowest 32 bits
        ioctl(file, request, *struct.unpack("i", struct.pack("I", number)))
    except OSError as error:
        why = "this user namespace has none of that number" if error.errno == errno.EINVAL else ""
        raise KernelError(act, error.errno or errno.EIO, why) from error


@contextmanager
def _kernel_errors(act: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KernelError(act, error.errno or errno.EIO) from error


def _decode(message: Any) -> Tap | None:
    info = message.get_attr("IFLA_LINKINFO")
    own = info.get_attr("IFLA_INFO_DATA") if info else None
    if not own or info.get_attr("IFLA_INFO_KIND") != KIND:
        return None
    if own.get_attr("IFLA_TUN_TYPE") != IFF_TAP:
        return None
    return Tap(
        own.get_attr("IFLA_TUN_OWNER"),
        own.get_attr("IFLA_TUN_GROUP"),
        bool(own.get_attr("IFLA_TUN_MULTI_QUEUE")),
        bool(own.get_attr("IFLA_TUN_PERSIST")),
    )
