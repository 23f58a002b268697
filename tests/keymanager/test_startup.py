"""Web, worker and beat refuse to start with settings that the checks find wrong: real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.processes import free_port
from tests.services import Stack

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def prepared() -> Iterator[Stack]:
    """An installation with keys and tables, and nothing but its broker running."""
    with Stack(workers=0, web=False, beat=False) as stack:
        yield stack


def _end_of(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=40,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.processes
def test_a_web_process_that_holds_the_private_keys_does_not_start(prepared: Stack) -> None:
    installation = prepared.installation
    environment = installation.environment("web")
    environment["KEYMANAGER_PRIVATE_KEYS_FILE"] = str(installation.sealing_keys / "private.json")
    code, said = _end_of(
        [
            sys.executable,
            "-m",
            "granian",
            "--interface",
            "wsgi",
            "--port",
            str(free_port()),
            "keymanager.wsgi:application",
        ],
        environment,
    )
    assert code != 0
    assert "does not start with these settings" in said


@pytest.mark.processes
def test_a_worker_with_a_key_file_that_everybody_reads_does_not_start(prepared: Stack) -> None:
    installation = prepared.installation
    private = installation.sealing_keys / "private.json"
    copy = prepared.directory / "open.json"
    copy.write_bytes(private.read_bytes())
    os.chmod(copy, 0o644)
    environment = installation.environment("worker") | {"KEYMANAGER_PRIVATE_KEYS_FILE": str(copy)}
    code, said = _end_of([sys.executable, "-m", "celery", "-A", "keymanager", "worker"], environment)
    assert code != 0
    assert "does not start with these settings" in said


@pytest.mark.processes
def test_beat_with_a_wrong_time_ladder_does_not_start(prepared: Stack) -> None:
    environment = prepared.installation.environment("beat") | {"KEYMANAGER_CLAIM_SECONDS": "10"}
    schedule = str(prepared.directory / "schedule")
    code, said = _end_of(
        [sys.executable, "-m", "celery", "-A", "keymanager", "beat", "--schedule", schedule, "--pidfile="],
        environment,
    )
    assert code != 0
    assert "KEYMANAGER_CLAIM_SECONDS" in said
