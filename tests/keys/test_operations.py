"""Operations from the asking to the end, against the in-memory HSM."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction

from audit.models import AuditRecord
from cryptosources.errors import SourceInactive
from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm, signature_algorithms
from cryptosources.providers.api import KeyRef, KeySpec
from cryptosources.providers.errors import (
    AuthenticationFailed,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
)
from cryptosources.providers.memory import MemoryHsm
from cryptosources.providers.signatures import signature_is_valid
from cryptosources.services.connections import provider_for
from keys.lifecycle import OperationKind, OperationState, Residency, Step
from keys.models import KeyBackup, KeyOperation, KeyUse, ManagedKey
from keys.services import dispatch, operations, requests
from keys.services.refusals import OperationRefused
from keys.services.steps import STEPS
from tests.conftest import Clock
from tests.keys.conftest import ALICE, Run

Do = Callable[[ManagedKey, OperationKind], KeyOperation]
NewKey = Callable[..., ManagedKey]
K, R = OperationKind, Residency


def _sign(
    key: ManagedKey, algorithm: SignatureAlgorithm, clock: Clock, data: bytes = b"data"
) -> KeyOperation:
    digest = hashlib.new(algorithm.hash_name, data).digest()
    return requests.request_signature(
        key=key, algorithm=algorithm, digest=digest, label="a file", actor=ALICE, now=clock()
    )


def _generate(source: CryptoSource, clock: Clock, name: str = "seal-1") -> KeyOperation:
    return requests.generate_key(
        source=source, name=name, algorithm=KeyAlgorithm.EC_P256, actor=ALICE, now=clock()
    )


# --- Generate -------------------------------------------------------------------------------------


def test_a_generated_key_is_resident_tagged_and_recorded(hsm: MemoryHsm, new_key: NewKey) -> None:
    key = new_key()
    assert key.where is R.RESIDENT
    assert key.versions.get().version == key.current_version
    assert hsm.keys["seal-1"].tags["keymanager-key"] == str(key.pk)
    assert key.verified_backup is None
    assert [(r.action, r.outcome) for r in AuditRecord.objects.order_by("at", "pk")] == [
        ("key.generate", "requested"),
        ("key.generate", "succeeded"),
    ]


def test_backup_and_restore_mode_backs_up_before_the_key_counts_as_resident(
    backed_up: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run
) -> None:
    operation = _generate(backed_up, clock)
    operations.perform(operation_id=operation.pk, clock=clock)
    assert ManagedKey.objects.get().where is R.CREATING
    key = run(operation).key
    assert key.where is R.RESIDENT
    assert key.verified_backup is not None
    assert key.verified_backup.proof == "hsm"
    assert key.verified_backup.versions == [key.current_version]
    assert hsm.calls["backup"] == 1


def test_a_create_whose_answer_was_lost_is_adopted_not_repeated(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run
) -> None:
    hsm.fail_next("create", OutcomeUnknown("no answer"), after=True)
    key = run(_generate(source, clock)).key
    assert key.where is R.RESIDENT
    assert hsm.calls["create"] == 1
    assert len(hsm.keys["seal-1"].versions) == 1


def test_a_key_somebody_else_made_is_neither_adopted_nor_changed(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run
) -> None:
    provider_for(source=source).create_key(KeySpec("seal-1", KeyAlgorithm.EC_P256))
    before = hsm.keys["seal-1"]
    operation = run(_generate(source, clock))
    assert operation.state == OperationState.FAILED
    assert "did not create" in operation.error
    assert operation.key.where is R.NOT_CREATED
    assert hsm.keys["seal-1"] == before


def test_a_refused_create_frees_the_name_and_can_be_tried_again(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run, new_key: NewKey
) -> None:
    hsm.fail_next("create", AuthenticationFailed("wrong secret", code="AADSTS7000215"))
    operation = run(_generate(source, clock))
    assert (operation.state, operation.error_code) == (OperationState.FAILED, "AADSTS7000215")
    assert operation.key.where is R.NOT_CREATED
    assert hsm.calls["create"] == 1, "a failed sign-in is never repeated by itself"
    again = run(requests.retry_operation(operation=operation, actor=ALICE, now=clock()))
    assert again.state == OperationState.SUCCEEDED
    assert again.key.where is R.RESIDENT


def test_a_create_whose_outcome_stays_unknown_waits_for_a_person(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, run: Run
) -> None:
    hsm.fail_next("create", OutcomeUnknown("no answer"), times=100)
    operation = run(_generate(source, clock))
    assert operation.state == OperationState.FAILED
    assert operation.key.where is R.FAULTED
    assert operation.key.fault
    assert hsm.calls["create"] == settings.MAX_ATTEMPTS


def test_names_are_checked_and_unique_without_regard_to_case(
    source: CryptoSource, clock: Clock, new_key: NewKey
) -> None:
    new_key("Seal-1")
    for name in ("seal-1", "under_score", "", "a" * 128, "späß"):
        with pytest.raises(OperationRefused) as refused:
            _generate(source, clock, name)
        assert refused.value.field == "name"
    with pytest.raises(IntegrityError), transaction.atomic():
        ManagedKey.objects.create(
            source=source, name="SEAL-1", algorithm="EC-P-256", created_at=clock(), updated_at=clock()
        )


# --- Backup, delete, recover, purge, restore, rotate ------------------------------------------------


def test_the_whole_cycle_brings_the_same_key_back(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    public_key = bytes(key.versions.get().public_key_der)
    for kind, residency in (
        (K.BACKUP, R.RESIDENT),
        (K.DELETE, R.DELETED),
        (K.RECOVER, R.RESIDENT),
        (K.DELETE, R.DELETED),
        (K.PURGE, R.ABSENT),
        (K.RESTORE, R.RESIDENT),
    ):
        operation = do(key, kind)
        assert operation.state == OperationState.SUCCEEDED, operation.error
        key.refresh_from_db()
        assert key.where is residency
        assert ("seal-1" in hsm.keys) is (residency is not R.ABSENT)
    assert bytes(key.versions.get().public_key_der) == public_key
    assert key.purge_override_by == ""
    assert run(_sign(key, SignatureAlgorithm.ES256, clock)).state == OperationState.SUCCEEDED


@pytest.mark.parametrize("kind", [K.DELETE, K.PURGE, K.RESTORE, K.RECOVER, K.BACKUP, K.ROTATE])
def test_a_step_whose_answer_was_lost_is_done_once(
    kind: OperationKind, hsm: MemoryHsm, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    before = {
        K.PURGE: [K.DELETE],
        K.RECOVER: [K.DELETE],
        K.RESTORE: [K.DELETE, K.PURGE],
    }.get(kind, [])
    for earlier in before:
        do(key, earlier)
    right = "create" if kind is K.ROTATE else kind.value
    calls = hsm.calls[right]
    hsm.fail_next(right, OutcomeUnknown("no answer"), after=True)
    operation = do(key, kind)
    assert operation.state == OperationState.SUCCEEDED, operation.error
    if kind is not K.BACKUP:  # a second blob does no harm; only the committed one counts
        assert hsm.calls[right] == calls + 1
    assert KeyBackup.objects.filter(key=key).count() == (2 if kind is K.BACKUP else 1)
    if kind is K.ROTATE:
        assert len(hsm.keys["seal-1"].versions) == 2


def test_a_purge_without_a_backup_needs_the_typed_name_and_is_recorded(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    do(key, K.DELETE)
    with pytest.raises(OperationRefused) as refused:
        requests.request_purge(key=key, typed_name="seal-2", actor=ALICE, now=clock())
    assert refused.value.field == "typed_name"
    do(key, K.PURGE)
    key.refresh_from_db()
    assert key.where is R.PURGED
    assert key.purge_override_by == ALICE.name
    assert not hsm.keys


def test_a_purge_is_refused_when_the_backup_does_not_open(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    do(key, K.DELETE)
    backup = KeyBackup.objects.get()
    sealed = bytes(backup.sealed_blob)
    backup.sealed_blob = sealed[:-1] + bytes([sealed[-1] ^ 1])
    backup.save()
    operation = do(key, K.PURGE)
    assert operation.state == OperationState.FAILED
    assert hsm.deleted("seal-1"), "the key is still there"
    backup.refresh_from_db()
    KeyBackup.objects.filter(pk=backup.pk).update(sha256="0" * 64)
    assert do(key, K.PURGE).state == OperationState.FAILED
    assert hsm.deleted("seal-1")


def test_the_database_refuses_an_absent_key_without_a_backup(new_key: NewKey) -> None:
    key = new_key()
    with pytest.raises(IntegrityError), transaction.atomic():
        ManagedKey.objects.filter(pk=key.pk).update(residency=R.ABSENT)


def test_a_foreign_backup_is_a_fault_with_its_reason(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    for kind in (K.BACKUP, K.DELETE, K.PURGE):
        do(key, kind)
    hsm.config = type(hsm.config)(name=hsm.config.name, domain="elsewhere")
    provider = provider_for(source=source)
    provider._config = hsm.config  # type: ignore[attr-defined]  # the HSM changes its security domain
    operation = do(key, K.RESTORE)
    key.refresh_from_db()
    assert operation.state == OperationState.FAILED
    assert key.where is R.FAULTED
    assert "security domain" in key.fault


def test_a_key_that_is_not_the_one_on_record_is_never_deleted(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    tags = hsm.keys.pop("seal-1").tags
    provider_for(source=source).create_key(KeySpec("seal-1", KeyAlgorithm.EC_P256, tags))
    operation = do(key, K.DELETE)
    key.refresh_from_db()
    assert operation.state == OperationState.FAILED
    assert key.where is R.FAULTED
    assert hsm.keys["seal-1"].deleted_at is None


def test_a_key_removed_outside_is_found_out(hsm: MemoryHsm, new_key: NewKey, do: Do) -> None:
    key = new_key()
    del hsm.keys["seal-1"]
    operation = do(key, K.BACKUP)
    key.refresh_from_db()
    assert "outside this console" in operation.error
    assert key.where is R.FAULTED


def test_rotation_makes_the_old_backup_insufficient(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    do(key, K.ROTATE)
    key.refresh_from_db()
    assert key.versions.count() == 2
    assert key.verified_backup is None
    assert key.current_version == key.versions.first().version  # type: ignore[union-attr]
    for kind in (K.BACKUP, K.DELETE, K.PURGE, K.RESTORE):
        assert do(key, kind).state == OperationState.SUCCEEDED
        key.refresh_from_db()
    assert len(hsm.keys["seal-1"].versions) == 2


def test_rotation_in_backup_mode_backs_up_again(backed_up: CryptoSource, new_key: NewKey, do: Do) -> None:
    key = new_key()
    do(key, K.ROTATE)
    key.refresh_from_db()
    assert key.verified_backup is not None
    assert len(key.verified_backup.versions) == 2


def test_a_backup_without_the_right_to_restore_is_only_decoded(
    hsm: MemoryHsm, new_key: NewKey, do: Do
) -> None:
    from cryptosources.providers.api import Right

    key = new_key()
    hsm.deny(Right.RESTORE)
    do(key, K.BACKUP)
    assert KeyBackup.objects.get().proof == "decoded"


# --- Sign -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA_2048, *[a for a in KeyAlgorithm if not a.is_rsa]])
def test_signatures_verify_outside_and_are_counted(
    algorithm: KeyAlgorithm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key("signer", algorithm)
    fitting = signature_algorithms(algorithm)
    for signature_algorithm in fitting:
        operation = run(_sign(key, signature_algorithm, clock))
        assert operation.state == OperationState.SUCCEEDED, operation.error
        digest = hashlib.new(signature_algorithm.hash_name, b"data").digest()
        signature = base64.b64decode(operation.result["signature"])
        public = bytes(key.versions.get().public_key_der)
        assert signature_is_valid(
            public_key_der=public, digest=digest, signature=signature, algorithm=signature_algorithm
        )
    assert KeyUse.objects.get().signatures == len(fitting)


def test_a_wrong_digest_or_algorithm_is_refused_before_anything_happens(
    new_key: NewKey, clock: Clock
) -> None:
    key = new_key()
    count = KeyOperation.objects.count()
    with pytest.raises(OperationRefused) as refused:
        requests.request_signature(
            key=key, algorithm=SignatureAlgorithm.ES256, digest=b"short", label="", actor=ALICE, now=clock()
        )
    assert refused.value.field == "digest"
    with pytest.raises(OperationRefused) as refused:
        _sign(key, SignatureAlgorithm.RS256, clock)
    assert refused.value.field == "algorithm"
    assert KeyOperation.objects.count() == count


def test_a_signature_that_does_not_verify_is_never_handed_out(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    other = provider_for(source=source).create_key(KeySpec("other", KeyAlgorithm.EC_P256))
    version = hsm.keys["seal-1"].versions[0]
    stolen = hsm.keys[other.ref.name].versions[0].private_key
    changed = replace(version, private_key=stolen)
    hsm.keys["seal-1"] = replace(hsm.keys["seal-1"], versions=(changed,))
    operation = run(_sign(key, SignatureAlgorithm.ES256, clock))
    key.refresh_from_db()
    assert operation.state == OperationState.FAILED
    assert operation.result == {}
    assert key.where is R.FAULTED
    assert not KeyUse.objects.exists()


# --- Gates ------------------------------------------------------------------------------------------


def test_an_inactive_source_stops_new_and_queued_work_but_not_deletes(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock, run: Run
) -> None:
    key = new_key()
    queued = _sign(key, SignatureAlgorithm.ES256, clock)
    CryptoSource.objects.filter(pk=source.pk).update(status="inactive")
    key = ManagedKey.objects.get(pk=key.pk)
    assert run(queued).state == OperationState.FAILED
    assert hsm.calls["sign"] == 0
    with pytest.raises(SourceInactive):
        requests.request_operation(key=key, kind=K.ROTATE, actor=ALICE, now=clock())
    with pytest.raises(SourceInactive):
        _sign(key, SignatureAlgorithm.ES256, clock)
    with pytest.raises(SourceInactive):
        _generate(source, clock, "new")
    for kind in (K.BACKUP, K.DELETE):
        assert do(key, kind).state == OperationState.SUCCEEDED
    with pytest.raises(SourceInactive):
        requests.request_operation(key=key, kind=K.RECOVER, actor=ALICE, now=clock())
    assert do(key, K.PURGE).state == OperationState.SUCCEEDED
    with pytest.raises(SourceInactive):
        requests.request_operation(key=key, kind=K.RESTORE, actor=ALICE, now=clock())


def test_purge_protection_is_explained_before_anything_is_sent(new_key: NewKey, do: Do, clock: Clock) -> None:
    key = new_key()
    do(key, K.DELETE)
    ManagedKey.objects.filter(pk=key.pk).update(purgeable=False)
    with pytest.raises(OperationRefused, match="purge protection"):
        requests.request_purge(key=key, typed_name=key.name, actor=ALICE, now=clock())


def test_one_lifecycle_operation_at_a_time(new_key: NewKey, clock: Clock) -> None:
    key = new_key()
    first = requests.request_operation(key=key, kind=K.BACKUP, actor=ALICE, now=clock())
    with pytest.raises(OperationRefused, match="under way"):
        requests.request_operation(key=key, kind=K.DELETE, actor=ALICE, now=clock())
    _sign(key, SignatureAlgorithm.ES256, clock)
    first.pk = uuid4()
    with pytest.raises(IntegrityError), transaction.atomic():
        first.save(force_insert=True)


# --- Messages, claims, retries ------------------------------------------------------------------------


def test_a_doubled_message_changes_nothing(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = _generate(source, clock)
    create = STEPS[Step.CREATE]

    def create_while_a_copy_arrives(context: object) -> object:
        operations.perform(operation_id=operation.pk, clock=clock)
        return create(context)  # type: ignore[arg-type]

    monkeypatch.setitem(STEPS, Step.CREATE, create_while_a_copy_arrives)
    operations.perform(operation_id=operation.pk, clock=clock)
    operations.perform(operation_id=operation.pk, clock=clock)
    assert hsm.calls["create"] == 1
    assert ManagedKey.objects.get().where is R.RESIDENT


def test_a_holder_that_was_overtaken_writes_nothing(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused worker wakes up after its claim expired and another worker finished the step."""
    operation = _generate(source, clock)
    create = STEPS[Step.CREATE]

    def create_and_sleep_too_long(context: object) -> object:
        write = create(context)  # type: ignore[arg-type]
        monkeypatch.setitem(STEPS, Step.CREATE, create)
        clock.advance(seconds=settings.CLAIM_SECONDS + 1)
        operations.perform(operation_id=operation.pk, clock=clock)
        return write

    monkeypatch.setitem(STEPS, Step.CREATE, create_and_sleep_too_long)
    operations.perform(operation_id=operation.pk, clock=clock)
    assert ManagedKey.objects.get().versions.count() == 1
    assert AuditRecord.objects.filter(action="key.generate", outcome="succeeded").count() == 1
    assert hsm.calls["create"] == 1


