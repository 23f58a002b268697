"""The frame of the suite: which database, sealing keys and licence issuer the tests run with.

The environment is complete before Django reads its settings. The database is a real PostgreSQL that
the tests start themselves; KEYMANAGER_TEST_DATABASE=sqlite|postgres chooses, and without either
PostgreSQL programs the suite falls back to SQLite and says so.
"""

import atexit
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from demo.processes import short_directory
from tests.services import (
    NOT_PROVEN,
    Broker,
    PostgresServer,
    not_proven,
    postgres_available,
    postgres_server,
)

CHOSEN = os.environ.get("KEYMANAGER_TEST_DATABASE", "")
DATABASE = CHOSEN or ("postgres" if postgres_available() else "sqlite")
# In the second run of `make test` only tests that touch the database run, on the other database.
ONLY_DATABASE_TESTS = os.environ.get("KEYMANAGER_TEST_ONLY_DATABASE") == "1"
DIRECTORY = short_directory("km-test-")
POSTGRES = PostgresServer(DIRECTORY / "postgres")
KEYS = DIRECTORY / "sealing-keys"

for name in [name for name in os.environ if name.startswith("KEYMANAGER_") and "_TEST_" not in name]:
    del os.environ[name]
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "keymanager.settings",
    "KEYMANAGER_ROLE": "worker",
    "KEYMANAGER_DEBUG": "0",
    "KEYMANAGER_SECRET_KEY": "a key for tests only, good for nothing else",
    "KEYMANAGER_DATA_DIR": str(DIRECTORY / "data"),
    "KEYMANAGER_DATABASE_URL": (
        POSTGRES.url("keymanager") if DATABASE == "postgres" else f"sqlite:///{DIRECTORY / 'tests.sqlite3'}"
    ),
    "KEYMANAGER_BROKER_URL": f"redis+socket://{DIRECTORY / 'nobody-listens.sock'}",
    "KEYMANAGER_PUBLIC_KEYS_FILE": str(KEYS / "public.json"),
    "KEYMANAGER_PRIVATE_KEYS_FILE": str(KEYS / "private.json"),
    "KEYMANAGER_LICENCE_ISSUER_KEYS_FILE": str(DIRECTORY / "licence" / "issuer-public.pem"),
    "KEYMANAGER_ALLOW_MEMORY_SOURCES": "1",
}


def _remove_directory() -> None:
    shutil.rmtree(DIRECTORY, ignore_errors=True)


atexit.register(_remove_directory)

(DIRECTORY / "data" / "static").mkdir(parents=True)

import django  # noqa: E402

django.setup()

from django.conf import settings  # noqa: E402

# Half a second less for every sign-in; whole stacks of processes hash as production does.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A file, as in use: Django's own choice for tests, a database in memory, locks its tables at once and
# never waits when two threads meet.
if DATABASE == "sqlite":
    from django.db import connection

    connection.settings_dict["TEST"]["NAME"] = str(DIRECTORY / "tests.sqlite3")

from tests.audit.flushing import audit_lets_tests_flush  # noqa: E402, F401


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Workers read their settings after their own environment is made above, not with this process's."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


# --- What runs, and what was not proven ---------------------------------------------------------


def pytest_report_header() -> list[str]:
    lines = [f"database: {DATABASE}"]
    if not CHOSEN and DATABASE == "sqlite":
        lines.append(
            "NOTICE: no PostgreSQL here; running on SQLite. PostgreSQL's behaviour is NOT PROVEN by this run."
        )
    return lines


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not ONLY_DATABASE_TESTS:
        return
    kept = [item for item in items if _uses_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _uses_database(item: pytest.Item) -> bool:
    """In-process database tests; whole stacks of processes choose their database themselves."""
    fixtures = set(getattr(item, "fixturenames", ()))
    in_process = item.get_closest_marker("django_db") or fixtures & {"db", "transactional_db"}
    apart = (
        item.get_closest_marker("browser")
        or item.get_closest_marker("processes")
        or "live_server" in fixtures
    )
    return bool(in_process) and not apart


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("postgres") and DATABASE != "postgres" and not CHOSEN:
        not_proven(f"{item.name} (needs the package postgresql)")
    if item.get_closest_marker("postgres") and DATABASE != "postgres":
        pytest.skip("this run is on SQLite")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Generator[None, None, None]:
    """List at the end which proofs were skipped because this machine lacks a tool."""
    yield
    reasons = [_skip_reason(report) for report in terminalreporter.stats.get("skipped", [])]
    missing = sorted({reason for reason in reasons if reason.startswith(NOT_PROVEN)})
    if not CHOSEN and DATABASE == "sqlite":
        missing.append(f"{NOT_PROVEN}everything on PostgreSQL (needs the package postgresql)")
    if missing:
        terminalreporter.section("Not proven on this machine")
        for reason in missing:
            terminalreporter.line(reason)


def _skip_reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(text).removeprefix("Skipped: ")


# --- Services -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def database_server() -> Iterator[None]:
    """PostgreSQL for this process, started by the first test that needs a database."""
    if DATABASE != "postgres":
        yield
        return
    DIRECTORY.chmod(0o711)
    POSTGRES.directory.mkdir()
    try:
        POSTGRES.start()
        yield
    finally:
        POSTGRES.stop()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    database_server: None, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """Django makes its test database once the server is there."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own, for tests that start whole stacks of processes."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def broker() -> Iterator[Broker]:
    """An empty broker on a private socket."""
    server = Broker()
    try:
        yield server.start()
    finally:
        server.stop()


# --- Time, keys, licence --------------------------------------------------------------------------


class Clock:
    """A clock that stands still until told otherwise."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> datetime:
        """Move forward by ``timedelta(**parts)``; the new time."""
        self.now += timedelta(**parts)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC))


@pytest.fixture(scope="session", autouse=True)
def sealing_keys() -> Path:
    """The folder of this run's sealing keys, to which the settings point: public.json, private.json."""
    from django.core.management import call_command

    call_command("make_sealing_keys", "--out", str(KEYS), stdout=StringIO())
    return KEYS


@pytest.fixture
def licence(db: None) -> None:
    """An installed licence, valid for a year from today, for every kind of crypto source there is."""
    from django.core.management import call_command

    folder = DIRECTORY / "licence"
    call_command("make_licence", "--out", str(folder), stdout=StringIO())
    call_command("install_licence", str(folder / "licence.jws"), stdout=StringIO())


@pytest.fixture(autouse=True)
def forgotten_challenges() -> None:
    """Azure's client remembers for the whole process which tenant an address asked for.

    Servers of different tests get the same port now and then, with another tenant behind it.
    """
    cache = sys.modules.get("azure.keyvault.keys._shared.http_challenge_cache")
    if cache is not None:
        cache.clear()
