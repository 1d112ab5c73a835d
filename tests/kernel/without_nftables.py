"""A host whose kernel has no nf_tables, as far as this process can tell."""

from __future__ import annotations

from typing import Any

from cnicore.firewall import libnftables, single

NO_SUBSYSTEM = 15  # no kernel has it, and answers EINVAL as for one that is not loaded


class WithoutNfTables:
    """The library's class where the kernel has no nf_tables: words recorded from libnftables 1.0.6."""

    WORDS = "internal:0:0-0: Error: cache initialization failed: Invalid argument\n"

    def cmd(self, cmdline: str) -> tuple[int, str, str]:
        return -1, "", self.WORDS

    def json_cmd(self, json_root: Any) -> tuple[int, Any, str]:
        return -1, "", self.WORDS

    def set_json_output(self, val: bool) -> bool:  # noqa: FBT001  (the project's signature)
        return False


def hide_nftables(monkeypatch: Any) -> None:
    """Programs find it as before."""
    monkeypatch.setattr(libnftables, "_binding", lambda: WithoutNfTables)
    monkeypatch.setattr(libnftables, "_open", {})
    monkeypatch.setattr(single, "SUBSYSTEM", NO_SUBSYSTEM)
