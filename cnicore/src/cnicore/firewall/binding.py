"""The part of the nftables project's Python class that we use, over libnftables.so.1 by ctypes."""

from __future__ import annotations

import ctypes
import json
from typing import Any

LIBRARY = "libnftables.so.1"
OUTPUT_JSON = 1 << 4  # nftables/libnftables.h

CONTEXT, TEXT, NUMBER = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "nft_ctx_new": (CONTEXT, [ctypes.c_uint32]),
    "nft_ctx_free": (None, [CONTEXT]),
    "nft_ctx_buffer_output": (ctypes.c_int, [CONTEXT]),
    "nft_ctx_buffer_error": (ctypes.c_int, [CONTEXT]),
    "nft_ctx_get_output_buffer": (TEXT, [CONTEXT]),
    "nft_ctx_get_error_buffer": (TEXT, [CONTEXT]),
    "nft_ctx_output_get_flags": (NUMBER, [CONTEXT]),
    "nft_ctx_output_set_flags": (None, [CONTEXT, NUMBER]),
    "nft_run_cmd_from_buffer": (ctypes.c_int, [CONTEXT, TEXT]),
}


class Binding:
    """A libnftables context. Raises OSError if the library cannot be loaded."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(LIBRARY)
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._context = self._library.nft_ctx_new(0)
        if not self._context:
            raise OSError(f"{LIBRARY} could not open a context")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._library.nft_ctx_free(self._context)

    def set_json_output(self, val: bool) -> bool:  # noqa: FBT001  (the project's signature)
        """Switch between JSON and nft's own language; returns how it was."""
        flags: int = self._library.nft_ctx_output_get_flags(self._context)
        wanted = flags | OUTPUT_JSON if val else flags & ~OUTPUT_JSON
        self._library.nft_ctx_output_set_flags(self._context, wanted)
        return bool(flags & OUTPUT_JSON)

    def cmd(self, cmdline: str) -> tuple[int, str, str]:
        """Run a command; returns status (0 is success), output and error text."""
        status = self._library.nft_run_cmd_from_buffer(self._context, cmdline.encode())
        output = self._library.nft_ctx_get_output_buffer(self._context)
        error = self._library.nft_ctx_get_error_buffer(self._context)
        return status, output.decode(errors="replace"), error.decode(errors="replace")

    def json_cmd(self, json_root: Any) -> tuple[int, Any, str]:
        """Run commands of the JSON schema; returns status, decoded output and error text."""
        before = self.set_json_output(val=True)
        status, output, error = self.cmd(json.dumps(json_root))
        self.set_json_output(before)
        return status, json.loads(output) if output else output, error