def test_a_killed_workers_operation_is_taken_up_when_its_claim_ends(
    source: CryptoSource, clock: Clock, monkeypatch: pytest.MonkeyPatch, _no_broker: list[UUID], run: Run
) -> None:
    operation = _generate(source, clock)

    class Killed(BaseException):
        pass

    def killed(_context: object) -> object:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setitem(STEPS, Step.CREATE, killed)
        with pytest.raises(Killed):
            operations.perform(operation_id=operation.pk, clock=clock)
    _no_broker.clear()
    assert dispatch.resend_due(now=clock()) == 0, "the claim still holds"
    clock.advance(seconds=settings.CLAIM_SECONDS)
    assert dispatch.resend_due(now=clock()) == 1
    assert dispatch.resend_due(now=clock()) == 0, "a second scheduler has nothing to send"
    assert _no_broker == [operation.pk]
    assert run(operation).state == OperationState.SUCCEEDED


def test_a_lost_message_is_sent_again_less_and_less_often(
    source: CryptoSource, clock: Clock, _no_broker: list[UUID]
) -> None:
    _generate(source, clock)
    seen = []
    for second in range(400):
        if dispatch.resend_due(now=clock()):
            seen.append(second)
        clock.advance(seconds=1)
    gaps = [b - a for a, b in pairwise(seen)]
    assert seen[0] == settings.RESEND_SECONDS
    assert gaps == sorted(gaps)
    assert len(seen) < 8


