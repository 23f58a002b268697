"""Validity dates, enabled and tags: set at creation, changed by an operation, obeyed when signing."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.utils.timezone import now as real_now

from audit.models import AuditRecord
from cryptosources.errors import SourceInactive
from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes, KeyInfo, KeyRef, KeySpec
from cryptosources.providers.errors import OutcomeUnknown
from cryptosources.providers.memory import MemoryHsm, MemoryProvider
from cryptosources.services.connections import provider_for
from keys.attributes import MOST_TAGS, Validity
from keys.lifecycle import OperationKind, OperationState, Residency
from keys.models import KeyOperation, ManagedKey
from keys.services import operations, requests
from keys.services.refusals import OperationRefused
from tests.conftest import Clock
from tests.keys.conftest import ALICE, Run

Do = Callable[[ManagedKey, OperationKind], KeyOperation]
NewKey = Callable[..., ManagedKey]
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Clock:
    """Now: the in-memory HSM looks at the real clock."""
    return Clock(real_now())


def held(hsm: MemoryHsm, name: str = "seal-1") -> KeyAttributes:
    """What the HSM holds for the newest version, without our own tags."""
    attributes = hsm.keys[name].versions[-1].attributes
    tags = {tag: value for tag, value in attributes.tags.items() if not tag.startswith("keymanager-")}
    return KeyAttributes(attributes.enabled, attributes.not_before, attributes.expires_at, tags)


def on_record(key: ManagedKey) -> KeyAttributes:
    key.refresh_from_db()
    return KeyAttributes(key.enabled, key.not_before, key.expires_at, key.tags)


def ask_update(key: ManagedKey, clock: Clock, **attributes: object) -> KeyOperation:
    wanted = KeyAttributes(**attributes)  # type: ignore[arg-type]  # as the test names them
    return requests.request_update(key=key, attributes=wanted, actor=ALICE, now=clock())


def ask_signature(key: ManagedKey, clock: Clock) -> KeyOperation:
    key.refresh_from_db()
    return requests.request_signature(
        key=key,
        algorithm=SignatureAlgorithm.ES256,
        digest=hashlib.sha256(b"data").digest(),
        label="",
        actor=ALICE,
        now=clock(),
    )


# --- Generate --------------------------------------------------------------------------------------


def test_a_key_is_generated_with_dates_and_tags(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run
) -> None:
    wanted = KeyAttributes(True, clock() - DAY, clock() + DAY, {"department": "seals"})
    operation = requests.generate_key(
        source=source,
        name="seal-1",
        algorithm=KeyAlgorithm.EC_P256,
        attributes=wanted,
        actor=ALICE,
        now=clock(),
    )
    key = run(operation).key
    start, end = (moment.replace(microsecond=0) for moment in (clock() - DAY, clock() + DAY))
    assert on_record(key) == held(hsm) == KeyAttributes(True, start, end, {"department": "seals"})
    assert hsm.keys["seal-1"].tags["keymanager-key"] == str(key.pk)


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"expires_at": -DAY}, "expires_at"),
        ({"not_before": 2 * DAY, "expires_at": DAY}, "expires_at"),
        ({"not_before": datetime(1999, 12, 31, tzinfo=UTC)}, "not_before"),
        ({"not_before": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "not_before"),
        ({"expires_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))}, "expires_at"),
        ({"tags": {f"t{number}": "" for number in range(MOST_TAGS + 1)}}, "tags"),
        ({"tags": {"keymanager-key": "another"}}, "tags"),
    ],
)
def test_unfit_attributes_create_nothing(
    source: CryptoSource, clock: Clock, attributes: dict[str, object], field: str
) -> None:
    dated = {
        name: clock() + value if isinstance(value, timedelta) else value for name, value in attributes.items()
    }
    with pytest.raises(OperationRefused) as refused:
        requests.generate_key(
            source=source,
            name="seal-1",
            algorithm=KeyAlgorithm.EC_P256,
            attributes=KeyAttributes(**dated),  # type: ignore[arg-type]  # as parametrized
            actor=ALICE,
            now=clock(),
        )
    assert refused.value.field == field
    assert not ManagedKey.objects.exists()


# --- Update -----------------------------------------------------------------------------------------


def test_an_update_reaches_the_hsm_and_the_record(
    hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    operation = run(ask_update(key, clock, expires_at=clock() + 9 * DAY, tags={"a": "b"}))
    assert operation.state == OperationState.SUCCEEDED
    assert on_record(key) == held(hsm)
    assert held(hsm).tags == {"a": "b"}
    assert key.validity(clock()) is Validity.EXPIRING
    assert hsm.keys["seal-1"].tags["keymanager-key"] == str(key.pk)
    run(ask_update(key, clock))
    assert on_record(key) == held(hsm) == KeyAttributes()
    record = AuditRecord.objects.filter(action="key.update", outcome="requested").earliest("pk")
    assert record.details["tags"] == {"a": "b"}
    assert record.details["enabled"] is True


def test_an_update_counts_only_with_a_verified_backup_of_its_own(
    backed_up: CryptoSource, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    key.refresh_from_db()
    first = key.verified_backup
    asked = ask_update(key, clock, enabled=False)
    assert asked.steps == ["update", "back_up", "verify_backup"]
    operations.perform(operation_id=asked.pk, clock=clock)
    key.refresh_from_db()
    assert (key.enabled, key.verified_backup) == (False, None)
    run(asked)
    key.refresh_from_db()
    assert key.verified_backup is not None
    assert key.verified_backup != first


def test_what_was_changed_comes_back_with_the_backup(
    backed_up: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run, do: Do
) -> None:
    key = new_key()
    run(ask_update(key, clock, enabled=False, tags={"a": "b"}))
    for kind in (OperationKind.DELETE, OperationKind.PURGE, OperationKind.RESTORE):
        key.refresh_from_db()
        assert do(key, kind).state == OperationState.SUCCEEDED
    assert on_record(key) == held(hsm) == KeyAttributes(enabled=False, tags={"a": "b"})


def test_without_backups_kept_the_old_backup_no_longer_counts(
    new_key: NewKey, clock: Clock, run: Run, do: Do
) -> None:
    key = new_key()
    do(key, OperationKind.BACKUP)
    run(ask_update(key, clock, tags={"a": "b"}))
    key.refresh_from_db()
    assert key.verified_backup is None


@pytest.mark.parametrize("after", [False, True], ids=["before it took effect", "after"])
def test_an_update_that_broke_off_is_the_same_when_repeated(
    hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run, after: bool
) -> None:
    key = new_key()
    hsm.fail_next("update", OutcomeUnknown("no answer"), after=after)
    operation = run(ask_update(key, clock, enabled=False, tags={"a": "b"}))
    assert operation.state == OperationState.SUCCEEDED
    assert on_record(key) == held(hsm) == KeyAttributes(enabled=False, tags={"a": "b"})
    assert hsm.calls["update"] == (1 if after else 2)
    assert len(hsm.keys["seal-1"].versions) == 1


def test_a_worker_killed_after_the_call_leaves_a_step_that_is_repeated(
    hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    asked = ask_update(key, clock, enabled=False)

    class Killed(BaseException):
        pass

    def die(*args: object, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(operations, "_settle", die)
        with pytest.raises(Killed):
            operations.perform(operation_id=asked.pk, clock=clock)
    key.refresh_from_db()
    assert key.enabled
    assert not held(hsm).enabled
    clock.now += timedelta(hours=1)
    assert run(asked).state == OperationState.SUCCEEDED
    assert not on_record(key).enabled
    assert hsm.calls["update"] == 1


def test_an_hsm_that_keeps_another_date_is_no_success(
    source: CryptoSource, new_key: NewKey, clock: Clock, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_key()
    run(ask_update(key, clock, expires_at=clock() + DAY))

    def keeps_it(self: MemoryProvider, ref: KeyRef, attributes: KeyAttributes) -> KeyInfo:
        return self.describe_key(ref)

    monkeypatch.setattr(MemoryProvider, "update_key", keeps_it)
    operation = run(ask_update(key, clock))
    assert operation.state == OperationState.FAILED
    assert "holds other dates" in operation.error
    assert on_record(key).expires_at is not None


def test_an_inactive_source_changes_no_key(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    asked = ask_update(key, clock, enabled=False)
    CryptoSource.objects.filter(pk=source.pk).update(status=SourceStatus.INACTIVE)
    assert run(asked).state == OperationState.FAILED
    assert hsm.calls["update"] == 0
    with pytest.raises(SourceInactive):
        ask_update(ManagedKey.objects.get(pk=key.pk), clock, enabled=False)


def test_a_foreign_key_of_that_name_is_left_alone(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    provider = provider_for(source=source)
    hsm.keys.pop("seal-1")
    provider.create_key(KeySpec("seal-1", KeyAlgorithm.EC_P256, {"owner": "somebody"}))
    assert run(ask_update(key, clock, enabled=False)).state == OperationState.FAILED
    assert hsm.calls["update"] == 0
    key.refresh_from_db()
    assert key.where is Residency.FAULTED


def test_a_new_version_has_the_tags_and_no_dates(
    hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run, do: Do
) -> None:
    key = new_key()
    run(ask_update(key, clock, enabled=False, expires_at=clock() + DAY, tags={"a": "b"}))
    do(key, OperationKind.ROTATE)
    assert on_record(key) == held(hsm) == KeyAttributes(tags={"a": "b"})


def test_what_was_changed_outside_is_recorded_with_the_next_backup(
    source: CryptoSource, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    info = provider_for(source=source).describe_key(KeyRef("seal-1"))
    provider_for(source=source).update_key(info.ref, KeyAttributes(enabled=False, tags=info.tags))
    do(key, OperationKind.BACKUP)
    assert not on_record(key).enabled


# --- Signing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"enabled": False}, "is disabled"),
        ({"not_before": 2 * DAY}, "is not valid before"),
        ({"expires_at": DAY}, "expired at"),
    ],
)
def test_a_key_out_of_use_signs_nothing_and_the_hsm_is_not_asked(
    hsm: MemoryHsm,
    new_key: NewKey,
    clock: Clock,
    run: Run,
    attributes: dict[str, object],
    reason: str,
) -> None:
    key = new_key()
    queued = ask_signature(key, clock)
    dated = {
        name: clock() + value if isinstance(value, timedelta) else value for name, value in attributes.items()
    }
    run(ask_update(key, clock, **dated))
    clock.now += DAY
    with pytest.raises(OperationRefused, match=reason):
        ask_signature(key, clock)
    # What was asked for before the key went out of use stops where it would reach the HSM.
    ended = run(queued)
    assert ended.state == OperationState.FAILED
    assert reason in ended.error
    assert hsm.calls["sign"] == 0
    run(ask_update(key, clock))
    assert run(ask_signature(key, clock)).state == OperationState.SUCCEEDED


@pytest.mark.parametrize("validity", list(Validity))
def test_the_lists_filter_and_the_rule_agree(new_key: NewKey, clock: Clock, validity: Validity) -> None:
    dates = [None, clock() - DAY, clock(), clock() + DAY, clock() + 30 * DAY, clock() + 31 * DAY]
    key = new_key()
    for enabled in (True, False):
        for start in dates:
            for end in dates:
                key.enabled, key.not_before, key.expires_at = enabled, start, end
                key.save()
                found = ManagedKey.objects.in_validity(validity, now=clock()).exists()
                assert found is (key.validity(clock()) is validity), (enabled, start, end)


def test_a_disabled_key_signs_with_no_version(
    hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run, do: Do
) -> None:
    key = new_key()
    queued = ask_signature(key, clock)
    do(key, OperationKind.ROTATE)
    run(ask_update(key, clock, enabled=False))
    ended = run(queued)
    assert ended.state == OperationState.FAILED
    assert "is disabled" in ended.error
    assert hsm.calls["sign"] == 0


def test_the_dates_of_an_earlier_version_are_left_to_the_hsm(
    hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run, do: Do
) -> None:
    key = new_key()
    queued = ask_signature(key, clock)
    do(key, OperationKind.ROTATE)
    run(ask_update(key, clock, not_before=clock() + DAY))
    assert run(queued).state == OperationState.SUCCEEDED
