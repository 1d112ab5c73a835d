"""What the benchmark ran on: a figure means little without it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.cases import Case, lacking, reference_of
from conformance.newer import release_of

REFERENCE_PACKAGE = "containernetworking-plugins"


def describe(cases: Iterable[Case]) -> dict[str, str]:
    """One line of text for each thing that the figures depend on."""
    return {
        "processors": f"{os.cpu_count()}, {processor()}",
        "kernel": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "reference": reference(cases),
        "iptables": first_line("iptables", "--version"),
        "nftables": first_line("nft", "--version"),
    }


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def reference(cases: Iterable[Case]) -> str:
    """The version of the reference, and of the newer one for what that lacks."""
    usual = f"{REFERENCE_PACKAGE} {package_version(REFERENCE_PACKAGE)}"
    newer = {
        plugin: release_in(directory)
        for case in cases
        for plugin in lacking(case)
        if (directory := reference_of(case))
    }
    return "; ".join([usual, *(f"{plugin}: {version}" for plugin, version in newer.items())])


def release_in(directory: Path) -> str:
    """Of a Debian package's plugins wherever it is unpacked: they do not know it themselves."""
    is_of_package = directory.parts[-3:] == ("usr", "lib", "cni")
    return (release_of(directory.parents[2]) if is_of_package else "") or "of unknown version"


def package_version(package: str) -> str:
    if shutil.which("dpkg-query") is None:
        return "of unknown version"
    return first_line("dpkg-query", "--show", "--showformat=${Version}", package)


def first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.partition("\n")[0].strip() or "unknown"
