"""A test run that is killed leaves no sandbox behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import wait_until
from sandbox.estate import SandboxError, lock
from tests.sandbox_server import ROOT


def in_use(data: Path) -> bool:
    """Whether a sandbox holds the data directory."""
    try:
        lock(data).close()
    except SandboxError:
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="not proven: the kernel ties processes on Linux only")
def test_no_sandbox_outlives_a_test_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from tests.sandbox_server import SandboxServer\n"
        f"SandboxServer(data=Path({str(tmp_path)!r})).start(); print('started', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == "started\n"
    assert in_use(tmp_path)
    parent.kill()
    parent.wait(timeout=10)
    wait_until(lambda: not in_use(tmp_path), what="the sandbox is gone", seconds=10)
