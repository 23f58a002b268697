"""Where a key is after trouble: lost answers, strangers' keys, moved sources, retries, late signatures."""

import hashlib
from collections.abc import Callable, Mapping
from uuid import UUID

import pytest
from django.conf import settings

from audit.models import AuditRecord
from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes, KeyRef, KeySpec, Right
from cryptosources.providers.errors import (
    AccessDenied,
    AuthenticationFailed,
    OutcomeUnknown,
    ProviderUnavailable,
)
from cryptosources.providers.memory import MemoryHsm
from cryptosources.services.connections import provider_for
from keys.lifecycle import OperationKind, OperationState, Residency, Step
from keys.models import KeyOperation, ManagedKey
from keys.services import operations, requests
from keys.services.refusals import OperationRefused
from keys.services.steps import STEPS
from licensing.services import FeatureNotLicensed
from tests.conftest import Clock
from tests.keys.conftest import ALICE, Run

Do = Callable[[ManagedKey, OperationKind], KeyOperation]
NewKey = Callable[..., ManagedKey]
K, R = OperationKind, Residency


def _switch(source: CryptoSource, status: str) -> None:
    CryptoSource.objects.filter(pk=source.pk).update(status=status)


def _generate(source: CryptoSource, clock: Clock, name: str = "seal-1") -> KeyOperation:
    return requests.generate_key(
        source=source, name=name, algorithm=KeyAlgorithm.EC_P256, actor=ALICE, now=clock()
    )


def _sign(key: ManagedKey, clock: Clock) -> KeyOperation:
    return requests.request_signature(
        key=key,
        algorithm=SignatureAlgorithm.ES256,
        digest=hashlib.sha256(b"data").digest(),
        label="",
        actor=ALICE,
        now=clock(),
    )


def _retry(operation: KeyOperation, clock: Clock) -> KeyOperation:
    return requests.retry_operation(operation=operation, actor=ALICE, now=clock())


# --- Whose key is it --------------------------------------------------------------------------------


