"""Test connection: claimed once, followed step by step, honest about brokers and workers that are away."""

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import IntegrityError
from pytest_django import Settings

from audit.services import AuditRecord, Outcome
from cryptosources.models import ConnectionTest, CryptoSource
from cryptosources.providers.api import HealthStep, Right, StepOutcome
from cryptosources.providers.errors import ConfigurationError
from cryptosources.providers.memory import MemoryProvider
from cryptosources.services import connection_test, sources
from cryptosources.services.connections import provider_for
from cryptosources.tasks import run_connection_test, upkeep_connection_tests
from licensing.services import FeatureNotLicensed
from secretstore.services import CannotOpen
from tests.cryptosources.conftest import InstallLicence
from tests.cryptosources.factories import ACTOR, NOW, azure_settings, make_source, memory_settings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sealing_keys")]
State = ConnectionTest.State


@pytest.fixture
def source(db: None) -> CryptoSource:
    return make_source()


def request(source: CryptoSource, *, after: float = 0) -> ConnectionTest:
    return connection_test.request_test(source=source, actor=ACTOR, now=NOW + timedelta(seconds=after))


def run(test: ConnectionTest, *, after: float = 1) -> ConnectionTest:
    connection_test.run_test(test_id=test.pk, clock=lambda: NOW + timedelta(seconds=after))
    test.refresh_from_db()
    return test


def outcomes(action: str) -> list[str]:
    return list(AuditRecord.objects.filter(action=action).order_by("id").values_list("outcome", flat=True))


