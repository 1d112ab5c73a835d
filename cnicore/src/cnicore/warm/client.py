"""The launcher: ask the server, and be the plugin oneself if none answers.

It imports nothing but C modules that are part of every Python: each other import costs a plugin
that is answered by the server more than the server itself.

What goes over the socket, numbers in the machine's byte order. The launcher sends MAGIC, the length
of what follows (4 bytes), then the sections of `Request` in `cnicore.warm.wire`, each with its
length (4 bytes) before it; with the first byte go the descriptors of stderr, of the network and the
mount namespace, of the root directory and of the working directory. The server sends frames of a
kind (1 byte), a number (4 bytes) and as many bytes as the number behind it (4 bytes) says:

* REFUSED: it does not serve this launcher, which has to do the work itself.
* ANSWER with the exit status and the text for stdout. The launcher writes it, and sends what came
  of that: WRITTEN or FAILED with the errno (4 bytes). Only then does the answer count.
* DONE with the exit status: the last frame.

The launcher sends TERMINATED, without more, when it is asked to end.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # it has no stubs
import _socket
import posix
import sys

MAGIC = b"CNI\x01"
LARGEST = 4 << 20  # bytes of a request; a larger one is run cold
NUMBER = 4  # bytes
REFUSED, ANSWER, DONE = b"N", b"A", b"D"
WRITTEN, FAILED, TERMINATED = b"w", b"f", b"t"
QUIT = b"quit"
SERVED = b"CNI_SERVED"
"""Set where a server is at work: what it runs and waits for must not wait for it."""
FRAME_HEAD = 1 + 2 * NUMBER
NOT_OURS = (b"cni", b"cni.py", b"__main__.py")
RIGHTS = _socket.SCM_RIGHTS
STDERR = 2
NAMESPACES = ("/proc/self/ns/net", "/proc/self/ns/mnt")
SIGTERM, SIGINT = 15, 2  # signal(7), on every machine that Linux runs on


def number(value: int) -> bytes:
    return value.to_bytes(NUMBER, sys.byteorder)


def sections(*parts: bytes) -> bytes:
    """A request with these parts, ready to be sent."""
    body = b"".join(number(len(part)) + part for part in parts)
    return MAGIC + number(len(body)) + body


def identity() -> bytes:
    """What launcher and server must have in common: the interpreter, and where it imports from."""
    return "\0".join((sys.version, *sys.path)).encode(errors="surrogateescape")


def main(socket: bytes) -> None:
    """Do what the plugin of this name does, if it can be with the help of the server, and exit.

    `socket` is the path where the server would listen.
    """
    name = sys.argv[0].rpartition("/")[2].encode(errors="surrogateescape")
    verb = posix.environ.get(b"CNI_COMMAND")
    stdin, died = None, False
    is_served = SERVED in posix.environ
    if verb and not is_served and len(sys.argv) == 1 and name not in NOT_OURS:
        try:
            posix.stat(socket)  # without a server nothing else happens than would without all this
            stdin = b"" if verb == b"VERSION" else read_all(0)
            status, died = ask(socket, stdin)
        except OSError:
            status = None
        if status is not None:
            posix._exit(status)  # noqa: SLF001  (that is its name)
    from cnicore.main import console

    console(stdin=stdin, is_second_attempt=died)


def read_all(descriptor: int) -> bytes:
    parts = []
    while part := posix.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def ask(path: bytes, stdin: bytes) -> tuple[int | None, bool]:
    """The exit status, None if the server did not serve; and whether it went away at work."""
    argv0 = sys.argv[0].encode(errors="surrogateescape")
    environ = b"\0".join(b"=".join(pair) for pair in posix.environ.items())
    message = sections(identity(), argv0, environ, stdin)
    if len(message) > LARGEST:
        return None, False
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        if connection.fileno() <= STDERR:  # the caller has closed one of the standard files
            return None, False
        connection.connect(path)
        send(connection, message)
        return await_answer(connection)
    except OSError:
        return None, False
    finally:
        connection.close()


def send(connection: _socket.socket, message: bytes) -> None:
    """Send a request together with the descriptors that belong to it. Raises OSError."""
    flags = posix.O_RDONLY | posix.O_CLOEXEC
    files = [STDERR]
    try:
        files += [posix.open(path, flags) for path in NAMESPACES]
        for directory in ("/", "."):
            files.append(posix.open(directory, flags | posix.O_PATH | posix.O_DIRECTORY))
        rights = b"".join(map(number, files))
        sent = connection.sendmsg([message], [(_socket.SOL_SOCKET, RIGHTS, rights)])
    finally:
        for file in files[1:]:
            posix.close(file)
    if sent < len(message):  # sending nothing fails where the server is done and gone
        connection.sendall(message[sent:])


def await_answer(connection: _socket.socket) -> tuple[int | None, bool]:
    """As `ask`. Meanwhile SIGTERM and SIGINT are the server's to heed."""
    was_told = False

    def terminate(*_: object) -> None:
        nonlocal was_told
        was_told = True
        try:
            connection.send(TERMINATED)
        except OSError:
            pass  # the server is gone, which reading will show

    before = [_signal.signal(number, terminate) for number in (SIGTERM, SIGINT)]
    try:
        return take_answer(connection)
    except ConnectionResetError:
        # a server reads all of a request before it begins, so what it had not read was the request,
        # unless it was the word to end
        return None, was_told
    finally:
        for number, handler in zip((SIGTERM, SIGINT), before, strict=True):
            _signal.signal(number, handler)


def take_answer(connection: _socket.socket) -> tuple[int | None, bool]:
    """As `ask`. Raises ConnectionResetError if the server went away without reading all."""
    written = None
    try:
        while True:
            kind, status, text = receive_frame(connection)
            if kind == REFUSED:
                return None, False
            if kind == DONE:
                return status, False
            said = write_out(text)
            if said == WRITTEN:
                written = status
            connection.sendall(said)
    except (OSError, EOFError) as error:
        if written is None and isinstance(error, ConnectionResetError):
            raise
        return written, written is None


def receive_frame(connection: _socket.socket) -> tuple[bytes, int, bytes]:
    """Kind, number and text of the next frame. Raises OSError and EOFError if there is none."""
    head = receive(connection, FRAME_HEAD)
    status, length = (
        int.from_bytes(head[start : start + NUMBER], sys.byteorder) for start in (1, 1 + NUMBER)
    )
    return head[:1], status, receive(connection, length)


def receive(connection: _socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def write_out(text: bytes) -> bytes:
    """Write to stdout; gives what to tell the server of it."""
    try:
        while text:
            text = text[posix.write(1, text) :]
    except OSError as error:
        return FAILED + number(error.errno or 0)
    return WRITTEN
