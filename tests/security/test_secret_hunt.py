"""No secret of a full run is found anywhere but where it is sealed; and web processes cannot open it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from tests.security import places
from tests.security.full_run import Traces, sealing_seeds, traces_of_a_run
from tests.security.places import Database, Places, Postgres, Sqlite
from tests.services import Stack, not_proven

pytestmark = pytest.mark.processes

LADDER = {
    "KEYMANAGER_PROVIDER_DEADLINE": "5",
    "KEYMANAGER_SOFT_LIMIT": "8",
    "KEYMANAGER_HARD_LIMIT": "10",
    "KEYMANAGER_CLAIM_SECONDS": "12",
    "KEYMANAGER_VISIBILITY_TIMEOUT": "20",
    "KEYMANAGER_RESEND_SECONDS": "1",
    "KEYMANAGER_MAX_ATTEMPTS": "2",
}


@pytest.fixture(scope="module", params=[pytest.param("sqlite", marks=pytest.mark.long), "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    return Sqlite() if request.param == "sqlite" else Postgres(request.getfixturevalue("postgres"))


@pytest.fixture(scope="module")
def stack(database: Database) -> Iterator[Stack]:
    with Stack(database_url=database.url, processes=1, ladder=LADDER) as running, _watched(database, running):
        yield running


def _watched(database: Database, stack: Stack) -> AbstractContextManager[None]:
    if isinstance(database, Sqlite):
        return database.watched(stack.directory / "data" / "keymanager.sqlite3")
    return nullcontext()


@pytest.fixture(scope="module")
def traces(stack: Stack, database: Database) -> Traces:
    return traces_of_a_run(stack, database)


def finds(traces: Traces, searched: Places) -> dict[str, set[str]]:
    """Where something was found, and what."""
    found = {place: traces.hunt.search(data) for place, data in searched.items()}
    return {place: names for place, names in found.items() if names}


def test_the_hunt_knows_every_kind_of_secret(traces: Traces) -> None:
    kinds = [
        "client secret",
        "wrong secret",
        "expired",
        "password of",
        "seed",
        "access token",
        "Django",
        "blob 1",
    ]
    assert [kind for kind in kinds if not any(kind in name for name in traces.names)] == []


def test_pages(traces: Traces) -> None:
    """HTML, JSON, downloads and headers, of refusals and failures too."""
    assert {title.rpartition(" ")[2] for title in traces.pages} >= {"200", "302", "403", "500"}
    assert any("status.json" in title for title in traces.pages)
    assert finds(traces, traces.pages) == {}


def test_messages_to_workers(traces: Traces) -> None:
    """Everything that was said to the broker during the run."""
    assert traces.messages.count(b"keys.tasks.run_operation") >= 14
    assert traces.hunt.search(traces.messages) == set()


def test_what_the_broker_holds(traces: Traces) -> None:
    assert finds(traces, traces.broker) == {}


def test_database_rows(traces: Traces) -> None:
    """Audit records and sessions are tables too."""
    assert {"table audit_auditrecord", "table django_session"} <= traces.rows.keys()
    assert b"source.created" in traces.rows["table audit_auditrecord"]
    assert finds(traces, traces.rows) == {}


def test_files(traces: Traces, database: Database) -> None:
    """The database with its write-ahead log, every process's log, the broker's dump, beat's schedule."""
    expected = {"logs/web.log", "logs/worker-1.log", "logs/beat.log", "logs/broker.log"}
    if isinstance(database, Sqlite):
        expected |= {"data/keymanager.sqlite3", "data/keymanager.sqlite3-wal"}
    assert expected <= traces.files.keys()
    beginnings = ["broker/appendonlydir/", "data/beat-schedule"]
    beginnings += ["postgres/base/", "postgres/pg_wal/"] if isinstance(database, Postgres) else []
    for place in beginnings:
        assert any(name.startswith(place) for name in traces.files), sorted(traces.files)
    assert finds(traces, traces.files) == {}


def test_command_lines_and_environments(traces: Traces) -> None:
    """Django's own key is in the environment by design; nothing else is."""
    assert {name.partition(" ")[0] for name in traces.processes} == {"broker", "web", "worker-1", "beat"}
    found = finds(traces, traces.processes)
    allowed = {place: {"Django's secret key"} for place in found if place.endswith(" environ")}
    assert {place: names for place, names in found.items() if names != allowed.get(place)} == {}


def test_web_processes_hold_no_private_key(stack: Stack, traces: Traces) -> None:
    """Neither where it lies, nor as an open file, nor in memory, where a worker does hold it."""
    assert not any(b"PRIVATE" in text for name, text in traces.processes.items() if _is_web(name))
    assert not any("private" in path for pid in places.pids(stack, "web") for path in _open_files(pid))
    seeds = [seed[:32] for seed in sealing_seeds(stack).values()]
    try:
        assert _holders(stack, "worker-1", seeds[:1])
        assert _holders(stack, "web", seeds) == []
    except PermissionError:
        not_proven("that web processes hold no private key in memory (needs the right to look)")


def _is_web(name: str) -> bool:
    return name.startswith("web ") and name.endswith("environ")


def _open_files(pid: int) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]


def _holders(stack: Stack, name: str, seeds: list[bytes]) -> list[int]:
    """The processes that have one of the seeds in memory."""
    return [
        pid
        for pid in places.pids(stack, name)
        if any(seed in part for part in places.memory(pid) for seed in seeds)
    ]
