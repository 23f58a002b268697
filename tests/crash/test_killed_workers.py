"""Workers killed in the middle of operations: nothing lost, nothing doubled, everything ends by itself.

Real processes: PostgreSQL, broker, sandbox over TLS, Celery workers and beat, on the short time ladder.
"""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.services import SHORT_LADDER, PostgresServer, Stack

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = ("generate", "backup", "delete", "purge", "restore")
# On a slow machine one step can be killed more often than an operation's usual attempts.
STORM = {**SHORT_LADDER, "KEYMANAGER_MAX_ATTEMPTS": "100"}


@pytest.mark.processes
@pytest.mark.postgres
@pytest.mark.timeout(420)
def test_twenty_kills(postgres: PostgresServer) -> None:
    storm(postgres, database="kills_20", kills=20, seed=20261123, kinds=3)


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.postgres
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_kills(postgres: PostgresServer, seed: int) -> None:
    storm(postgres, database=f"kills_100_{seed}", kills=100, seed=seed, kinds=len(KINDS))


def storm(postgres: PostgresServer, *, database: str, kills: int, seed: int, kinds: int) -> None:
    """Kill the whole worker ``kills`` times at random moments, the broker emptied every fifth time.

    Which operations a kill meets is chance: at least so many ``kinds`` of them must have been met.
    """
    rng = random.Random(seed)
    url = postgres.create_database(database)
    hit: Counter[str] = Counter()
    with (
        Stack(database_url=url, workers=1, processes=3, web=False, ladder=STORM) as stack,
        driver(stack, seed) as people,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        wait_for_work(connection, people)
        for number in range(kills):
            time.sleep(rng.uniform(0.2, 1.5))
            stack.kill("worker-1")
            hit.update(held(connection))
            if number % 5 == 4:
                flush(stack)
            stack.start("worker-1")
            assert people.poll() is None, people.stderr.read() if people.stderr else ""
        report = finish(stack, people)
    sys.stdout.write(f"{kills} kills interrupted {dict(hit)}; {json.dumps(report)}\n")
    assert_nothing_lost_or_doubled(report)
    assert hit.total() >= kills, f"too few operations were interrupted: {hit}"
    assert len(hit) >= kinds, f"too few kinds of operations were interrupted: {hit}"


def assert_nothing_lost_or_doubled(report: dict[str, Any]) -> None:
    assert report["unsettled"] == 0
    assert report["failed"] == []
    assert report["faults"] == []
    assert report["residencies"] == {"resident": report["keys"]}
    assert report["verified"] == report["keys"], "every key signs and verifies at the end"
    assert report["only_in_hsm"] == report["only_on_record"] == report["soft_deleted_in_hsm"] == []
    assert report["keys_with_several_versions"] == []
    assert report["audited_once"]
    assert report["unverified_backups"] == 0
    made = report["operations"]
    assert report["backups"] == made["generate"] + made.get("backup", 0)


@contextmanager
def driver(stack: Stack, seed: int) -> Iterator["subprocess.Popen[str]"]:
    credentials = stack.directory / "credentials.json"
    credentials.write_text(json.dumps(stack.installation.sandbox_credentials()))
    command = [sys.executable, "-m", "tests.crash.driver", "--seed", str(seed)]
    command += ["--stop", str(stack.directory / "stop"), "--credentials", str(credentials)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=stack.installation.environment("web"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)


def wait_for_work(connection: "psycopg.Connection[Any]", people: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while _count(connection, "state = 'succeeded'") < 3:
        assert people.poll() is None, people.stderr.read() if people.stderr else ""
        assert time.monotonic() < deadline, "no operation was carried out"
        time.sleep(0.1)


def held(connection: "psycopg.Connection[Any]") -> list[str]:
    """The kinds of the operations whose claims died with the worker."""
    rows = connection.execute("SELECT kind FROM keys_keyoperation WHERE claim_token IS NOT NULL")
    return [str(row[0]) for row in rows]


def flush(stack: Stack) -> None:
    """Forget every message, as a broker without persistence does when it restarts."""
    import redis

    client = redis.Redis(unix_socket_path=str(stack.installation.broker_socket))
    client.flushall()
    client.close()


def finish(stack: Stack, people: "subprocess.Popen[str]") -> dict[str, Any]:
    (stack.directory / "stop").touch()
    output, errors = people.communicate(timeout=300)
    assert people.returncode == 0, errors
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


def _count(connection: "psycopg.Connection[Any]", condition: str) -> int:
    query = f"SELECT count(*) FROM keys_keyoperation WHERE {condition}"
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0
