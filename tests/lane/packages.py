"""Debian's packages, downloaded and unpacked into a cache of the checkout: nothing is installed.

Run as a program it fetches the newer reference plugins.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lane.obstacles import NO_DEBIAN, is_no_debian

CACHE = Path(__file__).parents[2] / ".kernels"
NEWER_REFERENCE = ("containernetworking-plugins", "sid")
"""Debian's stable releases have no dummy and no tap."""
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PATIENCE = 300
"""Seconds for one call of apt-get."""


class Unavailable(Exception):
    """The lane, or a part of it, cannot run here; the text says why."""


@dataclass
class Packages:
    """What is unpacked in a cache, and the way to more of it.

    The package lists are the cache's own. Those of the machine may be missing or old, and they are
    of one release only.
    """

    cache: Path
    fresh: set[str] = field(default_factory=set)
    """The suites whose lists have been read."""

    def unpacked(self, package: str, suite: str) -> Path:
        """The directory with the package's files. Raises Unavailable."""
        place = self.cache / suite / package
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache) as work:
                shutil.move(self._download(package, suite, Path(work)), place)
        return place

    def unpacked_for(self, package: str, suite: str, prefix: str) -> Path:
        """The files of the package that this one depends on. Raises Unavailable."""
        for place in (self.cache / suite).glob(f"{prefix}*"):
            return place
        depends = self._apt("apt-cache", suite, "depends", package)
        found = re.search(rf"Depends: ({prefix}\S+)$", depends, re.MULTILINE)
        if not found:
            raise Unavailable(f"{package} of {suite} depends on no {prefix}*")
        return self.unpacked(found[1], suite)

    def _download(self, package: str, suite: str, work: Path) -> Path:
        self._apt("apt-get", suite, "download", package, folder=work)
        (archive,) = work.glob("*.deb")
        run(["dpkg-deb", "--extract", archive, work / "files"])
        return work / "files"

    def _apt(self, program: str, suite: str, *arguments: str, folder: Path | None = None) -> str:
        """Run one of apt's programs with the lists of the suite, as they are today."""
        home = self.cache / suite / "apt"
        environ = {**os.environ, "APT_CONFIG": str(home / "apt.conf"), "LC_ALL": "C"}
        if suite not in self.fresh:
            furnish(home, suite)
            run(["apt-get", "-qq", "--error-on=any", "update"], environ=environ)
            self.fresh.add(suite)
        return run([program, "-qq", *arguments], folder=folder, environ=environ)


def furnish(home: Path, suite: str) -> None:
    """Make a directory for an apt that knows this suite only."""
    for part in ("lists/partial", "cache/archives/partial"):
        (home / part).mkdir(parents=True, exist_ok=True)
    (home / "sources.list").write_text(source(mirror(), suite))
    (home / "apt.conf").write_text(settings(home))


def mirror() -> str:
    """Where this machine gets Debian's main archive from. Raises Unavailable."""
    return main_archive(run(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).splitlines())


def main_archive(uris: Iterable[str]) -> str:
    """The first that is called debian: the security archive and others have other names."""
    for uri in uris:
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise Unavailable("apt has no source of Debian's main archive")


def source(uri: str, suite: str) -> str:
    signed = f"[signed-by={KEYS}] " if KEYS.exists() else ""
    return f"deb {signed}{uri} {suite} main\n"


def settings(home: Path) -> str:
    """What makes apt keep to a directory; a proxy that the machine has set stays in force."""
    return (
        f'Dir::Etc::sourcelist "{home}/sources.list";\n'
        'Dir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::lists "{home}/lists";\n'
        f'Dir::Cache "{home}/cache";\n'
        'APT::Sandbox::User "root";\n'
        'Acquire::Languages "none";\n'
        'Acquire::Retries "3";\n'
    )


def run(
    command: list[str | Path], *, folder: Path | None = None, environ: dict[str, str] | None = None
) -> str:
    """The stdout of a program. Raises Unavailable with the end of its stderr."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end within {PATIENCE} s") from None
    if done.returncode:
        words = " ".join(map(str, command))
        raise Unavailable(f"{words}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout


def main() -> int:
    """Fetch the newer reference; 1 if it cannot be had."""
    why = NO_DEBIAN if is_no_debian() else ""
    try:
        if not why:
            Packages(CACHE).unpacked(*NEWER_REFERENCE)
    except Unavailable as error:
        why = str(error)
    if why:
        print(why, file=sys.stderr)  # noqa: T201  (it speaks to a person)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
