"""Throw-away keys while answers lag, clocks disagree, claims are lost and secrets are refused."""

from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from cryptosources.errors import InvalidSource
from cryptosources.models import ConnectionTest, CryptoSource, CycleStep, ThrowAwayKey
from cryptosources.providers.algorithms import KeyAlgorithm
from cryptosources.providers.api import HealthStep, KeySpec, Right, StepOutcome
from cryptosources.providers.config import MemoryConfig
from cryptosources.providers.errors import (
    AuthenticationFailed,
    ForeignBackup,
    KeyNotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    PurgeProtected,
    Throttled,
)
from cryptosources.providers.memory import MemoryHsm, MemoryProvider
from cryptosources.services import (
    connection_test,
    connections,
    key_cycle,
    sources,
    test_rows,
    throw_away,
)
from cryptosources.services.connections import provider_for
from tests.cryptosources.conftest import InstallLicence
from tests.cryptosources.cycle import Clock, begin, cycle_steps, hsm_of, records, step_on, upkeep
from tests.cryptosources.factories import ACTOR, NOW, azure_settings, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sealing_keys", "sent")]
State = ConnectionTest.State
REFUSED = AuthenticationFailed(
    "The client secret is wrong.", code="AADSTS7000215", remedy="Enter the Key again."
)
ELSEWHERE = KeyNotFound("There is no such key.", code="KeyNotFound")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(db: None) -> CryptoSource:
    return make_source()


def the_key() -> ThrowAwayKey:
    return ThrowAwayKey.objects.get()


def advance_to(step: CycleStep, clock: Clock) -> None:
    while the_key().step != step:
        step_on(clock)


# --- A write takes its time to reach every region ---------------------------------------------------


@pytest.mark.parametrize("step", [CycleStep.SIGN, CycleStep.SIGN_AGAIN])
def test_not_found_is_not_believed_soon_after_the_key_was_made(
    source: CryptoSource, clock: Clock, step: CycleStep
) -> None:
    """The create or the restore was answered; what follows meets a region that has not heard of it."""
    test = begin(source, clock)
    advance_to(step, clock)
    hsm = hsm_of(source)
    hsm.fail_next("sign", ELSEWHERE)
    hsm.fail_next("read", ELSEWHERE)
    step_on(clock)
    step_on(clock)
    test.refresh_from_db()
    assert cycle_steps(test)["cycle:remove"]["outcome"] == "warning"
    assert the_key().due_at == clock() + throw_away.SETTLED
    assert records("source.test_key.removed") == []
    clock.move(seconds=throw_away.SETTLED.total_seconds())
    upkeep(clock)
    assert not hsm.keys
    assert not ThrowAwayKey.objects.exists()


@pytest.mark.parametrize("operation", ["delete", "purge"])
def test_a_removal_that_met_the_key_once_does_not_believe_the_next_region(
    source: CryptoSource, clock: Clock, operation: str
) -> None:
    begin(source, clock)
    advance_to(CycleStep.SIGN, clock)
    hsm = hsm_of(source)
    hsm.fail_next("sign", Throttled("Slower, please.", code="429"))
    hsm.fail_next(operation, ELSEWHERE)
    step_on(clock)
    step_on(clock)
    hsm.fail_next("read", ELSEWHERE)
    clock.move(seconds=6)
    step_on(clock)
    assert ThrowAwayKey.objects.exists()
    clock.move(seconds=throw_away.SETTLED.total_seconds())
    upkeep(clock)
    assert not hsm.keys


def test_a_refused_create_made_nothing(source: CryptoSource, clock: Clock) -> None:
    begin(source, clock)
    hsm_of(source).fail_next("create", Throttled("Slower, please.", code="429"))
    step_on(clock)
    step_on(clock)
    assert not ThrowAwayKey.objects.exists()


def test_a_request_without_an_answer_may_arrive_and_then_settle(
    source: CryptoSource, clock: Clock, settings: Any
) -> None:
    begin(source, clock)
    hsm_of(source).fail_next("create", OutcomeUnknown("No answer came.", code="TIMEOUT"))
    step_on(clock)
    arrives = clock() + timedelta(seconds=settings.CLAIM_SECONDS)
    assert the_key().in_doubt_until == arrives + throw_away.SETTLED


