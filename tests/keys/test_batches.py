"""Many keys at once: all or none, in turn, stopped or slowed down together."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import connection, connections

from audit.models import AuditRecord
from cryptosources.errors import SourceInactive
from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes, KeyInfo, KeySpec
from cryptosources.providers.errors import AuthenticationFailed, ProviderError, Throttled
from cryptosources.providers.memory import MemoryHsm, MemoryProvider
from cryptosources.services.connections import provider_for
from keys.lifecycle import OperationKind, OperationState, Residency
from keys.models import Installation, KeyBatch, KeyOperation, ManagedKey
from keys.naming import counted_names
from keys.services import batches, dispatch, operations, requests
from keys.services.refusals import OperationRefused
from tests.conftest import Clock
from tests.keys.conftest import ALICE

NewKey = Callable[..., ManagedKey]
K, S = OperationKind, OperationState


def ask(
    source: CryptoSource, clock: Clock, count: int = 3, *, token: UUID | None = None, base: str = "eseal-"
) -> KeyBatch:
    return batches.generate_batch(
        token=token or uuid4(),
        source=source,
        names=counted_names(base, count=count),
        algorithm=KeyAlgorithm.EC_P256,
        attributes=KeyAttributes(tags={"use": "seals"}),
        actor=ALICE,
        now=clock(),
    )


def fail_all(batch: KeyBatch, clock: Clock) -> None:
    """As when the HSM refused every creation."""
    ManagedKey.objects.filter(operations__batch=batch).update(residency=Residency.NOT_CREATED)
    batch.operations.update(state=S.FAILED, finished_at=clock(), not_before=None)


class Worker:
    """One worker with a queue, and the upkeep every five seconds, on the test's clock."""

    def __init__(self, sent: list[UUID], clock: Clock) -> None:
        self.sent, self.clock = sent, clock
        self.longest_queue = 0

    def pass_seconds(self, seconds: int) -> None:
        for second in range(seconds):
            if second % settings.RESEND_SECONDS == 0:
                dispatch.resend_due(now=self.clock())
            self.work()
            self.clock.advance(seconds=1)

    def work(self) -> None:
        self.longest_queue = max(self.longest_queue, len(self.sent))
        while self.sent:
            operations.perform(operation_id=self.sent.pop(0), clock=self.clock)


@pytest.fixture
def worker(source: CryptoSource, _no_broker: list[UUID], clock: Clock) -> Worker:
    if not Installation.objects.exists():  # emptied after an earlier test with real transactions
        Installation.objects.create()
    return Worker(_no_broker, clock)


def states(batch: KeyBatch) -> set[str]:
    return set(batch.operations.values_list("state", flat=True))


# --- Asking -----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_all_rows_are_made_at_once_and_only_the_first_is_sent(
    source: CryptoSource, clock: Clock, _no_broker: list[UUID]
) -> None:
    batch = ask(source, clock, 20)
    operations_ = list(batch.operations.order_by("not_before").select_related("key"))
    assert [operation.key.name for operation in operations_] == counted_names("eseal-", count=20)
    assert {operation.key.tags["use"] for operation in operations_} == {"seals"}
    assert _no_broker == [operations_[0].pk]
    starts = [operation.not_before for operation in operations_]
    assert starts == [clock() + number * batches.CREATION_PACE for number in range(20)]
    requested = AuditRecord.objects.filter(action="key.generate", outcome="requested")
    assert {record.details["batch"] for record in requested} == {str(batch.pk)}
    assert requested.count() == 20


def test_a_second_batch_of_the_source_queues_behind_the_first(source: CryptoSource, clock: Clock) -> None:
    first = ask(source, clock, 5)
    second = ask(source, clock, 5, base="other-")
    last = first.operations.order_by("-not_before").values_list("not_before", flat=True)[0]
    starts = second.operations.order_by("not_before").values_list("not_before", flat=True)
    assert last is not None
    assert starts[0] == last + batches.CREATION_PACE


def test_a_batch_does_not_wait_behind_a_key_that_is_paused_by_an_error(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock
) -> None:
    paused = requests.generate_key(
        source=source, name="seal-1", algorithm=KeyAlgorithm.EC_P256, actor=ALICE, now=clock()
    )
    hsm.fail_next("create", Throttled("slow down", retry_after=300.0))
    operations.perform(operation_id=paused.pk, clock=clock)
    assert ask(source, clock).operations.earliest("not_before").not_before == clock()