def test_a_retried_rotation_never_takes_a_strangers_key_for_ours(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    hsm.fail_next("create", AccessDenied("no right"))
    failed = do(key, K.ROTATE)
    del hsm.keys["seal-1"]
    provider_for(source=source).create_key(KeySpec("seal-1", KeyAlgorithm.EC_P256, {"owner": "other"}))
    again = run(_retry(failed, clock))
    assert again.state == OperationState.FAILED
    assert again.key.where is R.FAULTED
    assert again.key.versions.count() == 1
    assert do(again.key, K.DELETE).state == OperationState.FAILED
    assert hsm.keys["seal-1"].deleted_at is None


def test_a_version_added_outside_is_recorded_and_needs_a_new_backup(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    provider_for(source=source).rotate_key(KeySpec("seal-1", KeyAlgorithm.EC_P256))
    do(key, K.DELETE)
    key.refresh_from_db()
    assert key.versions.count() == 2
    assert key.verified_backup is None, "the old backup lacks the new version"
    do(key, K.RECOVER)
    assert do(key, K.BACKUP).state == OperationState.SUCCEEDED
    key.refresh_from_db()
    assert key.verified_backup is not None


def test_a_key_rotated_while_its_operation_failed_can_still_be_backed_up(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run, do: Do
) -> None:
    key = new_key()
    operation = requests.request_operation(key=key, kind=K.ROTATE, actor=ALICE, now=clock())
    hsm.fail_next("create", OutcomeUnknown("no answer"), after=True)
    operations.perform(operation_id=operation.pk, clock=clock)
    operations.perform(operation_id=operation.pk, clock=clock)
    _switch(source, "inactive")
    assert run(operation).state in (OperationState.FAILED, OperationState.SUCCEEDED)
    _switch(source, "active")
    assert do(ManagedKey.objects.get(), K.BACKUP).state == OperationState.SUCCEEDED
    assert ManagedKey.objects.get().versions.count() == 2


def _stranger(
    source: CryptoSource,
    clock: Clock,
    algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Somebody adds a version outside this console, a moment later; its id."""
    clock.advance(seconds=1)
    made = provider_for(source=source).rotate_key(KeySpec("seal-1", algorithm, dict(tags or {})))
    return str(made.ref.version)


def test_a_strangers_version_just_before_a_rotation_is_not_taken_for_ours(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    operation = requests.request_operation(key=key, kind=K.ROTATE, actor=ALICE, now=clock())
    operations.perform(operation_id=operation.pk, clock=clock)
    theirs = _stranger(source, clock, tags=hsm.keys["seal-1"].tags)
    assert run(operation).state == OperationState.SUCCEEDED
    key.refresh_from_db()
    assert len(hsm.keys["seal-1"].versions) == 3
    assert key.current_version == hsm.keys["seal-1"].versions[-1].identifier != theirs


def test_a_refused_rotation_that_is_tried_again_takes_no_strangers_version_for_its_own(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    hsm.fail_next("create", AccessDenied("no right"))
    refused = do(key, K.ROTATE)
    theirs = _stranger(source, clock, tags=hsm.keys["seal-1"].tags)
    assert run(_retry(refused, clock)).key.current_version != theirs
    assert len(hsm.keys["seal-1"].versions) == 3


def test_a_rotation_in_doubt_takes_no_strangers_version_for_its_own(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    operation = requests.request_operation(key=key, kind=K.ROTATE, actor=ALICE, now=clock())
    operations.perform(operation_id=operation.pk, clock=clock)
    hsm.fail_next("create", OutcomeUnknown("no answer"))
    operations.perform(operation_id=operation.pk, clock=clock)
    _stranger(source, clock, KeyAlgorithm.RSA_2048, hsm.keys["seal-1"].tags)
    _stranger(source, clock, tags={"owner": "another"})
    assert run(operation).state == OperationState.SUCCEEDED
    assert len(hsm.keys["seal-1"].versions) == 4


def test_a_rotation_makes_what_the_record_says_not_what_a_stranger_left(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    _stranger(source, clock, KeyAlgorithm.RSA_2048, tags={"owner": "another"})
    assert do(key, K.ROTATE).state == OperationState.SUCCEEDED
    made = hsm.keys["seal-1"].versions[-1]
    assert made.algorithm is KeyAlgorithm.EC_P256
    assert made.attributes.tags.keys() == {"keymanager-installation", "keymanager-key"}
    key.refresh_from_db()
    assert key.current_version == made.identifier
    assert run(_sign(key, clock)).state == OperationState.SUCCEEDED


@pytest.mark.parametrize("kind", [K.BACKUP, K.DELETE])
def test_a_version_of_another_type_never_becomes_the_current_one(
    kind: OperationKind, source: CryptoSource, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    theirs = _stranger(source, clock, KeyAlgorithm.RSA_2048, tags={"owner": "another"})
    assert do(key, kind).state == OperationState.SUCCEEDED
    before = key.current_version
    key.refresh_from_db()
    assert key.current_version == before != theirs
    assert key.versions.count() == 1
    assert key.tags == {}


def test_a_full_key_is_not_rotated_and_says_so(
    hsm: MemoryHsm, new_key: NewKey, do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keys.services.steps.MOST_VERSIONS", 2)
    key = new_key()
    do(key, K.ROTATE)
    refused = do(key, K.ROTATE)
    assert refused.state == OperationState.FAILED
    assert "The key has 2 versions" in refused.error
    assert len(hsm.keys["seal-1"].versions) == 2


def test_a_key_deleted_just_before_its_rotation_is_on_record_as_deleted(
    source: CryptoSource, new_key: NewKey, clock: Clock, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    provider = provider_for(source=source)
    rotate = provider.rotate_key

    def rotate_too_late(spec: KeySpec) -> object:
        provider.delete_key(KeyRef(spec.name))
        return rotate(spec)

    monkeypatch.setattr(provider, "rotate_key", rotate_too_late)
    asked = requests.request_operation(key=key, kind=K.ROTATE, actor=ALICE, now=clock())
    assert run(asked).state == OperationState.FAILED
    key.refresh_from_db()
    assert key.where is R.DELETED


# --- What an update leaves -----------------------------------------------------------------------------


def _update(key: ManagedKey, clock: Clock, **attributes: object) -> KeyOperation:
    wanted = KeyAttributes(**attributes)  # type: ignore[arg-type]  # as the test names them
    return requests.request_update(key=key, attributes=wanted, actor=ALICE, now=clock())


@pytest.mark.parametrize("theirs_is_ours_by_type", [True, False])
def test_an_update_changes_the_version_that_the_record_then_calls_current(
    theirs_is_ours_by_type: bool,
    source: CryptoSource,
    hsm: MemoryHsm,
    new_key: NewKey,
    clock: Clock,
    run: Run,
) -> None:
    key = new_key()
    _stranger(source, clock, KeyAlgorithm.EC_P256 if theirs_is_ours_by_type else KeyAlgorithm.RSA_2048)
    run(_update(key, clock, enabled=False))
    key.refresh_from_db()
    held = {version.identifier: version.attributes.enabled for version in hsm.keys["seal-1"].versions}
    assert (key.enabled, held[key.current_version]) == (False, False)
    assert sum(held.values()) == 1
    newest = hsm.keys["seal-1"].versions[-1].identifier
    assert (key.current_version == newest) is theirs_is_ours_by_type


def test_a_version_added_while_the_key_was_away_is_found_when_it_comes_back(
    source: CryptoSource, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    do(key, K.DELETE)
    provider_for(source=source).recover_key(KeyRef("seal-1"))
    theirs = _stranger(source, clock)
    do(key, K.RECOVER)
    key.refresh_from_db()
    assert key.current_version == theirs
    assert key.verified_backup is None


def test_a_half_kept_update_is_on_record_and_no_backup_counts(
    source: CryptoSource, new_key: NewKey, do: Do, clock: Clock, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    provider = provider_for(source=source)
    update = provider.update_key

    def without_tags(ref: KeyRef, attributes: KeyAttributes) -> object:
        ours = {name: value for name, value in attributes.tags.items() if name.startswith("keymanager-")}
        return update(ref, KeyAttributes(enabled=attributes.enabled, tags=ours))

    monkeypatch.setattr(provider, "update_key", without_tags)
    key.refresh_from_db()
    failed = run(_update(key, clock, enabled=False, tags={"a": "b"}))
    assert failed.state == OperationState.FAILED
    key.refresh_from_db()
    assert (key.enabled, key.tags, key.verified_backup) == (False, {}, None)
    assert key.where is R.RESIDENT


def test_an_update_that_ends_in_doubt_voids_the_backup(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    key.refresh_from_db()
    asked = _update(key, clock, enabled=False)
    hsm.fail_next("update", OutcomeUnknown("no answer"), after=True)
    operations.perform(operation_id=asked.pk, clock=clock)
    _switch(source, "inactive")
    assert run(asked).state == OperationState.FAILED
    key.refresh_from_db()
    assert key.verified_backup is None


def test_a_refused_update_leaves_the_backup_in_force(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    hsm.deny(Right.UPDATE)
    key.refresh_from_db()
    assert run(_update(key, clock, enabled=False)).state == OperationState.FAILED
    key.refresh_from_db()
    assert key.verified_backup is not None


def test_an_update_keeps_the_tags_of_others_and_takes_away_what_was_shown(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    run(_update(key, clock, tags={"shown": "yes", "stays": "yes"}))
    provider = provider_for(source=source)
    info = provider.describe_key(KeyRef("seal-1"))
    provider.update_key(info.ref, KeyAttributes(tags={**info.tags, "owner": "team"}))
    key.refresh_from_db()
    run(_update(key, clock, tags={"stays": "yes", "new": "yes"}))
    key.refresh_from_db()
    assert key.tags == {"owner": "team", "stays": "yes", "new": "yes"}
    assert hsm.keys["seal-1"].tags.keys() - key.tags.keys() == {"keymanager-installation", "keymanager-key"}


# --- Was it created ---------------------------------------------------------------------------------


def test_a_create_in_doubt_is_never_called_not_created(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run
) -> None:
    operation = _generate(source, clock)
    hsm.fail_next("create", OutcomeUnknown("no answer"), after=True)
    operations.perform(operation_id=operation.pk, clock=clock)
    _switch(source, "inactive")
    first = run(operation)
    assert first.key.where is R.FAULTED
    _switch(source, "active")
    hsm.fail_next("read", AuthenticationFailed("expired"))
    second = run(_retry(first, clock))
    assert second.key.where is R.FAULTED, "still in doubt: a retry does not forget"
    third = run(_retry(second, clock))
    assert third.key.residency == R.RESIDENT


def test_a_faulted_key_without_recorded_versions_can_be_deleted_by_its_tags(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run, do: Do
) -> None:
    operation = _generate(source, clock)
    hsm.fail_next("create", OutcomeUnknown("no answer"), after=True)
    operations.perform(operation_id=operation.pk, clock=clock)
    _switch(source, "inactive")
    key = run(operation).key
    assert do(key, K.DELETE).state == OperationState.SUCCEEDED
    assert hsm.deleted("seal-1")


def test_a_retry_does_not_take_back_a_name_that_another_key_has(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run
) -> None:
    hsm.fail_next("create", AccessDenied("no right"))
    refused = run(_generate(source, clock))
    run(_generate(source, clock))
    with pytest.raises(OperationRefused, match="already has a key"):
        _retry(refused, clock)


# --- Where is it now --------------------------------------------------------------------------------


def test_a_restore_that_stays_in_doubt_is_a_fault_and_has_a_way_out(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    for kind in (K.BACKUP, K.DELETE, K.PURGE):
        do(key, kind)
    key.refresh_from_db()
    operation = requests.request_operation(key=key, kind=K.RESTORE, actor=ALICE, now=clock())
    hsm.fail_next("restore", OutcomeUnknown("no answer"), after=True)
    operations.perform(operation_id=operation.pk, clock=clock)
    hsm.fail_next("read", ProviderUnavailable("down"), times=settings.MAX_ATTEMPTS)
    run(operation)
    key.refresh_from_db()
    assert key.where is R.FAULTED, "it may be in the HSM: the record must not say absent"
    hsm._failures.clear()
    restored = do(key, K.RESTORE)
    assert restored.state == OperationState.SUCCEEDED
    assert restored.key.where is R.RESIDENT


def test_a_delete_refused_with_known_outcome_leaves_the_key_resident(
    hsm: MemoryHsm, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    hsm.deny(Right.DELETE)
    do(key, K.DELETE)
    key.refresh_from_db()
    assert key.where is R.RESIDENT


def test_a_late_signature_does_not_move_a_key_that_others_moved(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    late = _sign(key, clock)
    clock.advance(seconds=1)
    do(key, K.DELETE)
    do(key, K.PURGE)
    assert run(late).state == OperationState.FAILED
    key.refresh_from_db()
    assert key.where is R.PURGED


# --- Gates and people ---------------------------------------------------------------------------------


def test_a_source_made_inactive_between_look_and_create_stops_the_create(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = provider_for(source=source)
    describe = provider.describe_key

    def describe_slowly(ref: KeyRef) -> object:
        _switch(source, "inactive")
        return describe(ref)

    monkeypatch.setattr(provider, "describe_key", describe_slowly)
    operation = run(_generate(source, clock))
    assert operation.state == OperationState.FAILED
    assert hsm.calls["create"] == 0
    assert operation.key.where is R.NOT_CREATED


@pytest.mark.parametrize("kind", [K.BACKUP, K.DELETE])
def test_a_licence_that_ends_stops_queued_work_of_people(
    kind: OperationKind,
    hsm: MemoryHsm,
    new_key: NewKey,
    clock: Clock,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = requests.request_operation(key=new_key(), kind=kind, actor=ALICE, now=clock())

    def ended(**_: object) -> None:
        raise FeatureNotLicensed("source:memory", "The licence has ended.")

    monkeypatch.setattr("keys.services.operations.require_licensed", ended)
    assert run(operation).error_code == "FeatureNotLicensed"
    assert hsm.calls[kind.value] == 0


def test_a_failed_purge_is_asked_for_anew_by_whoever_wants_it(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    do(key, K.DELETE)
    hsm.deny(Right.PURGE)
    failed = do(key, K.PURGE)
    hsm.allow(Right.PURGE)
    with pytest.raises(OperationRefused, match="anew"):
        _retry(failed, clock)


def test_refusals_are_on_record_with_who_and_why(source: CryptoSource, new_key: NewKey, clock: Clock) -> None:
    key = new_key()
    with pytest.raises(OperationRefused):
        requests.request_operation(key=key, kind=K.RECOVER, actor=ALICE, now=clock())
    with pytest.raises(OperationRefused):
        requests.request_purge(key=key, typed_name="wrong", actor=ALICE, now=clock())
    with pytest.raises(OperationRefused):
        _generate(source, clock, "not a name")
    refused = AuditRecord.objects.filter(outcome="refused")
    assert {record.action for record in refused} == {"key.recover", "key.purge"}
    assert {record.actor_name for record in refused} == {ALICE.name}


# --- Errors of ours -------------------------------------------------------------------------------------


def test_an_error_of_ours_ends_the_operation_and_is_raised_for_the_log(
    new_key: NewKey, clock: Clock, monkeypatch: pytest.MonkeyPatch, _no_broker: list[UUID]
) -> None:
    key = new_key()
    operation = requests.request_operation(key=key, kind=K.BACKUP, actor=ALICE, now=clock())

    def broken(_context: object) -> object:
        raise RuntimeError("a bug")

    monkeypatch.setitem(STEPS, Step.BACK_UP, broken)
    for _ in range(settings.MAX_ATTEMPTS):
        with pytest.raises(RuntimeError):
            operations.perform(operation_id=operation.pk, clock=clock)
        clock.advance(seconds=100)
    operation.refresh_from_db()
    assert operation.state == OperationState.FAILED
    assert "RuntimeError" in operation.error
    key.refresh_from_db()
    assert key.where is R.RESIDENT
