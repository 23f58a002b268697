"""Let Django empty the database after a transactional test, which the audit triggers refuse.

The triggers are switched off around that one flush, in the test database, by the test process: neither
the migration nor the application knows a way around them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import TransactionTestCase

TABLE = "audit_auditrecord"


@contextmanager
def without_triggers() -> Iterator[None]:
    """Inside, the audit table can be emptied; afterwards its triggers are as they were."""
    if connection.vendor == "postgresql":
        with _without_triggers_on_postgresql():
            yield
    else:
        with _without_triggers_on_sqlite():
            yield


@contextmanager
def _without_triggers_on_postgresql() -> Iterator[None]:
    _execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
    try:
        yield
    finally:
        _execute(f"ALTER TABLE {TABLE} ENABLE TRIGGER USER")


@contextmanager
def _without_triggers_on_sqlite() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s", [TABLE]
        )
        triggers = cursor.fetchall()
    _execute(*(f"DROP TRIGGER {name}" for name, _sql in triggers))
    try:
        yield
    finally:
        _execute(*(sql for _name, sql in triggers))


def _execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(scope="session", autouse=True)
def audit_lets_tests_flush() -> Iterator[None]:
    """Every transactional test ends with a flush that the audit table lets pass."""
    teardown = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]  # left out of the stubs

    def flush(self: TransactionTestCase) -> None:
        with without_triggers():
            teardown(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", flush)
        yield