def test_the_same_form_sent_twice_asks_once(source: CryptoSource, clock: Clock) -> None:
    token = uuid4()
    assert ask(source, clock, token=token) == ask(source, clock, token=token)
    assert ManagedKey.objects.count() == KeyOperation.objects.count() == 3


def test_a_form_gone_back_to_may_ask_for_other_names(source: CryptoSource, clock: Clock) -> None:
    token = uuid4()
    first = ask(source, clock, token=token)
    second = ask(source, clock, token=token, base="other-")
    assert first != second
    assert ManagedKey.objects.count() == 6


@pytest.mark.parametrize(
    ("algorithm", "tags"),
    [(KeyAlgorithm.RSA_3072, {"use": "seals"}), (KeyAlgorithm.EC_P256, {"use": "tests"})],
)
def test_a_form_gone_back_to_may_ask_for_other_keys_of_the_same_names(
    source: CryptoSource, clock: Clock, algorithm: KeyAlgorithm, tags: dict[str, str]
) -> None:
    def again(token: UUID) -> KeyBatch:
        return batches.generate_batch(
            token=token,
            source=source,
            names=counted_names("eseal-", count=3),
            algorithm=algorithm,
            attributes=KeyAttributes(tags=tags),
            actor=ALICE,
            now=clock(),
        )

    first = ask(source, clock)
    with pytest.raises(OperationRefused, match="Taken in this source already"):
        again(first.pk)
    fail_all(first, clock)
    second = again(first.pk)
    assert second.pk != first.pk
    assert second.algorithm == algorithm
    assert {key.tags["use"] for key in ManagedKey.objects.filter(operations__batch=second)} == {tags["use"]}


def test_one_key_asked_for_by_the_same_form_as_another_type_is_not_the_first_one(
    source: CryptoSource, clock: Clock
) -> None:
    def one(algorithm: KeyAlgorithm) -> KeyOperation:
        return requests.generate_key(
            source=source, name="seal-1", algorithm=algorithm, actor=ALICE, now=clock(), token=token
        )

    token = uuid4()
    one(KeyAlgorithm.EC_P256)
    with pytest.raises(OperationRefused, match="already has a key"):
        one(KeyAlgorithm.RSA_3072)


def test_one_key_asked_for_twice_by_the_same_form_is_made_once(source: CryptoSource, clock: Clock) -> None:
    token = uuid4()
    asked = [
        requests.generate_key(
            source=source,
            name=name,
            algorithm=KeyAlgorithm.EC_P256,
            actor=ALICE,
            now=clock(),
            token=token,
        )
        for name in ("seal-1", "seal-1", "seal-2")
    ]
    assert asked[0] == asked[1]
    assert asked[0].pk == token
    assert asked[2] != asked[0]
    assert sorted(ManagedKey.objects.values_list("name", flat=True)) == ["seal-1", "seal-2"]


def test_taken_names_are_told_and_nothing_is_made(
    source: CryptoSource, new_key: NewKey, clock: Clock
) -> None:
    for name in ("ESEAL-002", "eseal-009"):
        new_key(name)
    with pytest.raises(OperationRefused, match=r"ESEAL-002, eseal-009\. Nothing was created") as refused:
        ask(source, clock, 10)
    assert refused.value.field == "name"
    assert ManagedKey.objects.count() == 2
    assert not KeyBatch.objects.exists()


@pytest.mark.parametrize(
    ("names", "field"),
    [
        (["a", "a"], "name"),
        (["a", "A"], "name"),
        (["good", "not good"], "name"),
        (["a", "b" * 128], "name"),
        ([f"key-{number}" for number in range(501)], "count"),
    ],
)
def test_unfit_names_are_refused(source: CryptoSource, clock: Clock, names: list[str], field: str) -> None:
    with pytest.raises(OperationRefused) as refused:
        batches.generate_batch(
            token=uuid4(),
            source=source,
            names=names,
            algorithm=KeyAlgorithm.EC_P256,
            actor=ALICE,
            now=clock(),
        )
    assert refused.value.field == field
    assert not ManagedKey.objects.exists()


