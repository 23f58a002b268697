"""Several people, or workers, in the same moment: real threads on the production database.

On SQLite immediate transactions queue all writers, and the tests' database in memory refuses threads.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.db import connection
from django.utils import timezone

from audit.services import AuditRecord
from cryptosources.errors import EditConflict, InvalidSource
from cryptosources.models import ConnectionTest, CryptoSource
from cryptosources.providers.api import HealthStep, StepOutcome
from cryptosources.providers.memory import MemoryProvider
from cryptosources.services import connection_test, sources
from tests.cryptosources.factories import ACTOR, NOW, make_source, memory_settings

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("sealing_keys", "sent"),
]
CROWD = 4
Result = TypeVar("Result")


def at_once(act: Callable[[], Result]) -> list[Result]:
    """What each of the crowd gets."""
    start = threading.Barrier(CROWD)

    def one(_: int) -> Result:
        try:
            start.wait(timeout=10)
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(CROWD) as crowd:
        return list(crowd.map(one, range(CROWD), timeout=60))


def test_one_of_many_switches() -> None:
    source = make_source()
    changed = at_once(lambda: sources.deactivate(source_id=source.pk, actor=ACTOR, now=NOW))
    assert changed.count(True) == 1
    assert AuditRecord.objects.filter(action="source.deactivated").count() == 1


def test_one_of_many_edits_wins_and_the_others_are_told() -> None:
    source = make_source()

    def edit() -> bool:
        name = f"By {threading.get_ident()}"
        try:
            sources.update_source(
                source_id=source.pk, based_on=1, entered=memory_settings(name), actor=ACTOR, now=NOW
            )
        except EditConflict:
            return False
        return True

    assert at_once(edit).count(True) == 1
    assert CryptoSource.objects.get().revision == 2
    assert AuditRecord.objects.filter(action="source.updated").count() == 1


def test_one_of_many_gets_the_name() -> None:
    def create() -> bool:
        try:
            make_source(memory_settings("Wanted"))
        except InvalidSource:
            return False
        return True

    assert at_once(create).count(True) == 1
    assert CryptoSource.objects.count() == 1


def test_many_clicks_are_one_test() -> None:
    source = make_source()
    tests = at_once(lambda: connection_test.request_test(source=source, actor=ACTOR, now=NOW).pk)
    assert len(set(tests)) == 1
    assert AuditRecord.objects.filter(action="source.test.requested").count() == 1


def test_many_messages_are_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    def check_health(self: object, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        runs.append(1)
        yield HealthStep("one", "One", StepOutcome.PASSED)

    monkeypatch.setattr(MemoryProvider, "check_health", check_health)
    test = connection_test.request_test(source=make_source(), actor=ACTOR, now=NOW)
    at_once(lambda: connection_test.run_test(test_id=test.pk, clock=timezone.now))
    assert runs == [1]
    assert ConnectionTest.objects.get().healthy