def test_trouble_that_passes_is_waited_for_and_trouble_that_stays_ends_the_operation(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    hsm.fail_next("backup", Throttled("slower", retry_after=40.0))
    before = clock()
    assert do(key, K.BACKUP).state == OperationState.SUCCEEDED
    assert clock() - before >= timedelta(seconds=40)

    hsm.fail_next("delete", ProviderUnavailable("down", code="503"), times=100)
    operation = do(key, K.DELETE)
    assert operation.state == OperationState.FAILED
    assert operation.error_code == "503"
    assert hsm.calls["delete"] == settings.MAX_ATTEMPTS
    key.refresh_from_db()
    assert key.where is R.RESIDENT


def test_only_a_failed_and_latest_operation_can_be_tried_again(
    hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    done = do(key, K.BACKUP)
    with pytest.raises(OperationRefused, match="Only a failed"):
        requests.retry_operation(operation=done, actor=ALICE, now=clock())
    hsm.fail_next("delete", AuthenticationFailed("no"))
    failed = do(key, K.DELETE)
    clock.advance(seconds=1)
    do(key, K.BACKUP)
    with pytest.raises(OperationRefused, match="since"):
        requests.retry_operation(operation=failed, actor=ALICE, now=clock())


def test_no_digest_and_no_key_material_in_the_audit_record(
    source: CryptoSource, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    key = new_key()
    operation = run(_sign(key, SignatureAlgorithm.ES256, clock, b"a secret contract"))
    digest = operation.parameters["digest"]
    for record in AuditRecord.objects.all():
        assert digest not in str(record.details)
    assert KeyRef(key.name).name in str(AuditRecord.objects.values_list("subject_name"))
