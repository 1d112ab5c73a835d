"""argv[0] -> plugin -> verb -> one JSON document and an exit status.

The only writer of stdout. Executed as `bridge` it is bridge, as `cni` the command line, and with a
word behind the plugin's name the command that an installed distribution has under both.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import FileIO, TextIOWrapper
from typing import NoReturn

from cnicore import registry, spec
from cnicore.documents import encode
from cnicore.errors import CniError, IoFailure, PluginNotAvailable, Terminated, reason
from cnicore.lean import without_pydantic_plugins
from cnicore.registry import Command, Plugin
from cnicore.variables import require_variables

COMMAND_LINE = ("cni", "cni.py", "__main__.py")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to stdout, and the exit status."""

    text: str = ""
    status: int = 0


class Words(TextIOWrapper):
    """stderr, where a reader that is gone or a full disk is no reason to fail."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def console(*, stdin: bytes | None = None, is_second_attempt: bool = False) -> NoReturn:
    """The multicall binary's entry point.

    `stdin` is what a launcher has read of it already. A second attempt follows a server that died
    in the middle of the first.
    """
    _open_standard_files()
    name = os.path.basename(sys.argv[0])
    if name in COMMAND_LINE:
        from cnicore.cli.app import run  # noqa: PLC0415  (lazy: no plugin loads the command line)

        run()
    if len(sys.argv) > 1 and (command := registry.commands().get(f"{name}-{sys.argv[1]}")):
        sys.exit(_run(command, sys.argv[2:]))
    stdout = _take_stdout()
    without_pydantic_plugins()
    signal.signal(signal.SIGTERM, _terminate)
    environ = os.environ  # noqa: TID251  (here the environment enters)
    read_stdin = _read_stdin if stdin is None else lambda: stdin
    program = os.path.realpath(sys.argv[0])
    if is_second_attempt and environ.get("CNI_COMMAND") == "ADD":
        # nobody else will take back what the first attempt has made
        answer_as(name, {**environ, "CNI_COMMAND": "DEL"}, read_stdin, program)
    status = serve(name, environ, read_stdin, partial(_answer, stdout), program)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the answer is out; these are only words
            stream.flush()
    os._exit(status)  # nothing is left to do, and tearing down the interpreter takes milliseconds


def _run(command: Command, words: Sequence[str]) -> int:
    try:
        return command.run(words, os.environ)  # noqa: TID251  (here the environment enters)
    except PluginNotAvailable as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1


def _open_standard_files() -> None:
    """Put /dev/null in the place of those that the caller closed.

    Otherwise the next files that are opened get their numbers. They are opened the wrong way round,
    so that reading stdin and writing an answer still fail.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            file = os.open(os.devnull, flags)  # gets the lowest number that is free
            os.set_inheritable(file, True)  # noqa: FBT003  (it takes no keyword)
    sys.stderr = Words(FileIO(2, "w", closefd=False), errors="backslashreplace", write_through=True)


def _take_stdout() -> int:
    """Our own handle on stdout; whatever else prints to fd 1 from here on goes to stderr."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stdout or sys.stderr
    return stdout


def _read_stdin() -> bytes:
    with open(0, "rb", closefd=False) as stream:
        return stream.read()


def _answer(stdout: int, text: str) -> None:
    # once the answer is out it counts: a signal must not take back what it promises
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _write(stdout, text)


def _write(stdout: int, text: str) -> None:
    # half a surrogate pair is valid JSON as an escape
    data = text.encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(stdout, data) :]
    except OSError as error:
        raise IoFailure(f"cannot write the answer to stdout: {reason(error)}") from error


def _terminate(number: int, frame: object) -> NoReturn:  # noqa: ARG001  (what a signal handler gets)
    """Take back what was made instead of dying with it; once is enough."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated("terminated by SIGTERM before the work was done; what was made is taken back")


def answer_as(
    name: str, environ: Mapping[str, str], read_stdin: Callable[[], bytes], program: str = ""
) -> Answer:
    """What the plugin of that name answers to the environment and stdin; it never raises."""
    texts: list[str] = []
    status = serve(name, environ, read_stdin, texts.append, program)
    return Answer("".join(texts), status)