def steps_that(monkeypatch: pytest.MonkeyPatch, *events: HealthStep | BaseException) -> None:
    """Let the provider's test yield these steps, and raise what is an exception."""

    def check_health(self: object, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        for event in events:
            if isinstance(event, BaseException):
                raise event
            yield event

    monkeypatch.setattr(MemoryProvider, "check_health", check_health)


def step(name: str, outcome: StepOutcome = StepOutcome.PASSED) -> HealthStep:
    return HealthStep(name, name.upper(), outcome, "detail", "CODE", "remedy", 3)


# --- Asking -----------------------------------------------------------------------------------


def test_a_request_is_a_row_a_record_and_one_message_after_commit(
    source: CryptoSource, sent: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        test = request(source)
    assert (test.state, test.requested_by, sent) == (State.PENDING, "tests", [])
    assert outcomes("source.test.requested") == [Outcome.REQUESTED]
    for callback in callbacks:
        callback()
    assert sent == [str(test.pk)]


def test_without_its_record_there_is_no_test(source: CryptoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise IntegrityError("the record cannot be written")

    monkeypatch.setattr(connection_test, "record", fail)
    with pytest.raises(IntegrityError):
        request(source)
    assert not ConnectionTest.objects.exists()


def test_a_second_click_joins_the_test_under_way(
    source: CryptoSource, sent: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first, second = request(source), request(source, after=1)
    assert first.pk == second.pk
    assert len(sent) == 2
    assert outcomes("source.test.requested") == [Outcome.REQUESTED]


def test_an_inactive_source_may_be_tested(source: CryptoSource) -> None:
    sources.deactivate(source_id=source.pk, actor=ACTOR, now=NOW)
    assert run(request(source)).healthy


def test_an_unlicensed_source_may_not(install: InstallLicence) -> None:
    install("source:azure_managed_hsm")
    source = make_source(azure_settings())
    test = request(source)
    install("source:something_else")
    with pytest.raises(FeatureNotLicensed):
        request(source)
    run(test)
    assert test.healthy is False
    assert [one["name"] for one in test.steps] == ["licence"]


def test_a_broker_that_is_away_costs_no_error_and_little_time(
    source: CryptoSource, settings: Settings, django_capture_on_commit_callbacks: Any
) -> None:
    began = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        test = request(source)
    assert time.monotonic() - began < 3.5
    test.refresh_from_db()
    assert test.state == State.PENDING
    assert "broker does not answer" in connection_test.progress_note(test=test, now=NOW)


# --- Carrying out -----------------------------------------------------------------------------


def test_the_steps_are_stored_as_they_come(source: CryptoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, list[str]]] = []

    def check_health(self: object, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        for name in ("one", "two"):
            row = ConnectionTest.objects.get()
            seen.append((row.state, [stored["name"] for stored in row.steps]))
            yield step(name)

    monkeypatch.setattr(MemoryProvider, "check_health", check_health)
    test = run(request(source))
    assert seen == [(State.RUNNING, []), (State.RUNNING, ["one"])]
    assert test.steps[1] == {
        "name": "two",
        "label": "TWO",
        "outcome": "passed",
        "detail": "detail",
        "code": "CODE",
        "remedy": "remedy",
        "duration_ms": 3,
        "facts": {},
    }
    assert (test.state, test.healthy, test.source_revision) == (State.FINISHED, True, source.revision)


@pytest.mark.parametrize(
    ("outcome", "healthy"),
    [(StepOutcome.PASSED, True), (StepOutcome.WARNING, True), (StepOutcome.FAILED, False)],
)
def test_a_failed_step_and_nothing_less_makes_a_source_unhealthy(
    source: CryptoSource, monkeypatch: pytest.MonkeyPatch, outcome: StepOutcome, healthy: bool
) -> None:
    steps_that(monkeypatch, step("one"), step("two", outcome))
    assert run(request(source)).healthy is healthy
    assert outcomes("source.test.finished") == [Outcome.SUCCEEDED if healthy else Outcome.FAILED]


def test_a_test_without_a_step_proves_nothing(source: CryptoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    steps_that(monkeypatch)
    assert run(request(source)).healthy is False


def test_a_doubled_message_does_nothing(source: CryptoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    test = run(request(source))
    steps_that(monkeypatch, step("again"))
    assert "again" not in str(run(test).steps)
    run_connection_test(str(test.pk))
    run_connection_test(str(uuid.uuid4()))
    assert len(outcomes("source.test.finished")) == 1


def test_a_message_that_comes_twice_at_once_is_one_test(
    source: CryptoSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = request(source)
    runs: list[int] = []

    def check_health(self: object, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        runs.append(1)
        connection_test.run_test(test_id=test.pk, clock=lambda: NOW)
        yield step("one")

    monkeypatch.setattr(MemoryProvider, "check_health", check_health)
    assert len(run(test).steps) == 1
    assert runs == [1]


def test_a_worker_that_lost_its_claim_writes_nothing_more(
    source: CryptoSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = request(source)

    def check_health(self: object, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        yield step("one")
        connection_test.upkeep(now=NOW + timedelta(hours=1))
        yield step("two")

    monkeypatch.setattr(MemoryProvider, "check_health", check_health)
    run(test)
    assert (test.state, test.problem) == (State.FAILED, connection_test.WORKER_STOPPED)
    assert [stored["name"] for stored in test.steps] == ["one"]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (SoftTimeLimitExceeded(), "time"),
        (ConfigurationError("This host is not allowed.", code="X"), "settings"),
        (CannotOpen("No key here opens it."), "key"),
    ],
)
def test_what_ends_a_test_early_is_its_last_step(
    source: CryptoSource, monkeypatch: pytest.MonkeyPatch, error: Exception, name: str
) -> None:
    steps_that(monkeypatch, step("one"), error)
    test = run(request(source))
    assert (test.state, test.healthy) == (State.FINISHED, False)
    assert [stored["name"] for stored in test.steps] == ["one", name]


def test_an_error_of_ours_ends_the_test_and_is_not_swallowed(
    source: CryptoSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps_that(monkeypatch, ZeroDivisionError("with a secret in its text"))
    test = request(source)
    with pytest.raises(ZeroDivisionError):
        run(test)
    test.refresh_from_db()
    assert (test.state, test.problem) == (
        State.FAILED,
        "The test ended in an error of ours (ZeroDivisionError).",
    )


def test_every_source_must_be_allowed_to_change_validity_and_tags() -> None:
    source = make_source(memory_settings("Plain"))
    provider = provider_for(source=source)
    assert isinstance(provider, MemoryProvider)
    provider.hsm.deny(Right.UPDATE)
    test = run(request(source))
    assert [stored["name"] for stored in test.steps if stored["outcome"] == "failed"] == ["right:update"]


@pytest.mark.parametrize("right", [Right.BACKUP, Right.RESTORE, Right.PURGE, Right.RECOVER])
def test_backup_and_restore_needs_more_rights(right: Right) -> None:
    plain = make_source(memory_settings("Plain"))
    backed = make_source(memory_settings("Backed", backup_restore=True))
    for source, healthy in ((plain, True), (backed, False)):
        provider = provider_for(source=source)
        assert isinstance(provider, MemoryProvider)
        provider.hsm.deny(right)
        test = run(request(source))
        assert test.healthy is healthy
    assert [stored["code"] for stored in test.steps if stored["outcome"] == "failed"] == ["AccessDenied"]


@pytest.mark.parametrize(("backup_restore", "healthy"), [(False, True), (True, False)])
def test_purge_protection_fails_the_test_where_signing_relies_on_purging(
    monkeypatch: pytest.MonkeyPatch, backup_restore: bool, healthy: bool
) -> None:
    steps_that(monkeypatch, step("one"), step("purge_protection", StepOutcome.WARNING))
    source = make_source(memory_settings("Vault", backup_restore=backup_restore))
    assert run(request(source)).healthy is healthy
    assert source.is_purge_protected()


def test_the_last_twenty_tests_are_kept(source: CryptoSource) -> None:
    other = make_source(memory_settings("Other"))
    run(request(other))
    for number in range(23):
        run(request(source, after=number))
    assert source.tests.count() == 20
    assert source.tests.earliest("created_at").created_at == NOW + timedelta(seconds=3)
    assert other.tests.count() == 1


# --- Waiting, and giving up -----------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "note"), [(15, ""), (16, connection_test.NO_WORKER)])
def test_a_test_not_taken_up_says_so_after_15_seconds(source: CryptoSource, seconds: int, note: str) -> None:
    now = NOW + timedelta(seconds=seconds)
    assert connection_test.progress_note(test=request(source), now=now) == note


def test_a_worker_that_died_is_noticed_when_its_claim_ends(source: CryptoSource, settings: Settings) -> None:
    test = request(source)
    claimed = connection_test._claim(test.pk, NOW)
    assert claimed is not None
    claimed.refresh_from_db()
    end = NOW + timedelta(seconds=settings.CLAIM_SECONDS)
    assert not connection_test.is_over(test=claimed, now=end)
    after = end + timedelta(seconds=1)
    assert connection_test.is_over(test=claimed, now=after)
    assert connection_test.progress_note(test=claimed, now=after) == connection_test.WORKER_STOPPED
    fresh = request(source, after=settings.CLAIM_SECONDS + 1)
    assert fresh.pk != test.pk
    test.refresh_from_db()
    assert test.state == State.FAILED
    assert outcomes("source.test.finished") == [Outcome.FAILED]


def test_upkeep_sends_lost_messages_again_and_gives_up_in_the_end(
    source: CryptoSource, sent: list[str]
) -> None:
    test = request(source)
    connection_test.upkeep(now=NOW + timedelta(seconds=29))
    assert sent == []
    connection_test.upkeep(now=NOW + timedelta(seconds=31))
    connection_test.upkeep(now=NOW + timedelta(seconds=32))
    assert sent == [str(test.pk)]
    connection_test.upkeep(now=NOW + timedelta(minutes=11))
    test.refresh_from_db()
    assert test.state == State.FAILED
    assert "10 minutes" in test.problem
    run(test)
    assert test.steps == []


def test_upkeep_leaves_what_ended_alone(source: CryptoSource) -> None:
    test = run(request(source))
    upkeep_connection_tests()
    test.refresh_from_db()
    assert (test.state, test.problem) == (State.FINISHED, "")
