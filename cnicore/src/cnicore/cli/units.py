"""The systemd units of `cni serve`: write them for an installation, and take them back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cnicore.cli.installation import replace, require_free, sync
from cnicore.errors import CniError, system_errors

DIRECTORY = Path("/etc/systemd/system")
MARKER = '# written by "cni install --systemd"; "cni uninstall --systemd" removes it'
NAMES = ("cni.socket", "cni.service")
BOTH = " ".join(NAMES)
ENABLE = f"systemctl daemon-reload && systemctl enable --now {BOTH}"
FORGET = f"systemctl stop {BOTH}; systemctl disable {BOTH}; systemctl daemon-reload"
LITERAL = re.compile(r"/[A-Za-z0-9/._+:@,=-]*")
"""Paths that systemd takes as they are; it gives other characters a meaning."""

SOCKET = """\
{marker}
[Unit]
Description=Socket of the server that answers for the CNI plugins

[Socket]
ListenStream={socket}
SocketMode=0600
DirectoryMode=0700
RemoveOnStop=true

[Install]
WantedBy=sockets.target
"""

SERVICE = """\
{marker}
[Unit]
Description=Server that answers for the CNI plugins
Requires=cni.socket
After=cni.socket
# Calls wait while the server starts. If it cannot, systemd closes the socket, and they do without.
StartLimitIntervalSec=180
StartLimitBurst=5

[Service]
Type=notify
ExecStart={program} serve
Restart=on-failure
TimeoutStartSec=30
# What is being done is finished first; a call may take as long as --seconds says.
TimeoutStopSec=310
# Workers finish and end by themselves, even if the process that supervises them was killed.
KillMode=process
# The loss of one worker for want of memory is no reason to stop the others.
OOMScoreAdjust=-900
OOMPolicy=continue
# Nothing that makes a mount namespace (Protect..., Private..., ...Paths): every call would have to
# enter its caller's. Nothing that plugins of others might miss, which the server executes.
CapabilityBoundingSet=~{capabilities}
LockPersonality=true
RestrictRealtime=true
RestrictSUIDSGID=true

[Install]
WantedBy=multi-user.target
Also=cni.socket
"""
NEVER_NEEDED = (
    *("CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_LEASE", "CAP_MAC_ADMIN"),
    *("CAP_MAC_OVERRIDE", "CAP_SYS_BOOT", "CAP_SYS_PACCT", "CAP_SYS_RAWIO", "CAP_SYS_TIME"),
    *("CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM"),
)


def unit_texts(program: Path, socket: str) -> dict[str, str]:
    """The text of each unit, by name. Raises CniError for a path that has to be quoted."""
    for path, what in ((str(program), "DIR"), (socket, "--socket")):
        if not LITERAL.fullmatch(path) or ".." in Path(path).parts:
            raise CniError(
                f'{what}: systemd cannot take "{path}": use an absolute path'
                " of letters, digits and /._+:@,=-"
            )
    capabilities = " ".join(NEVER_NEEDED)
    return {
        "cni.socket": SOCKET.format(marker=MARKER, socket=socket),
        "cni.service": SERVICE.format(marker=MARKER, program=program, capabilities=capabilities),
    }


@dataclass(frozen=True, slots=True)
class Units:
    """What is ours in a directory of units."""

    directory: Path

    def require_free(self, *, force: bool = False) -> None:
        """Raise CniError if files of others are in the way."""
        require_free([self.directory / name for name in NAMES], is_unit, force=force)

    def install(self, texts: dict[str, str]) -> None:
        """Write the units. Raises CniError."""
        with system_errors(f"install units into {self.directory}"):
            self.directory.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                replace(self.directory / name, text, 0o644)
            sync(self.directory)

    def uninstall(self) -> list[str]:
        """Remove those that are ours; returns their names. Raises CniError."""
        own = [name for name in NAMES if is_unit(self.directory / name)]
        with system_errors(f"remove units from {self.directory}"):
            for name in own:
                (self.directory / name).unlink(missing_ok=True)
        return own


def is_unit(file: Path) -> bool:
    """Whether the file is a unit of ours."""
    if file.is_symlink():
        return False
    try:
        with file.open("rb") as stream:
            return stream.read(len(MARKER) + 1) == f"{MARKER}\n".encode()
    except OSError:
        return False
