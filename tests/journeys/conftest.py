"""One installation of real processes on PostgreSQL, and a person at a browser before it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import Window, chromium, window
from tests.journeys.person import Person
from tests.services import PostgresServer, Stack, postgres_available, postgres_server

# Short enough for an HSM that is down to be found out, long enough for a loaded machine.
PATIENCE = {"KEYMANAGER_PROVIDER_DEADLINE": "5", "KEYMANAGER_RESEND_SECONDS": "1"}


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer | None]:
    """PostgreSQL where it is installed; the stack falls back to SQLite."""
    if not postgres_available():
        yield None
        return
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def stack(database: PostgresServer | None) -> Iterator[Stack]:
    url = database.create_database("journeys") if database else ""
    with Stack(database_url=url, settings=PATIENCE) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def console(stack: Stack, browser: Browser) -> Iterator[Window]:
    """A window of nobody yet; at the end it must have seen no script error, CSP violation or foreign host."""
    with window(browser, stack.url) as opened:
        yield opened


@pytest.fixture
def administrator(stack: Stack, console: Window) -> Person:
    console.sign_in("administrator", stack.accounts["administrator"].password)
    return Person(console, stack)


@pytest.fixture
def operator(stack: Stack, console: Window) -> Person:
    console.sign_in("operator", stack.accounts["operator"].password)
    return Person(console, stack)
