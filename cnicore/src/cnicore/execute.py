"""Run a plugin as a program: environment and stdin in, stdout or an error out."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from collections.abc import Mapping

from cnicore.documents import fold_keys
from cnicore.errors import CniError, ForeignError, reason

BUSY_ATTEMPTS = 6
BUSY_PAUSE = 1.0  # seconds, as in the reference: a package manager is writing the file


def execute(
    file: str, environ: Mapping[str, str], stdin: bytes, timeout: float | None = None
) -> bytes:
    """Run the plugin's file and return its stdout; on success its stderr goes to ours.

    `timeout` is in seconds; when it passes the process is killed. Raises ForeignError with what the
    plugin reported, or with code 0 if it died without a word.
    """
    try:
        done = _run(file, environ, stdin, timeout)
    except subprocess.TimeoutExpired as error:
        raise ForeignError(
            0, f"netplugin failed with no error message: signal: killed after {timeout:g} s"
        ) from error
    except OSError as error:
        raise ForeignError(
            0, f"netplugin failed with no error message: exec {file}: {reason(error)}"
        ) from error
    if done.returncode:
        raise failure(done.stdout, done.stderr, done.returncode)
    sys.stderr.write(done.stderr.decode(errors="replace"))
    return done.stdout


def _run(
    file: str, environ: Mapping[str, str], stdin: bytes, timeout: float | None
) -> subprocess.CompletedProcess[bytes]:
    for _ in range(BUSY_ATTEMPTS - 1):
        try:
            return subprocess.run(
                [file], input=stdin, env=environ, capture_output=True, timeout=timeout, check=False
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            time.sleep(BUSY_PAUSE)
    return subprocess.run(
        [file], input=stdin, env=environ, capture_output=True, timeout=timeout, check=False
    )


def failure(stdout: bytes, stderr: bytes, status: int) -> CniError:
    """The error in a failed plugin's output, in the reference's words where there is none."""
    death = f"signal: {-status}" if status < 0 else f"exit status {status}"
    text = stdout.decode(errors="replace")
    if not text.strip():
        words = stderr.decode(errors="replace")
        if not words:
            return ForeignError(0, f"netplugin failed with no error message: {death}")
        return ForeignError(0, f"netplugin failed: {json.dumps(words)}: {death}")
    try:
        document = json.loads(text)
        error = fold_keys(document, ["code", "msg", "details"])
        return ForeignError(
            int(error.get("code", 0)), str(error.get("msg", "")), str(error.get("details", ""))
        )
    except (ValueError, TypeError, AttributeError) as problem:
        return ForeignError(
            0,
            "netplugin failed but error parsing its diagnostic message"
            f" {json.dumps(text)}: {problem}",
        )
