r"""A network's reservations on disk: a file for each address names who holds it.

`10.1.2.2` holds `<container id>\r\n<interface>`, `last_reserved_ip.<range set>` the address given
last, to the byte as the reference writes them; very old releases wrote the container id alone. An
empty address file, which a power loss can leave, counts as none.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton  # socket itself costs 5 ms to import
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from cni_ipam.host_local.directory import Files
from cnicore.addresses import parse_address
from cnicore.attempts import attempt_all
from cnicore.errors import system_errors
from cnicore.owner import Owner
from cnicore.result import Address
from cnicore.rollback import OnFailure, rollback

LAST_RESERVED = "last_reserved_ip."
LINE_BREAK = "\r\n"


class Holder(NamedTuple):
    """Who holds an address; `ifname` is empty in files of very old releases.

    Both are empty for what bears an address's name and is no regular file: nobody's, yet taken.
    """

    container_id: str
    ifname: str

    def is_owner(self, owner: Owner) -> bool:
        return self in ((owner.container_id, owner.ifname), (owner.container_id, ""))

    def __str__(self) -> str:
        if not self.container_id:
            return "something that is no regular file"
        return f"container {self.container_id}" + (f" ({self.ifname})" if self.ifname else "")


class Store:
    """The reservations in a locked directory. Its methods raise OSError."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def holders(self) -> dict[str, Holder]:
        """Who holds each address that is taken, by its text: most are never parsed."""
        return {name: holder for name, holder in self._address_files() if holder}

    def _address_files(self) -> Iterator[tuple[str, Holder | None]]:
        """Each file that is named after an address, with its holder; None if the file is empty."""
        for name, is_file in self._files.names().items():
            if is_address(name):
                yield name, self._holder(name) if is_file else Holder("", "")

    def _holder(self, name: str) -> Holder | None:
        text = self._text(name)
        container_id, _, ifname = text.partition(LINE_BREAK)
        return Holder(container_id, ifname) if text else None

    def _text(self, name: str) -> str:
        """The file's content without surrounding white space; empty if there is no file."""
        try:
            return self._files.read(name).decode(errors="replace").strip("\0 \t\r\n")
        except FileNotFoundError:
            return ""

    def last_reserved(self, index: int) -> Address | None:
        """The address that the range set gave last, None if it is not known."""
        text = self._text(f"{LAST_RESERVED}{index}")
        return parse_address(text) if is_address(text) else None

    def reserve(self, addresses: Sequence[Address], owner: Owner) -> None:
        """Write down the address of each range set, all or none; they must be free."""
        content = LINE_BREAK.join((owner.container_id, owner.ifname)).encode()
        with rollback() as on_failure:
            for address in addresses:
                # before: a signal may come between the file and its undo step
                on_failure(self._remove_if, str(address), content)
                self._reserve(str(address), content)
            for index, address in enumerate(addresses):
                self._remember(f"{LAST_RESERVED}{index}", str(address), on_failure)

    def _reserve(self, name: str, content: bytes) -> None:
        try:
            self._files.create(name, content)
        except FileExistsError:
            if self._text(name):
                raise
            self._files.remove(name)
            self._files.create(name, content)

    def _remove_if(self, name: str, content: bytes) -> None:
        if self._text(name).encode() == content:
            self._files.remove(name)

    def _remember(self, name: str, text: str, on_failure: OnFailure) -> None:
        on_failure(self._restore, name, self._text(name))
        self._files.replace(name, text.encode())

    def _restore(self, name: str, before: str) -> None:
        if not before:
            self._files.remove(name)
        elif self._text(name) != before:
            self._files.replace(name, before.encode())

    def release(self, owner: Owner) -> None:
        """Give back the owner's addresses; if it has none, those that name its container alone."""
        holders = self.holders()
        for holder in (Holder(owner.container_id, owner.ifname), Holder(owner.container_id, "")):
            mine = [name for name, one in holders.items() if one == holder]
            if mine:
                self._remove_all(mine)
                return

    def keep_only(self, owners: Collection[Owner]) -> None:
        """Give back every address whose holder is none of the owners, and remove empty files."""
        valid = {Holder(owner.container_id, owner.ifname) for owner in owners}
        valid |= {Holder(owner.container_id, "") for owner in owners}
        valid.add(Holder("", ""))
        self._remove_all([name for name, holder in self._address_files() if holder not in valid])

    def _remove_all(self, names: Sequence[str]) -> None:
        with attempt_all() as attempt:
            for name in names:
                attempt(self._remove, name)

    def _remove(self, name: str) -> None:
        with system_errors(f"remove the reservation {self._files.path}/{name}"):
            self._files.remove(name)


def is_address(text: str) -> bool:
    """Whether the text is an IP address; fifty times as fast as to parse it."""
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True
