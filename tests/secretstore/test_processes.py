"""What only separate processes prove: a killed rotation goes on, and the web cannot open a secret."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from secretstore import keyfiles
from tests.services import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
ROWS = 60
KILLS = 4
SECONDS = 60

pytestmark = pytest.mark.processes


class Installation:
    """A database, two key rings, and the environment of its processes."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.keys = home / "keys"
        self._database_url = database_url
        keyfiles.create(self.keys, demo=False, now=datetime(2026, 3, 14, tzinfo=UTC))

    def environment(self, role: str) -> Mapping[str, str]:
        """Web processes are given the public ring and no word of the private one."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KEYMANAGER_")}
        own = {
            "KEYMANAGER_SECRET_KEY": "for this test",
            "KEYMANAGER_ROLE": role,
            "KEYMANAGER_DATABASE_URL": self._database_url,
            "KEYMANAGER_PUBLIC_KEYS_FILE": str(self.keys / keyfiles.PUBLIC),
            "DJANGO_SETTINGS_MODULE": "keymanager.settings",
        }
        if role == "worker":
            own["KEYMANAGER_PRIVATE_KEYS_FILE"] = str(self.keys / keyfiles.PRIVATE)
        return kept | own

    def start(self, *words: str, role: str = "worker") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env=self.environment(role), text=True, stdout=subprocess.PIPE
        )

    def stage(self, *words: str, role: str = "worker") -> dict[str, Any]:
        process = self.start("-m", "tests.secretstore.stage", *words, role=role)
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        return cast(dict[str, Any], json.loads(output))


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.long),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    if request.param == "sqlite":
        return Installation(tmp_path, f"sqlite:///{tmp_path / 'km.sqlite3'}")
    server: PostgresServer = request.getfixturevalue("postgres")
    return Installation(tmp_path, server.url("postgres"))


def kill_while_rotating(installation: Installation, after_lines: int) -> list[str]:
    """Start rotate_secrets and SIGKILL it a moment after so many batches; what it had printed."""
    process = installation.start("manage.py", "rotate_secrets", "--batch-size", "3")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(after_lines)]
    # Somewhere within the next batch: reading, sealing, or inside its transaction.
    time.sleep(random.uniform(0, 0.02))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=SECONDS)
    return lines


def test_a_rotation_killed_again_and_again_loses_nothing(installation: Installation) -> None:
    installation.stage("fill", str(ROWS))
    keyfiles.add_key(installation.keys, now=datetime(2026, 3, 15, tzinfo=UTC))
    waiting = [installation.stage("verify")["left"]]
    for _ in range(KILLS):
        kill_while_rotating(installation, random.randint(1, 5))
        found = installation.stage("verify")
        assert (found["secrets"], found["blobs"]) == (ROWS, ROWS)
        # Moves and their record are one transaction, so the two never disagree.
        assert found["recorded"] == 2 * ROWS - found["left"]
        waiting.append(found["left"])
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[0] == 2 * ROWS
    assert 0 < waiting[-1] < waiting[0]
    finish = installation.start("manage.py", "rotate_secrets")
    output, _ = finish.communicate(timeout=SECONDS)
    assert (finish.returncode, output.splitlines()[-1]) == (
        0,
        "All sealed values are sealed to the active key.",
    )
    keyfiles.remove_old_keys(installation.keys)
    expected = {"secrets": ROWS, "blobs": ROWS, "left": 0, "recorded": 2 * ROWS}
    assert installation.stage("verify") == expected


def test_a_process_with_the_webs_settings_seals_but_cannot_open(tmp_path: Path) -> None:
    installation = Installation(tmp_path, f"sqlite:///{tmp_path / 'km.sqlite3'}")
    installation.stage("fill", "1", role="web")
    assert installation.stage("pry", role="web") == {
        "role": "SealedForWorkers",
        "pretended": "KeysMissing",
        "private keys in memory": 0,
    }
