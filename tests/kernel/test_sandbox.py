"""The sandbox of the test kit keeps what a test does from the machine."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.kernel

USE_IT = textwrap.dedent("""
    from pathlib import Path
    from cnicore.testing.sandbox import sandboxed
    with sandboxed() as sandbox:
        for directory in ("/run", "/var/lib/cni"):
            assert [path.name for path in Path(directory).iterdir()] in ([], ["netns"]), directory
            Path(directory, "made").touch()
""")


@pytest.mark.parametrize("there", ["", "mkdir /var/lib/cni; touch /var/lib/cni/mine;"])
def test_files_of_a_test_stay_in_it_whether_the_directory_was_there_or_not(sandbox, there):
    """Played in a machine of its own, whose /var/lib is empty."""
    machine = "mount -t tmpfs tmpfs /var/lib;"
    program = f"{sys.executable} -c '{USE_IT}'"

    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", f"{machine} {there} {program}; ls /var/lib/cni"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == (["mine"] if there else [])