def test_an_inactive_source_refuses_a_batch(source: CryptoSource, clock: Clock) -> None:
    source.status = SourceStatus.INACTIVE
    source.save()
    with pytest.raises(SourceInactive):
        ask(source, clock)
    assert AuditRecord.objects.filter(action="key.generate", outcome="refused").count() == 1


# --- Carrying out -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_batch_runs_in_turn_and_leaves_the_queue_to_others(
    source: CryptoSource, clock: Clock, worker: Worker
) -> None:
    batch = ask(source, clock, 30)
    worker.pass_seconds(40)
    assert states(batch) == {S.SUCCEEDED}
    # What waits in front of somebody's signature is what came due between two looks of the upkeep.
    assert worker.longest_queue <= settings.RESEND_SECONDS + 1


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_backed_up_where_the_source_says_so(
    backed_up: CryptoSource, clock: Clock, worker: Worker
) -> None:
    batch = ask(backed_up, clock, 5)
    worker.pass_seconds(15)
    assert states(batch) == {S.SUCCEEDED}
    assert not ManagedKey.objects.filter(verified_backup=None).exists()


@pytest.mark.django_db(transaction=True)
def test_fifty_keys_come_through_with_an_hsm_that_throttles(
    source: CryptoSource, clock: Clock, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One creation in four seconds: a quarter of the published rate, answered by 429 otherwise."""
    create, taken = MemoryProvider.create_key, [clock()]
    refused = []

    def slow(self: MemoryProvider, spec: KeySpec) -> KeyInfo:
        if clock() < taken[-1]:
            refused.append(spec.name)
            raise Throttled("slower", operation="create", key=spec.name, code="429")
        taken.append(clock() + timedelta(seconds=4))
        return create(self, spec)

    monkeypatch.setattr(MemoryProvider, "create_key", slow)
    batch = ask(source, clock, 50)
    worker.pass_seconds(1200)
    assert refused
    assert states(batch) == {S.SUCCEEDED}
    assert ManagedKey.objects.filter(residency=Residency.RESIDENT).count() == 50


def test_a_slower_pace_puts_off_what_has_not_started(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock
) -> None:
    batch = ask(source, clock, 4)
    first, *rest = batch.operations.order_by("not_before")
    hsm.fail_next("create", Throttled("slower", retry_after=90.0))
    operations.perform(operation_id=first.pk, clock=clock)
    moved = list(batch.operations.exclude(pk=first.pk).order_by("not_before"))
    assert [row.not_before for row in moved] == [
        (row.not_before or clock()) + timedelta(seconds=90) for row in rest
    ]
    assert [row.due_at for row in moved] == [row.not_before for row in moved]
    first.refresh_from_db()
    assert first.state == S.PENDING


@pytest.mark.parametrize("error", [AuthenticationFailed("The client secret is wrong.", code="AADSTS7000215")])
@pytest.mark.django_db(transaction=True)
def test_a_refused_sign_in_is_tried_once_and_stops_the_rest(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, worker: Worker, error: ProviderError
) -> None:
    batch = ask(source, clock, 10)
    hsm.fail_next("read", error, times=20)
    worker.pass_seconds(20)
    assert states(batch) == {S.FAILED}
    assert hsm.calls["read"] == 1
    told = batch.operations.filter(error__contains="another key of this batch failed").count()
    assert told == 9
    assert set(ManagedKey.objects.values_list("residency", flat=True)) == {Residency.NOT_CREATED}
    assert AuditRecord.objects.filter(action="key.generate", outcome="failed").count() == 10


@pytest.mark.django_db(transaction=True)
def test_what_failed_is_tried_again_together(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, worker: Worker
) -> None:
    batch = ask(source, clock, 6)
    hsm.fail_next("read", AuthenticationFailed("wrong"), times=1)
    worker.pass_seconds(10)
    assert states(batch) == {S.FAILED}
    assert batches.retry_batch(batch=batch, actor=ALICE, now=clock()) == 6
    starts = batch.operations.order_by("key__name").values_list("not_before", flat=True)
    assert list(starts) == [clock() + number * batches.CREATION_PACE for number in range(6)]
    worker.pass_seconds(15)
    assert states(batch) == {S.SUCCEEDED}
    with pytest.raises(OperationRefused, match="No operation"):
        batches.retry_batch(batch=batch, actor=ALICE, now=clock())


@pytest.mark.django_db(transaction=True)
def test_a_second_click_finds_nothing_to_try_again_and_leaves_one_record(
    source: CryptoSource, clock: Clock
) -> None:
    batch = ask(source, clock, 20)
    fail_all(batch, clock)
    assert batches.retry_batch(batch=batch, actor=ALICE, now=clock()) == 20
    with pytest.raises(OperationRefused, match="No operation of this batch"):
        batches.retry_batch(batch=batch, actor=ALICE, now=clock())
    refused = AuditRecord.objects.get(outcome="refused")
    assert (refused.action, refused.subject_name) == ("key.generate", "Vault A")


def test_what_cannot_be_tried_again_leaves_no_record_and_no_gap(source: CryptoSource, clock: Clock) -> None:
    batch = ask(source, clock, 4)
    fail_all(batch, clock)
    clock.advance(seconds=10)
    requests.generate_key(
        source=source, name="eseal-002", algorithm=KeyAlgorithm.EC_P256, actor=ALICE, now=clock()
    )
    assert batches.retry_batch(batch=batch, actor=ALICE, now=clock()) == 3
    starts = batch.operations.filter(state=S.PENDING).order_by("not_before")
    seconds = [
        (operation.not_before - clock()).total_seconds() for operation in starts if operation.not_before
    ]
    assert seconds == [0, 1, 2]
    assert not AuditRecord.objects.filter(outcome="refused").exists()


def test_trying_a_batch_again_takes_six_queries_a_key(
    source: CryptoSource, clock: Clock, django_assert_max_num_queries: Any
) -> None:
    batch = ask(source, clock, 40)
    fail_all(batch, clock)
    with django_assert_max_num_queries(15 + 6 * 40):
        batches.retry_batch(batch=batch, actor=ALICE, now=clock())


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
def test_two_clicks_at_the_same_time_take_each_key_up_once(source: CryptoSource, clock: Clock) -> None:
    batch = ask(source, clock, 10)
    fail_all(batch, clock)
    taken: list[int] = []

    def click() -> None:
        try:
            taken.append(batches.retry_batch(batch=batch, actor=ALICE, now=clock()))
        except OperationRefused:
            taken.append(0)

    at_the_same_time(click, click)
    assert sorted(taken) == [0, 10]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
def test_two_batches_at_the_same_time_do_not_start_in_the_same_seconds(
    source: CryptoSource, clock: Clock
) -> None:
    at_the_same_time(*(partial(ask, source, clock, 20, base=base) for base in ("a-", "b-")))
    starts = list(KeyOperation.objects.values_list("not_before", flat=True))
    assert len(set(starts)) == len(starts) == 40


def at_the_same_time(*calls: Callable[[], object]) -> None:
    """Each in a thread with a connection of its own; an error of one is the test's."""
    together = Barrier(len(calls), timeout=30)

    def run(call: Callable[[], object]) -> None:
        try:
            together.wait()
            call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as threads:
        for done in [threads.submit(run, call) for call in calls]:
            done.result(timeout=60)


def test_one_bad_name_in_the_hsm_stops_no_other(
    source: CryptoSource, hsm: MemoryHsm, clock: Clock, worker: Worker
) -> None:
    provider_for(source=source).create_key(KeySpec("eseal-002", KeyAlgorithm.EC_P256))
    batch = ask(source, clock, 4)
    worker.pass_seconds(12)
    failed = batch.operations.get(state=S.FAILED)
    assert failed.key.name == "eseal-002"
    assert batch.operations.filter(state=S.SUCCEEDED).count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_signature_waits_behind_a_few_creations_at_most(
    source: CryptoSource, new_key: NewKey, clock: Clock, worker: Worker
) -> None:
    key = new_key()
    ask(source, clock, 200)
    worker.pass_seconds(12)
    clock.advance(seconds=4)
    dispatch.resend_due(now=clock())
    asked = requests.request_signature(
        key=key,
        algorithm=SignatureAlgorithm.ES256,
        digest=hashlib.sha256(b"data").digest(),
        label="",
        actor=ALICE,
        now=clock(),
    )
    before = worker.sent.index(asked.pk)
    assert 0 < before <= settings.RESEND_SECONDS + 1