def test_a_restore_is_in_doubt_before_it_is_sent(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies in the call leaves a row that says so."""
    begin(source, clock)
    advance_to(CycleStep.RESTORE, clock)
    provider = MemoryProvider
    seen = []
    restore = provider.restore_key

    def watched(self: Any, backup: Any) -> Any:
        seen.append(the_key().in_doubt_until)
        return restore(self, backup)

    monkeypatch.setattr(provider, "restore_key", watched)
    assert the_key().in_doubt_until is None
    step_on(clock)
    (until,) = seen
    assert until is not None
    assert until > clock() + throw_away.SETTLED


# --- Claims that are lost --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "method"), [(CycleStep.CREATE, "create_key"), (CycleStep.RESTORE, "restore_key")]
)
@pytest.mark.parametrize("row_is_gone", [True, False])
def test_a_key_that_appears_after_its_claim_was_lost_is_removed(
    source: CryptoSource,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    step: CycleStep,
    method: str,
    row_is_gone: bool,
) -> None:
    """Upkeep's host is ahead of this worker's, or this worker's machine was suspended in the call."""
    begin(source, clock)
    advance_to(step, clock)
    name = the_key().name
    call = getattr(MemoryProvider, method)
    ahead = Clock()
    ahead.move(hours=1)

    def slow(self: MemoryProvider, *given: Any) -> Any:
        monkeypatch.setattr(MemoryProvider, method, call)
        throw_away.upkeep(now=ahead())
        if row_is_gone:
            key_cycle.perform(key_id=the_key().pk, clock=ahead)
            assert not ThrowAwayKey.objects.exists()
        else:
            assert throw_away.claim(the_key().pk, ahead)
        return call(self, *given)

    monkeypatch.setattr(MemoryProvider, method, slow)
    step_on(clock)
    row = the_key()
    assert (row.name, row.step, row.due_at) == (name, CycleStep.REMOVE, clock())
    assert row.in_doubt_until == clock() + throw_away.SETTLED
    assert row.claim_token is None
    upkeep(clock)
    assert not hsm_of(source).keys
    assert not ThrowAwayKey.objects.exists()


def test_a_claim_lost_after_the_key_was_made_changes_nothing(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who took the key over removes it; the worker that lost it does not bring the row back."""
    begin(source, clock)
    advance_to(CycleStep.SIGN, clock)
    sign = MemoryProvider.sign_digest

    def slow(self: MemoryProvider, *given: Any) -> Any:
        signature = sign(self, *given)
        ThrowAwayKey.objects.all().delete()
        return signature

    monkeypatch.setattr(MemoryProvider, "sign_digest", slow)
    step_on(clock)
    assert not ThrowAwayKey.objects.exists()


def test_who_lost_the_claim_neither_writes_nor_forgets(source: CryptoSource, clock: Clock) -> None:
    begin(source, clock)
    lost = throw_away.claim(the_key().pk, clock)
    assert lost is not None
    clock.move(hours=1)
    throw_away.upkeep(now=clock())
    assert throw_away.claim(the_key().pk, clock)
    before = ThrowAwayKey.objects.values().get()
    for act in (lost.guard, lost.may_appear, lost.appeared, lost.purge, lost.pass_on, lost.forget):
        with pytest.raises(throw_away.ClaimLost):
            act()
    assert ThrowAwayKey.objects.values().get() == before
    assert records("source.test_key.removed") == []


# --- A secret that is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "call"),
    [(CycleStep.SIGN, "sign"), (CycleStep.RESTORE, "restore"), (CycleStep.GONE, "read")],
)
def test_a_refused_secret_ends_the_cycle_without_another_sign_in(
    source: CryptoSource, clock: Clock, sent: list[str], step: CycleStep, call: str
) -> None:
    test = begin(source, clock)
    advance_to(step, clock)
    hsm = hsm_of(source)
    hsm.fail_next(call, REFUSED)
    calls = hsm.calls.total()
    sent.clear()
    step_on(clock)
    test.refresh_from_db()
    assert (test.state, test.healthy) == (State.FINISHED, False)
    row = the_key()
    assert (row.step, row.due_at, row.claim_token) == (CycleStep.REMOVE, None, None)
    assert (row.problem, row.problem_code) == (REFUSED.message, REFUSED.code)
    assert "test the connection again" in row.remedy
    assert row.sealed_backup is None
    assert records("source.test_key.left") == ["failed"]
    clock.move(days=1)
    upkeep(clock)
    step_on(clock)
    assert hsm.calls.total() == calls + 1
    assert sent == []


def test_a_refused_secret_ends_the_cycle_as_a_whole_or_not_at_all(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that was ended meanwhile does not take the refusal's effect with it."""
    test = begin(source, clock)
    advance_to(CycleStep.SIGN, clock)
    hsm_of(source).fail_next("sign", REFUSED)
    sign = MemoryProvider.sign_digest

    def slow(self: MemoryProvider, *given: Any) -> Any:
        ConnectionTest.objects.filter(pk=test.pk).update(state=State.FAILED, problem="x", finished_at=clock())
        return sign(self, *given)

    monkeypatch.setattr(MemoryProvider, "sign_digest", slow)
    step_on(clock)
    assert (the_key().step, the_key().due_at) == (CycleStep.REMOVE, None)


def ordinary_test(source: CryptoSource, clock: Clock) -> None:
    test = connection_test.request_test(source=source, actor=ACTOR, now=clock())
    connection_test.run_test(test_id=test.pk, clock=clock)


def test_a_sign_in_that_works_again_wakes_the_removal_whatever_else_fails(
    source: CryptoSource, clock: Clock
) -> None:
    left_behind(source, due_at=None)
    hsm_of(source).deny(Right.UPDATE)
    ordinary_test(source, clock)
    upkeep(clock)
    assert not ThrowAwayKey.objects.exists()


@pytest.mark.parametrize(
    ("name", "outcome", "wakes"),
    [
        ("token", StepOutcome.FAILED, False),
        ("token", StepOutcome.PASSED, True),
        ("challenge", StepOutcome.PASSED, False),
    ],
)
def test_only_a_sign_in_wakes_the_removal(
    source: CryptoSource,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    outcome: StepOutcome,
    wakes: bool,
) -> None:
    left_behind(source, due_at=None)
    steps = [HealthStep(name, "", outcome, "detail"), HealthStep("tls", "", StepOutcome.FAILED, "detail")]
    monkeypatch.setattr(MemoryProvider, "check_health", lambda *_, **__: iter(steps))
    ordinary_test(source, clock)
    assert (the_key().due_at is not None) is wakes


# --- Pauses ------------------------------------------------------------------------------------------


def left_behind(source: CryptoSource, **changes: Any) -> ThrowAwayKey:
    """A key whose removal is due."""
    given = {"name": "km-test-1", "step": CycleStep.REMOVE, "created_at": NOW, "due_at": NOW} | changes
    return source.throw_away_keys.create(**given)


def test_messages_that_piled_up_do_not_shorten_a_pause(source: CryptoSource, clock: Clock) -> None:
    left_behind(source)
    hsm = hsm_of(source)
    hsm.fail_next("read", ProviderUnavailable("Away."), times=100)
    for _ in range(10):
        step_on(clock)
    assert hsm.calls["read"] == 1
    clock.move(seconds=4)
    step_on(clock)
    assert hsm.calls["read"] == 1
    clock.move(seconds=1)
    step_on(clock)
    assert hsm.calls["read"] == 2


def test_an_error_of_ours_is_followed_by_a_pause_too(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_behind(source)
    broken = Mock(side_effect=ZeroDivisionError)
    monkeypatch.setattr(throw_away, "_remove_from_hsm", broken)
    with pytest.raises(ZeroDivisionError):
        step_on(clock)
    step_on(clock)
    assert broken.call_count == 1


def test_a_person_need_not_wait_for_a_pause(
    source: CryptoSource, clock: Clock, sent: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    row = left_behind(source)
    hsm_of(source).fail_next("read", ProviderUnavailable("Away."))
    step_on(clock)
    with django_capture_on_commit_callbacks(execute=True):
        assert throw_away.try_again(key_id=row.pk, actor=ACTOR, now=clock())
    assert sent == [str(row.pk)]
    step_on(clock)
    assert not ThrowAwayKey.objects.exists()


def test_the_message_of_a_step_ends_with_its_use(
    source: CryptoSource,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    """Each step sends the next message on commit; nobody reads one that is old."""
    given: list[tuple[object, ...]] = []

    def publish(task: str, *arguments: str, expires: timedelta | None = None) -> str:
        given.append((task, *arguments, expires))
        return ""

    monkeypatch.setattr(throw_away, "publish", publish)
    with django_capture_on_commit_callbacks(execute=True):
        begin(source, clock)
    message = (throw_away.TASK, str(the_key().pk), throw_away.MESSAGE_LIFE)
    assert given == [message]
    with django_capture_on_commit_callbacks(execute=True):
        step_on(clock)
    assert given == [message, message]


def test_remains_that_the_hsm_drops_late_are_looked_at_with_growing_pauses(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    protected = MemoryConfig(name=str(source.pk), purge_protection=True, retention_days=30)
    monkeypatch.setattr(connections, "_memory_config", lambda _source: protected)
    monkeypatch.setattr(MemoryHsm, "forget_expired", lambda *_: None)
    provider = provider_for(source=source)
    assert isinstance(provider, MemoryProvider)
    monkeypatch.setattr(provider, "_clock", clock)
    begin(source, clock)
    step_on(clock)
    step_on(clock)
    until = the_key().remains_until
    assert until is not None
    clock.now = until
    pauses = []
    for _ in range(4):
        throw_away.upkeep(now=clock())
        step_on(clock)
        due_at = the_key().due_at
        assert due_at is not None
        pauses.append((due_at - clock()).total_seconds())
        clock.now = due_at
    assert pauses == [10, 20, 40, 80]
    assert the_key().remains_until == until


# --- What is on record -------------------------------------------------------------------------------


def test_a_key_that_was_never_made_is_not_recorded_as_removed(source: CryptoSource, clock: Clock) -> None:
    begin(source, clock)
    sources.deactivate(source_id=source.pk, actor=ACTOR, now=NOW)
    step_on(clock)
    step_on(clock)
    assert not ThrowAwayKey.objects.exists()
    assert records("source.test_key.created") == records("source.test_key.removed") == []


def test_a_key_is_recorded_as_created_though_its_test_was_ended_meanwhile(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = begin(source, clock)
    create = MemoryProvider.create_key

    def slow(self: MemoryProvider, spec: Any) -> Any:
        ConnectionTest.objects.filter(pk=test.pk).update(state=State.FAILED, problem="x", finished_at=NOW)
        return create(self, spec)

    monkeypatch.setattr(MemoryProvider, "create_key", slow)
    step_on(clock)
    upkeep(clock)
    assert records("source.test_key.created") == records("source.test_key.removed") == ["succeeded"]


def test_a_create_without_an_answer_is_recorded_when_the_key_is_seen(
    source: CryptoSource, clock: Clock
) -> None:
    begin(source, clock)
    hsm = hsm_of(source)
    hsm.fail_next("create", OutcomeUnknown("No answer came.", code="TIMEOUT"), after=True)
    hsm.deny(Right.DELETE)
    step_on(clock)
    assert records("source.test_key.created") == []
    step_on(clock)
    assert records("source.test_key.created") == ["succeeded"]
    hsm.allow(Right.DELETE)
    clock.move(minutes=1)
    upkeep(clock)
    assert records("source.test_key.created") == records("source.test_key.removed") == ["succeeded"]


def test_a_key_left_after_an_error_of_ours_is_on_record(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(source, clock)
    step_on(clock)
    monkeypatch.setattr(key_cycle, "signature_is_valid", Mock(side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        step_on(clock)
    hsm_of(source).deny(Right.DELETE)
    for _ in range(2):
        clock.move(minutes=1)
        upkeep(clock)
    assert the_key().problem
    assert records("source.test_key.left") == ["failed"]


# --- The test and the source meanwhile ----------------------------------------------------------------


def test_a_claim_renewed_at_the_last_moment_keeps_its_test(
    source: CryptoSource, clock: Clock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = begin(source, clock)
    clock.move(seconds=settings.CLAIM_SECONDS + 1)
    close = test_rows.close

    def renewed_first(row: ConnectionTest, *given: Any, **named: Any) -> None:
        test_rows.renew(test, clock())
        close(row, *given, **named)

    monkeypatch.setattr(test_rows, "close", renewed_first)
    connection_test.upkeep(now=clock())
    test.refresh_from_db()
    assert test.state == State.RUNNING


def test_a_source_deleted_while_it_was_tested_ends_the_test(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    why_not = key_cycle._why_not_begun

    def deleted_first(test: ConnectionTest) -> str:
        reason = why_not(test)
        sources.delete_source(source_id=source.pk, actor=ACTOR, now=NOW)
        return reason

    monkeypatch.setattr(key_cycle, "_why_not_begun", deleted_first)
    test = connection_test.request_test(source=source, actor=ACTOR, now=clock(), full_cycle=True)
    connection_test.run_test(test_id=test.pk, clock=clock)
    assert not CryptoSource.objects.exists()
    assert not ThrowAwayKey.objects.exists()


def test_a_source_changed_while_it_was_tested_is_not_used(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rights that were just found are those of other settings."""
    health = MemoryProvider.check_health

    def changed_meanwhile(self: MemoryProvider, **given: Any) -> Any:
        yield from health(self, **given)
        CryptoSource.objects.filter(pk=source.pk).update(revision=source.revision + 1)

    monkeypatch.setattr(MemoryProvider, "check_health", changed_meanwhile)
    test = begin(source, clock)
    assert "changed while it was tested" in cycle_steps(test)[key_cycle.NOT_BEGUN]["detail"]
    assert (test.state, test.healthy) == (State.FINISHED, False)
    assert not ThrowAwayKey.objects.exists()


@pytest.mark.usefixtures("licensed")
def test_remains_keep_a_source_at_its_hsm_but_do_not_keep_the_source() -> None:
    source = make_source(azure_settings())
    source.throw_away_keys.create(
        name="km-test-1", created_at=NOW, due_at=NOW, remains_until=NOW + timedelta(days=9)
    )
    moved = azure_settings(dns_name="other.managedhsm.azure.net")
    with pytest.raises(InvalidSource, match="throw-away key"):
        sources.update_source(
            source_id=source.pk, based_on=source.revision, entered=moved, actor=ACTOR, now=NOW
        )
    sources.delete_source(source_id=source.pk, actor=ACTOR, now=NOW)


# --- The removal's own branches -----------------------------------------------------------------------


def made_and_left(source: CryptoSource) -> ThrowAwayKey:
    """A key in the HSM whose removal is due."""
    row = left_behind(source, public_key_der=b"public")
    provider_for(source=source).create_key(KeySpec(row.name, KeyAlgorithm.EC_P256, throw_away.tags_of(row)))
    return row


def test_a_removal_that_takes_too_long_is_tried_again(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_and_left(source)
    with monkeypatch.context() as slow:
        slow.setattr(MemoryProvider, "delete_key", Mock(side_effect=SoftTimeLimitExceeded))
        step_on(clock)
    row = the_key()
    assert "longer than a task may" in row.problem
    assert row.due_at == row.not_before == clock() + timedelta(seconds=5)
    clock.move(seconds=5)
    step_on(clock)
    assert not hsm_of(source).keys


def test_a_purge_refused_by_protection_names_the_day(source: CryptoSource, clock: Clock) -> None:
    """The key itself did not tell that this HSM has purge protection."""
    made_and_left(source)
    hsm = hsm_of(source)
    hsm.fail_next("purge", PurgeProtected("Purge protection is on.", code="PurgeProtected"))
    step_on(clock)
    row = the_key()
    assert row.remains_until is not None
    assert f"{row.remains_until:%d %B %Y}" in row.problem
    assert row.due_at == row.remains_until
    assert hsm.calls["purge"] == 1


def test_a_backup_that_is_not_one_is_not_relied_on(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = begin(source, clock)
    advance_to(CycleStep.BACK_UP, clock)
    foreign = ForeignBackup("The backup is malformed.", code="ForeignBackup")
    monkeypatch.setattr(MemoryProvider, "check_backup", Mock(side_effect=foreign))
    step_on(clock)
    row = the_key()
    assert (row.step, row.sealed_backup) == (CycleStep.REMOVE, None)
    test.refresh_from_db()
    assert cycle_steps(test)["cycle:back_up"]["code"] == "ForeignBackup"


def test_a_backup_is_not_kept_with_a_key_that_is_left(source: CryptoSource, clock: Clock) -> None:
    begin(source, clock)
    advance_to(CycleStep.DELETE, clock)
    assert the_key().sealed_backup
    hsm_of(source).deny(Right.DELETE)
    step_on(clock)
    step_on(clock)
    assert the_key().problem
    assert the_key().sealed_backup is None


@pytest.mark.parametrize("call", ["delete_key", "purge_key"])
def test_the_claim_outlasts_every_call(
    source: CryptoSource, clock: Clock, settings: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It is renewed directly before each request, however long the ones before took."""
    made_and_left(source)
    describe, carry_out, ends = MemoryProvider.describe_key, getattr(MemoryProvider, call), []

    def slow(self: MemoryProvider, ref: Any) -> Any:
        clock.move(seconds=settings.CLAIM_SECONDS - 1)
        return describe(self, ref)

    def watched(self: MemoryProvider, ref: Any) -> Any:
        ends.append(the_key().claim_expires_at)
        return carry_out(self, ref)

    monkeypatch.setattr(MemoryProvider, "describe_key", slow)
    monkeypatch.setattr(MemoryProvider, call, watched)
    removal_began = clock()
    step_on(clock)
    first_look_ended = removal_began + timedelta(seconds=settings.CLAIM_SECONDS - 1)
    assert ends == [first_look_ended + timedelta(seconds=settings.CLAIM_SECONDS)]


def test_a_test_whose_claim_is_lost_begins_no_cycle(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upkeep took its worker for dead: no key is made for a test that is over."""

    def ended_meanwhile(test: ConnectionTest) -> str:
        ConnectionTest.objects.filter(pk=test.pk).update(state=State.FAILED, problem="x", finished_at=NOW)
        return ""

    monkeypatch.setattr(key_cycle, "_why_not_begun", ended_meanwhile)
    begin(source, clock)
    assert not ThrowAwayKey.objects.exists()


def test_a_key_left_by_another_test_meanwhile_keeps_the_cycle_from_beginning(
    source: CryptoSource, clock: Clock
) -> None:
    test = connection_test.request_test(source=source, actor=ACTOR, now=clock(), full_cycle=True)
    left_behind(source, due_at=NOW + timedelta(hours=1))
    connection_test.run_test(test_id=test.pk, clock=clock)
    test.refresh_from_db()
    assert "earlier test" in cycle_steps(test)[key_cycle.NOT_BEGUN]["detail"]
    assert the_key().name == "km-test-1"


def test_a_licence_lost_meanwhile_keeps_the_cycle_from_beginning(
    clock: Clock, install: InstallLicence
) -> None:
    install("source:azure_managed_hsm")
    source = make_source(azure_settings())
    test = source.tests.create(
        state=State.RUNNING,
        full_cycle=True,
        source_revision=source.revision,
        created_at=NOW,
        sent_at=NOW,
        claim_expires_at=NOW + timedelta(hours=1),
    )
    install("source:something_else")
    assert key_cycle.begin(test=test, now=clock()) is False
    assert "does not include" in cycle_steps(test)[key_cycle.NOT_BEGUN]["detail"]
    assert not ThrowAwayKey.objects.exists()


def test_each_step_keeps_its_test_alive(source: CryptoSource, clock: Clock, settings: Any) -> None:
    test = begin(source, clock)
    clock.move(seconds=settings.CLAIM_SECONDS - 1)
    step_on(clock)
    test.refresh_from_db()
    assert test.claim_expires_at == clock() + timedelta(seconds=settings.CLAIM_SECONDS)


def test_an_error_of_ours_after_a_lost_claim_owes_the_removal_too(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(source, clock)

    def fails(_self: MemoryProvider, _spec: Any) -> None:
        ThrowAwayKey.objects.all().delete()
        raise ZeroDivisionError

    monkeypatch.setattr(MemoryProvider, "create_key", fails)
    with pytest.raises(ZeroDivisionError):
        step_on(clock)
    assert the_key().is_being_removed
