"""Run a plugin as a program: environment and stdin in, stdout or an error out."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from cnicore.documents import Document, decode_object, fold_keys, kind_of
from cnicore.errors import CniError, DecodingFailure, ForeignError, reason

BUSY_ATTEMPTS = 6
BUSY_PAUSE = 1.0  # seconds, as in the reference: a package manager is writing the file
GRACE = 3.0  # seconds: taking back an ADD takes a tenth of one


def execute(
    file: str,
    environ: Mapping[str, str],
    stdin: bytes,
    timeout: float | None = None,
    on_success: Callable[[], object] = lambda: None,
) -> bytes:
    """Run the plugin's file and return its stdout; on success its stderr goes to ours.

    `timeout` is in seconds; when it passes the process gets SIGTERM, so that it can take back what
    it made, and GRACE seconds later SIGKILL. `on_success` is called as soon as the program has
    succeeded, whatever happens then, and after a timeout, when nobody knows. Raises ForeignError
    with what the plugin reported, or with code 0 if it died without a word.
    """
    try:
        process = _start(file, environ)
    except OSError as error:
        raise ForeignError(
            0, f"netplugin failed with no error message: exec {file}: {reason(error)}"
        ) from error
    with process:
        stdout, stderr = _outputs(process, stdin, timeout, on_success)
    if process.returncode:
        raise failure(stdout, stderr, process.returncode)
    if sys.stderr:  # None where descriptor 2 was closed
        sys.stderr.write(stderr.decode(errors="replace"))
    return stdout


def _start(file: str, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    def start() -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([file], env=environ, stdin=pipe, stdout=pipe, stderr=pipe)

    for _ in range(BUSY_ATTEMPTS - 1):
        try:
            return start()
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            time.sleep(BUSY_PAUSE)
    return start()


def _outputs(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    timeout: float | None,
    on_success: Callable[[], object],
) -> tuple[bytes, bytes]:
    try:
        outputs = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired as error:
        how = _end(process)
        on_success()
        raise ForeignError(
            0, f"netplugin failed with no error message: signal: {how} after {timeout:g} s"
        ) from error
    except BaseException:  # we are to end: whatever the program does is done before that
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE)
        _end(process)
        if process.returncode == 0:
            on_success()
        raise
    if process.returncode == 0:
        on_success()
    return outputs


def _end(process: subprocess.Popen[bytes]) -> str:
    """Terminate the process if it still runs, kill it if that does not help; says which."""
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return "killed"
    return "terminated"


def failure(stdout: bytes, stderr: bytes, status: int) -> CniError:
    """The error in a failed plugin's output, in the reference's words where there is none."""
    death = f"signal: {-status}" if status < 0 else f"exit status {status}"
    text = stdout.decode(errors="replace")
    if not text.strip():
        words = stderr.decode(errors="replace")
        if not words:
            return ForeignError(0, f"netplugin failed with no error message: {death}")
        return ForeignError(0, f"netplugin failed: {json.dumps(words)}: {death}")
    what = f"netplugin failed but error parsing its diagnostic message {json.dumps(text)}"
    try:
        return _reported(decode_object(text, what))
    except DecodingFailure as problem:
        return ForeignError(0, problem.msg)
    except ValueError as problem:
        return ForeignError(0, f"{what}: {problem}")


def _reported(document: Document) -> ForeignError:
    """The error document as an error. Raises ValueError if it is none."""
    members = fold_keys(document, ["code", "msg", "details"])
    code = members.get("code", 0)
    if not isinstance(code, int) or isinstance(code, bool) or code < 0:
        raise ValueError(f"code: expected an integer from 0, not {kind_of(code)}")
    msg, details = (members.get(key, "") for key in ("msg", "details"))
    if not isinstance(msg, str) or not isinstance(details, str):
        raise ValueError("msg and details: expected strings")  # noqa: TRY004  (caught as one kind)
    return ForeignError(code, msg, details)
