"""What the benchmark ran on: a figure means little without it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

REFERENCE_PACKAGE = "containernetworking-plugins"


def describe() -> dict[str, str]:
    """One line of text for each thing that the figures depend on."""
    return {
        "processors": f"{os.cpu_count()}, {processor()}",
        "kernel": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "reference": f"{REFERENCE_PACKAGE} {package_version(REFERENCE_PACKAGE)}",
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


def package_version(package: str) -> str:
    if shutil.which("dpkg-query") is None:
        return "of unknown version"
    return first_line("dpkg-query", "--show", "--showformat=${Version}", package)


def first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.partition("\n")[0].strip() or "unknown"
