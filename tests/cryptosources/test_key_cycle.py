"""The full cycle with a throw-away key: each step told, and nothing left behind whatever fails."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from pytest_django import Settings

from audit.services import Outcome
from cryptosources.errors import CycleRefused, InvalidSource, TestKeyOwed
from cryptosources.models import PURGE_PROTECTION, ConnectionTest, CryptoSource, CycleStep, ThrowAwayKey
from cryptosources.providers.algorithms import KeyAlgorithm
from cryptosources.providers.api import HealthStep, KeyRef, KeySpec, Right, StepOutcome
from cryptosources.providers.config import MemoryConfig
from cryptosources.providers.errors import (
    AuthenticationFailed,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    Throttled,
)
from cryptosources.providers.memory import MemoryProvider
from cryptosources.services import connection_test, connections, key_cycle, rights, sources, throw_away
from cryptosources.services.connections import provider_for
from cryptosources.tasks import run_key_cycle
from tests.cryptosources.conftest import InstallLicence
from tests.cryptosources.cycle import Clock, begin, cycle_steps, hsm_of, records, run, step_on, upkeep
from tests.cryptosources.factories import ACTOR, NOW, azure_settings, make_source, memory_settings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sealing_keys", "sent")]
State = ConnectionTest.State
CYCLE = [f"cycle:{step}" for step in CycleStep if step is not CycleStep.REMOVE]
PROVIDER_CALLS = ("create", "sign", "backup", "delete", "purge", "restore", "read")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(db: None) -> CryptoSource:
    return make_source()


# --- All goes well --------------------------------------------------------------------------------


def test_the_cycle_goes_from_create_to_gone_and_leaves_nothing(source: CryptoSource, clock: Clock) -> None:
    hsm = hsm_of(source)
    test = run(source, clock)
    steps = cycle_steps(test)
    assert list(steps) == CYCLE
    assert {step["outcome"] for step in steps.values()} == {"passed"}
    assert (test.state, test.healthy) == (State.FINISHED, True)
    assert not hsm.keys
    assert not ThrowAwayKey.objects.exists()
    wanted = {"create": 1, "sign": 2, "backup": 1, "delete": 2, "purge": 2, "restore": 1}
    assert {name: hsm.calls[name] for name in wanted} == wanted
    assert records("source.test_key.created") == [Outcome.SUCCEEDED]
    assert records("source.test_key.removed") == [Outcome.SUCCEEDED]
    assert records("source.test.finished") == [Outcome.SUCCEEDED]


def test_an_ordinary_test_makes_no_key(source: CryptoSource, clock: Clock) -> None:
    test = connection_test.request_test(source=source, actor=ACTOR, now=clock())
    connection_test.run_test(test_id=test.pk, clock=clock)
    assert not hsm_of(source).calls["create"]
    assert not ThrowAwayKey.objects.exists()


def test_the_name_is_on_record_before_the_hsm_is_asked(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ThrowAwayKey] = []
    create = MemoryProvider.create_key

    def watched(self: MemoryProvider, spec: KeySpec) -> Any:
        seen.append(ThrowAwayKey.objects.get(name=spec.name))
        assert spec.algorithm is KeyAlgorithm.EC_P256
        assert spec.tags == throw_away.tags_of(seen[0])
        return create(self, spec)

    monkeypatch.setattr(MemoryProvider, "create_key", watched)
    run(source, clock)
    (row,) = seen
    assert row.name.startswith("km-test-")
    assert row.in_doubt_until is not None
    assert row.claim_token is not None


def test_the_backup_is_sealed_and_goes_with_the_row(source: CryptoSource, clock: Clock) -> None:
    begin(source, clock)
    for _ in range(3):
        step_on(clock)
    row = ThrowAwayKey.objects.get()
    assert row.step == CycleStep.DELETE
    assert b"memory-hsm-backup" not in bytes(row.sealed_backup or b"")


def test_one_step_a_task_and_a_doubled_message_does_nothing(source: CryptoSource, clock: Clock) -> None:
    begin(source, clock)
    step_on(clock)
    assert ThrowAwayKey.objects.get().step == CycleStep.SIGN
    row = ThrowAwayKey.objects.get()
    held = throw_away.claim(row.pk, clock)
    assert held is not None
    run_key_cycle(str(row.pk))
    assert ThrowAwayKey.objects.get().step == CycleStep.SIGN
    assert hsm_of(source).calls["sign"] == 0


def test_more_rights_are_tried_than_the_source_itself_needs(source: CryptoSource, clock: Clock) -> None:
    hsm_of(source).deny(Right.PURGE)
    test = run(source, clock)
    assert [step["code"] for step in test.steps if step["outcome"] == "failed"] == ["AccessDenied"]
    assert not hsm_of(source).calls["create"]


# --- Refused before it begins -----------------------------------------------------------------------


def test_an_inactive_source_refuses_the_cycle_and_allows_the_test(source: CryptoSource, clock: Clock) -> None:
    sources.deactivate(source_id=source.pk, actor=ACTOR, now=NOW)
    with pytest.raises(CycleRefused, match="Inactive"):
        connection_test.request_test(source=source, actor=ACTOR, now=NOW, full_cycle=True)
    assert not ConnectionTest.objects.exists()
    connection_test.request_test(source=source, actor=ACTOR, now=NOW)


def test_an_ordinary_test_under_way_is_not_passed_off_as_a_full_cycle(source: CryptoSource) -> None:
    connection_test.request_test(source=source, actor=ACTOR, now=NOW)
    with pytest.raises(CycleRefused, match="under way"):
        connection_test.request_test(source=source, actor=ACTOR, now=NOW, full_cycle=True)
    assert source.tests.count() == 1


def test_known_purge_protection_refuses_the_cycle(source: CryptoSource) -> None:
    steps = [{"name": PURGE_PROTECTION, "outcome": "warning"}]
    source.tests.create(
        state=State.FINISHED, healthy=True, steps=steps, created_at=NOW, sent_at=NOW, finished_at=NOW
    )
    with pytest.raises(CycleRefused, match="purge protection"):
        connection_test.request_test(source=source, actor=ACTOR, now=NOW, full_cycle=True)


@pytest.mark.parametrize(
    ("found", "healthy"),
    [
        (HealthStep("tls", "TLS", StepOutcome.FAILED, "detail"), False),
        (HealthStep(PURGE_PROTECTION, "Purge protection", StepOutcome.WARNING, "detail"), True),
    ],
)
def test_what_the_test_itself_finds_keeps_the_cycle_from_beginning(
    source: CryptoSource,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    found: HealthStep,
    healthy: bool,
) -> None:
    monkeypatch.setattr(MemoryProvider, "check_health", lambda *_, **__: iter([found]))
    test = run(source, clock)
    assert list(cycle_steps(test)) == [key_cycle.NOT_BEGUN]
    assert (test.state, test.healthy) == (State.FINISHED, healthy)
    assert not hsm_of(source).calls["create"]


def test_a_source_made_inactive_meanwhile_keeps_it_from_beginning(source: CryptoSource, clock: Clock) -> None:
    test = connection_test.request_test(source=source, actor=ACTOR, now=NOW, full_cycle=True)
    sources.deactivate(source_id=source.pk, actor=ACTOR, now=NOW)
    connection_test.run_test(test_id=test.pk, clock=clock)
    test.refresh_from_db()
    assert "Inactive" in cycle_steps(test)[key_cycle.NOT_BEGUN]["detail"]
    assert not ThrowAwayKey.objects.exists()


# --- Something fails on the way -----------------------------------------------------------------------


@pytest.mark.parametrize("steps_before", range(len(CYCLE)))
def test_a_source_made_inactive_on_the_way_is_used_no_more_and_cleaned_up(
    source: CryptoSource, clock: Clock, steps_before: int
) -> None:
    hsm = hsm_of(source)
    begin(source, clock)
    for _ in range(steps_before):
        step_on(clock)
    calls = dict(hsm.calls)
    sources.deactivate(source_id=source.pk, actor=ACTOR, now=NOW)
    for _ in range(len(CYCLE)):
        if ThrowAwayKey.objects.exists():
            step_on(clock)
    assert not hsm.keys
    assert not ThrowAwayKey.objects.exists()
    for use in ("create", "sign", "restore"):
        assert hsm.calls[use] == calls.get(use, 0)


def test_the_licence_is_looked_at_where_the_hsm_is_reached(
    clock: Clock, install: InstallLicence, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("source:azure_managed_hsm")
    source = make_source(azure_settings())
    row = source.throw_away_keys.create(name="km-test-1", created_at=NOW, due_at=NOW)
    row.test = source.tests.create(
        state=State.RUNNING, created_at=NOW, sent_at=NOW, claim_expires_at=NOW + timedelta(hours=1)
    )
    install("source:something_else")
    for step in key_cycle._STEPS:
        if step is not CycleStep.GONE:
            row.test.steps = []
            row.test.save()
            row.step, row.due_at, row.claim_token, row.claim_expires_at = step, NOW, None, None
            row.save()
            step_on(clock)
            row.test.refresh_from_db()
            assert "does not include" in row.test.steps[0]["detail"], step


@pytest.mark.parametrize("call", PROVIDER_CALLS)
@pytest.mark.parametrize(
    ("error", "after"),
    [
        (Throttled("Slower, please.", code="429"), False),
        (OutcomeUnknown("No answer came.", code="TIMEOUT"), False),
        (OutcomeUnknown("No answer came.", code="TIMEOUT"), True),
    ],
)
def test_a_step_that_fails_is_told_and_the_key_is_removed(
    source: CryptoSource, clock: Clock, call: str, error: ProviderError, after: bool
) -> None:
    hsm = hsm_of(source)
    test = begin(source, clock)
    hsm.fail_next(call, error, after=after and call != "read")
    for _ in range(len(CycleStep)):
        if not test.is_over:
            step_on(clock)
            test.refresh_from_db()
    assert test.healthy is False
    (failed, *_) = [step for step in test.steps if step["outcome"] == "failed"]
    assert failed["code"] == error.code
    assert failed["remedy"]
    clock.move(minutes=30)
    upkeep(clock)
    assert not hsm.keys
    assert not ThrowAwayKey.objects.exists()
    made = [] if call == "create" and not after else [Outcome.SUCCEEDED]
    assert records("source.test_key.created") == records("source.test_key.removed") == made


@pytest.mark.parametrize(
    "right", [Right.SIGN, Right.BACKUP, Right.RESTORE, Right.DELETE, Right.PURGE, Right.READ]
)
def test_a_right_lost_on_the_way_is_named_and_the_clean_up_waits_for_it(
    source: CryptoSource, clock: Clock, right: Right
) -> None:
    hsm = hsm_of(source)
    test = begin(source, clock)
    hsm.deny(right)
    for _ in range(len(CycleStep)):
        if not test.is_over:
            step_on(clock)
            test.refresh_from_db()
    failed = [step for step in test.steps if step["outcome"] == "failed"]
    assert right.value in failed[0]["remedy"]
    removable = right in {Right.SIGN, Right.BACKUP, Right.RESTORE}
    assert (not hsm.keys) is (removable or right is Right.READ)
    assert ThrowAwayKey.objects.exists() is not removable
    if not removable:
        row = ThrowAwayKey.objects.get()
        assert right.value in row.problem
        report = rights.rights_report(source=source, test=test)
        assert [row.action for row in report.missing] == [right.value]
        assert right.value in row.remedy
        assert records("source.test_key.left") == [Outcome.FAILED]
    hsm.allow(right)
    clock.move(hours=1)
    upkeep(clock)
    assert not hsm.keys
    assert not ThrowAwayKey.objects.exists()


def test_a_signature_of_another_key_is_noticed(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cycle, "signature_is_valid", lambda **_: False)
    test = run(source, clock)
    assert "does not verify" in cycle_steps(test)["cycle:sign"]["detail"]
    assert not hsm_of(source).keys


def test_a_restored_key_with_another_public_key_is_noticed(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = MemoryProvider.restore_key

    def other(self: MemoryProvider, backup: Any) -> Any:
        return replace(restore(self, backup), public_key_der=b"another")

    monkeypatch.setattr(MemoryProvider, "restore_key", other)
    test = run(source, clock)
    assert "another public key" in cycle_steps(test)["cycle:restore"]["detail"]
    assert not hsm_of(source).keys
    assert not ThrowAwayKey.objects.exists()


# --- Purge protection found on the way ------------------------------------------------------------------


def test_purge_protection_found_on_the_key_deletes_it_and_names_the_day(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(source: CryptoSource) -> MemoryConfig:
        return MemoryConfig(name=str(source.pk), purge_protection=True, retention_days=30)

    monkeypatch.setattr(connections, "_memory_config", config)
    provider_for(source=source)._clock = clock  # type: ignore[attr-defined]
    test = run(source, clock)
    steps = {step["name"]: step for step in test.steps}
    assert "purge protection" in steps[PURGE_PROTECTION]["detail"]
    assert f"{NOW + timedelta(days=30):%d %B %Y}" in steps["cycle:remove"]["detail"]
    assert not hsm_of(source).calls["purge"]
    row = ThrowAwayKey.objects.get()
    assert row.remains_until == NOW + timedelta(days=30)
    assert source.is_purge_protected()
    upkeep(clock)
    clock.move(days=30, seconds=1)
    throw_away.upkeep(now=clock())
    step_on(clock)
    assert not ThrowAwayKey.objects.exists()


# --- Workers that die --------------------------------------------------------------------------------


@pytest.mark.parametrize("steps_before", range(len(CYCLE)))
@pytest.mark.parametrize("in_the_middle", [False, True])
def test_a_worker_that_dies_anywhere_leaves_a_key_that_is_removed(
    source: CryptoSource, clock: Clock, settings: Settings, steps_before: int, in_the_middle: bool
) -> None:
    hsm = hsm_of(source)
    test = begin(source, clock)
    for _ in range(steps_before):
        step_on(clock)
    held = throw_away.claim(ThrowAwayKey.objects.get().pk, clock)
    assert held is not None
    if in_the_middle:
        key_cycle._STEPS[CycleStep(held.row.step)](held)
    calls = dict(hsm.calls)
    clock.move(seconds=settings.CLAIM_SECONDS + 1)
    upkeep_at(clock)
    test.refresh_from_db()
    assert (test.state, test.problem) == (State.FAILED, connection_test.WORKER_STOPPED)
    clock.move(seconds=settings.CLAIM_SECONDS + 1)
    upkeep(clock)
    assert not hsm.keys
    assert not ThrowAwayKey.objects.exists()
    for use in ("create", "sign", "restore"):
        assert hsm.calls[use] == calls.get(use, 0)


def upkeep_at(clock: Clock) -> None:
    connection_test.upkeep(now=clock())


def test_a_claim_that_ended_leads_to_removal_though_its_test_still_runs(
    source: CryptoSource, clock: Clock, settings: Settings
) -> None:
    test = begin(source, clock)
    step_on(clock)
    assert throw_away.claim(ThrowAwayKey.objects.get().pk, clock) is not None
    clock.move(seconds=settings.CLAIM_SECONDS + 1)
    source.tests.update(claim_expires_at=clock() + timedelta(hours=1))
    throw_away.upkeep(now=clock())
    assert ThrowAwayKey.objects.get().is_being_removed
    step_on(clock)
    test.refresh_from_db()
    assert (test.state, test.healthy, test.problem) == (State.FAILED, None, throw_away.BROKEN_OFF)
    assert not hsm_of(source).keys


def test_a_create_that_arrives_late_is_waited_for(
    source: CryptoSource, clock: Clock, settings: Settings
) -> None:
    hsm = hsm_of(source)
    test = begin(source, clock)
    hsm.fail_next("create", OutcomeUnknown("No answer came.", code="TIMEOUT"))
    step_on(clock)
    step_on(clock)
    test.refresh_from_db()
    assert cycle_steps(test)["cycle:remove"]["outcome"] == "warning"
    row = ThrowAwayKey.objects.get()
    assert row.due_at == row.in_doubt_until
    spec = KeySpec(row.name, KeyAlgorithm.EC_P256, throw_away.tags_of(row))
    provider_for(source=source).create_key(spec)
    clock.move(seconds=settings.CLAIM_SECONDS + throw_away.SETTLED.total_seconds())
    upkeep(clock)
    assert not hsm.keys
    assert not ThrowAwayKey.objects.exists()


def test_a_lost_message_is_sent_again_and_the_cycle_goes_on(
    source: CryptoSource, clock: Clock, sent: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    begin(source, clock)
    row = ThrowAwayKey.objects.get()
    sent.clear()
    clock.move(seconds=29)
    upkeep_connection_tests_at(clock)
    assert str(row.pk) not in sent
    clock.move(seconds=2)
    upkeep_connection_tests_at(clock)
    upkeep_connection_tests_at(clock)
    assert sent.count(str(row.pk)) == 1
    step_on(clock)
    assert ThrowAwayKey.objects.get().step == CycleStep.SIGN


def upkeep_connection_tests_at(clock: Clock) -> None:
    connection_test.upkeep(now=clock())


def test_an_error_of_ours_is_raised_and_the_key_removed(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(source, clock)
    step_on(clock)

    def broken(**_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(key_cycle, "signature_is_valid", broken)
    with pytest.raises(ZeroDivisionError):
        step_on(clock)
    assert ThrowAwayKey.objects.get().is_being_removed
    clock.move(minutes=1)
    upkeep(clock)
    assert not hsm_of(source).keys


def test_the_soft_limit_ends_the_step_and_the_key_is_removed(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: object, backup: object) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(MemoryProvider, "restore_key", slow)
    test = run(source, clock)
    assert "longer than a task may" in cycle_steps(test)["cycle:restore"]["detail"]
    clock.move(hours=1)
    upkeep(clock)
    assert not hsm_of(source).keys
    assert not ThrowAwayKey.objects.exists()


def test_a_key_outlives_its_test(source: CryptoSource, clock: Clock) -> None:
    begin(source, clock)
    step_on(clock)
    source.tests.all().delete()
    upkeep(clock)
    assert not hsm_of(source).keys
    assert not ThrowAwayKey.objects.exists()


# --- Only our own key ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", [throw_away.PURPOSE_TAG, throw_away.ROW_TAG, throw_away.SOURCE_TAG])
@pytest.mark.parametrize("deleted", [False, True])
def test_a_key_of_that_name_with_other_tags_is_not_touched(
    source: CryptoSource, clock: Clock, tag: str, deleted: bool
) -> None:
    row = source.throw_away_keys.create(
        name="km-test-1", step=CycleStep.REMOVE, created_at=NOW, due_at=clock()
    )
    provider = provider_for(source=source)
    tags = throw_away.tags_of(row) | {tag: "another"}
    provider.create_key(KeySpec(row.name, KeyAlgorithm.EC_P256, tags))
    if deleted:
        provider.delete_key(KeyRef(row.name))
    calls = dict(hsm_of(source).calls)
    step_on(clock)
    hsm = hsm_of(source)
    assert hsm.keys.keys() == {"km-test-1"}
    assert [hsm.calls[name] - calls.get(name, 0) for name in ("delete", "purge")] == [0, 0]
    row.refresh_from_db()
    assert "is not touched" in row.problem
    del hsm.keys["km-test-1"]
    clock.move(hours=1)
    upkeep(clock)
    assert not ThrowAwayKey.objects.exists()


# --- Waiting for a person ------------------------------------------------------------------------------


def test_a_refused_sign_in_is_not_repeated_until_a_test_passes(source: CryptoSource, clock: Clock) -> None:
    hsm = hsm_of(source)
    begin(source, clock)
    step_on(clock)
    refused = AuthenticationFailed("The client secret is wrong.", code="AADSTS7000215")
    hsm.fail_next("sign", refused)
    step_on(clock)
    assert ThrowAwayKey.objects.get().due_at is None
    clock.move(days=1)
    calls = hsm.calls.total()
    upkeep_at(clock)
    step_on(clock)
    assert hsm.calls.total() == calls
    test = connection_test.request_test(source=source, actor=ACTOR, now=clock())
    connection_test.run_test(test_id=test.pk, clock=clock)
    upkeep(clock)
    assert not hsm.keys


def test_a_person_may_ask_for_the_next_attempt(source: CryptoSource, clock: Clock, sent: list[str]) -> None:
    row = source.throw_away_keys.create(name="km-test-1", step=CycleStep.REMOVE, created_at=NOW)
    assert throw_away.try_again(key_id=row.pk, actor=ACTOR, now=clock())
    assert records("source.test_key.removal_requested") == [Outcome.REQUESTED]
    step_on(clock)
    assert not throw_away.try_again(key_id=row.pk, actor=ACTOR, now=clock())


def test_pauses_grow_to_an_hour(source: CryptoSource, clock: Clock) -> None:
    hsm = hsm_of(source)
    row = source.throw_away_keys.create(
        name="km-test-1", step=CycleStep.REMOVE, created_at=NOW, due_at=clock()
    )
    hsm.fail_next("read", ProviderUnavailable("Away."), times=20)
    pauses = []
    for _ in range(14):
        step_on(clock)
        row.refresh_from_db()
        assert row.due_at is not None
        pauses.append((row.due_at - clock()).total_seconds())
        clock.now = row.due_at
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == 3600


# --- The source meanwhile ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("licensed")
def test_a_source_that_owes_a_removal_is_neither_deleted_nor_moved(clock: Clock) -> None:
    source = make_source(azure_settings())
    row = source.throw_away_keys.create(name="km-test-1", created_at=NOW, due_at=NOW)
    with pytest.raises(TestKeyOwed):
        sources.delete_source(source_id=source.pk, actor=ACTOR, now=NOW)
    moved = azure_settings(dns_name="other.managedhsm.azure.net")
    with pytest.raises(InvalidSource, match="throw-away key"):
        sources.update_source(
            source_id=source.pk, based_on=source.revision, entered=moved, actor=ACTOR, now=NOW
        )
    ThrowAwayKey.objects.filter(pk=row.pk).update(remains_until=NOW + timedelta(days=7))
    sources.delete_source(source_id=source.pk, actor=ACTOR, now=NOW)


def test_a_throw_away_key_is_not_counted_among_the_keys(source: CryptoSource) -> None:
    source.throw_away_keys.create(name="km-test-1", created_at=NOW, due_at=NOW)
    (row,) = CryptoSource.objects.with_keys()
    assert row.keys_count == 0  # type: ignore[attr-defined]


def test_a_second_cycle_waits_for_the_first_ones_key(source: CryptoSource) -> None:
    source.throw_away_keys.create(name="km-test-1", step=CycleStep.REMOVE, created_at=NOW, due_at=NOW)
    with pytest.raises(CycleRefused, match="earlier test"):
        connection_test.request_test(source=source, actor=ACTOR, now=NOW, full_cycle=True)


def test_two_sources_do_not_hold_each_other_up(clock: Clock) -> None:
    one, two = make_source(memory_settings("One")), make_source(memory_settings("Two"))
    begin(one, clock)
    begin(two, clock)
    assert ThrowAwayKey.objects.count() == 2