def serve(
    name: str,
    environ: Mapping[str, str],
    read_stdin: Callable[[], bytes],
    write: Callable[[str], None],
    program: str = "",
    write_error: Callable[[str], None] | None = None,
) -> int:
    """Answer as the plugin of that name, once, through `write`; returns the exit status.

    What fails is said through `write_error`, if it is given.
    An ADD whose answer cannot be written is taken back: nobody would know of it.
    """
    try:
        plugin = registry.find(name)
        if not environ.get("CNI_COMMAND"):
            _about(plugin)
            return 0
        require_variables(environ)
        if environ["CNI_COMMAND"] == "VERSION":
            write(_version_document(plugin) + "\n")
        else:
            _serve_verb(environ, read_stdin, program, plugin, write)
    except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001  (the one place where errors become output)
        _write_error(error, write_error or write)
        return 1
    return 0


def _write_error(error: BaseException, write: Callable[[str], None]) -> None:
    try:
        write(encode(error_document(error)))
    except CniError as problem:  # stdout is gone: stderr is all that is left
        print(f"{error}; {problem}", file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)


def _about(plugin: Plugin) -> None:
    """Somebody runs the plugin by hand: say what it is, on stderr (the reference does the same)."""
    version = plugin.entry_point.version or "version unknown"
    supported = ", ".join(plugin.supported_versions)
    about = f"CNI {plugin.type} plugin {version}\nCNI protocol versions supported: {supported}\n"
    sys.stderr.write(about)


def _version_document(plugin: Plugin) -> str:
    supported = list(plugin.supported_versions)
    return encode({"cniVersion": spec.CURRENT, "supportedVersions": supported}, indent=None)


def _serve_verb(
    environ: Mapping[str, str],
    read_stdin: Callable[[], bytes],
    program: str,
    plugin: Plugin,
    write: Callable[[str], None],
) -> None:
    from cnicore.dispatch import dispatch  # noqa: PLC0415  (lazy: the seam "config model"; it imports pydantic)
    from cnicore.request import read_request  # noqa: PLC0415  (lazy: as above)
    from cnicore.rollback import rollback  # noqa: PLC0415  (lazy: as above)
    from cnicore.versions import encode_result  # noqa: PLC0415  (lazy: as above)

    request = read_request(environ, read_stdin, program)
    with rollback() as on_failure:
        result = dispatch(request, plugin)
        if result is not None:
            # versions before 0.3.0 cannot say every result; then the attachment must not stay
            on_failure(dispatch, request.with_verb("DEL"), plugin)
            write(encode(encode_result(result, request.cni_version)))


def error_document(error: BaseException) -> dict[str, object]:
    """The error as the specification's document (section 5, "Error").

    Several errors give the first one's code and message, and all messages as details.
    """
    if isinstance(error, BaseExceptionGroup):
        errors = list(_each(error))
        return {**error_document(errors[0]), "details": "; ".join(map(str, errors))}
    if terminated := _termination(error):
        return {"code": CniError.code, "msg": str(terminated)}
    if isinstance(error, PermissionError) and os.geteuid():
        needs = "run the plugin as root: it needs CAP_SYS_ADMIN and CAP_NET_ADMIN"
        return {"code": CniError.code, "msg": f"{reason(error)}: {needs}"}
    if not isinstance(error, CniError):
        _print_traceback(error)
        return {"code": CniError.code, "msg": f"{type(error).__name__}: {error}"}
    document: dict[str, object] = {"code": error.code, "msg": error.msg}
    return {**document, "details": error.details} if error.details else document


def _termination(error: BaseException | None) -> Terminated | None:
    """The signal behind the error: Python 3.11 makes a RuntimeError of what ends `__set_name__`."""
    while error is not None and not isinstance(error, Terminated):
        error = error.__cause__
    return error


def _each(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _each(one)
    else:
        yield error


def _print_traceback(error: BaseException) -> None:
    import traceback  # noqa: PLC0415  (lazy: only for what nobody foresaw)

    traceback.print_exception(error, file=sys.stderr)
