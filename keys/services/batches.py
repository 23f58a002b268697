"""Many keys at once: asked for in one transaction, started one a second, tried again together.

A Managed HSM creates about one key a second (vendor's page *Scaling guidance*), so each operation of a
batch carries its own start in ``not_before``; the upkeep task sends it when its time has come. The
worker queue never holds more than a few of them, and what people ask for meanwhile is not held up.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, Max, QuerySet
from django.db.models.functions import Lower

from audit.actors import Actor
from audit.services import Outcome
from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm
from cryptosources.providers.api import KeyAttributes
from cryptosources.services.gate import require_usable
from keys.lifecycle import CREATE_SENT, NAME_FREE, OperationKind, OperationState, Residency
from keys.models import KeyBatch, KeyOperation, ManagedKey
from keys.naming import MOST_AT_ONCE
from keys.services import dispatch, requests, writes
from keys.services.refusals import OperationRefused, recorded
from keys.services.rows import new_key, new_operation, record_outcome, record_request
from keys.services.validity import PLAIN, as_parameters, fit_for_a_new_key

#: The time between the starts of two creations in one source.
CREATION_PACE: Final = timedelta(seconds=1)
_NAMES_SHOWN: Final = 5


@recorded(OperationKind.GENERATE)
def generate_batch(
    *,
    source: CryptoSource,
    names: Sequence[str],
    algorithm: KeyAlgorithm,
    actor: Actor,
    now: datetime,
    attributes: KeyAttributes = PLAIN,
    token: UUID | None = None,
) -> KeyBatch:
    """Ask for one new key for each name: all of them, or none.

    OperationRefused (names taken or malformed, too many) | SourceInactive | FeatureNotLicensed. The same
    form sent twice (the same ``token`` with the same content) asks once.
    """
    token = token or uuid4()
    fitting = fit_for_a_new_key(attributes, now=now)
    parameters = {"algorithm": algorithm.value, **as_parameters(fitting)}
    if (made := _made_before(token, source, names, parameters)) is not None:
        return made
    require_usable(source=source, now=now)
    if not 1 < len(names) <= MOST_AT_ONCE:
        raise OperationRefused(f"Generate 2 to {MOST_AT_ONCE} keys in a batch.", field="count")
    _require_good_names(names)
    _require_free_names(source, names)
    keys = [
        new_key(source=source, name=name, algorithm=algorithm, attributes=fitting, actor=actor, now=now)
        for name in names
    ]
    try:
        with transaction.atomic():
            ManagedKey.objects.bulk_create(keys)
    except IntegrityError as error:  # somebody else, or this form, asked for them in this very moment
        if (made := _made_before(token, source, names, parameters)) is not None:
            return made
        raise OperationRefused("Some of these names were taken just now. Try again.", field="name") from error
    batch = _new_batch(token, source, keys, actor, now)
    _schedule(batch, keys, parameters, actor, now)
    return batch


def _made_before(
    token: UUID, source: CryptoSource, names: Sequence[str], parameters: Mapping[str, object]
) -> KeyBatch | None:
    """What this form has made already; *back* in a browser may bring its token again for something else."""
    made = KeyBatch.objects.filter(
        pk=token, source=source, count=len(names), first_name=names[0], last_name=names[-1]
    ).first()
    asked = made.operations.first() if made else None
    return made if asked is not None and asked.parameters == parameters else None


def _require_good_names(names: Sequence[str]) -> None:
    field = ManagedKey._meta.get_field("name")
    try:
        for name in names:
            field.run_validators(name)
    except ValidationError as error:
        raise OperationRefused(f"{name}: {' '.join(error.messages)}", field="name") from error
    if len({name.lower() for name in names}) < len(names):
        raise OperationRefused("A name comes twice.", field="name")


def _require_free_names(source: CryptoSource, names: Sequence[str]) -> None:
    rows = ManagedKey.objects.filter(source=source).exclude(residency__in=[r.value for r in NAME_FREE])
    wanted = [name.lower() for name in names]
    taken = list(
        rows.annotate(lower=Lower("name"))
        .filter(lower__in=wanted)
        .order_by("name")
        .values_list("name", flat=True)
    )
    if taken:
        more = f" and {len(taken) - _NAMES_SHOWN} more" if len(taken) > _NAMES_SHOWN else ""
        raise OperationRefused(
            f"Taken in this source already: {', '.join(taken[:_NAMES_SHOWN])}{more}. Nothing was created.",
            field="name",
        )


def _new_batch(
    token: UUID, source: CryptoSource, keys: Sequence[ManagedKey], actor: Actor, now: datetime
) -> KeyBatch:
    return KeyBatch.objects.create(
        id=uuid4() if KeyBatch.objects.filter(pk=token).exists() else token,
        source=source,
        algorithm=keys[0].algorithm,
        first_name=keys[0].name,
        last_name=keys[-1].name,
        count=len(keys),
        actor_name=actor.name,
        requested_at=now,
    )


def _schedule(
    batch: KeyBatch, keys: Sequence[ManagedKey], parameters: Mapping[str, object], actor: Actor, now: datetime
) -> None:
    """The operations, each with its start, and their records."""
    operations = []
    for number, (key, start) in enumerate(zip(keys, _starts(batch.source, now), strict=False)):
        operation = new_operation(
            key=key, kind=OperationKind.GENERATE, parameters=parameters, actor=actor, now=now
        )
        operation.batch = batch
        # Lists show the newest first; a microsecond apart, they show a batch in its order.
        operation.requested_at = now - timedelta(microseconds=number)
        operation.not_before = operation.due_at = start
        operations.append(operation)
    KeyOperation.objects.bulk_create(operations)
    for operation in operations:
        record_request(operation, actor, {"batch": str(batch.pk), "algorithm": batch.algorithm}, now)
    _send_first(operations, now)


def _starts(source: CryptoSource, now: datetime) -> Iterator[datetime]:
    """When creations may start, one after the other, behind those that are scheduled in this source.

    The source is locked until the transaction ends: who schedules at the same time comes behind. What is
    paused after an error comes back by itself, and nobody waits for it.
    """
    CryptoSource.objects.select_for_update(no_key=True).only("pk").get(pk=source.pk)
    scheduled = _unstarted(KeyOperation.objects.all()).filter(
        kind=OperationKind.GENERATE, key__source=source, not_before__gte=now
    )
    latest = scheduled.aggregate(latest=Max("not_before"))["latest"]
    return _paced(latest + CREATION_PACE if latest else now)


def _paced(start: datetime) -> Iterator[datetime]:
    while True:
        yield start
        start += CREATION_PACE


def _send_first(operations: Sequence[KeyOperation], now: datetime) -> None:
    """Only what may start at once is sent; the upkeep task sends each of the others in its time."""
    for operation in operations:
        if operation.not_before is not None and operation.not_before <= now:
            dispatch.send_on_commit(operation_id=operation.pk)


@recorded(OperationKind.GENERATE)
def retry_batch(*, batch: KeyBatch, actor: Actor, now: datetime) -> int:
    """Take all failed operations of a batch up again, one a second. Returns how many.

    One that cannot be tried again (something else was done with its key) stays failed. OperationRefused
    when none can, as when two people ask at once: the second finds nothing failed. SourceInactive |
    FeatureNotLicensed.
    """
    KeyBatch.objects.select_for_update().get(pk=batch.pk)
    require_usable(source=batch.source, now=now)
    failed = _locked_failures(batch)
    starts = _starts(batch.source, now)
    start, taken_up = next(starts), 0
    for operation in failed:
        try:
            requests.take_up(operation, operation.key, actor=actor, now=now, start=start)
        except OperationRefused:
            continue
        start, taken_up = next(starts), taken_up + 1
    if not taken_up:
        raise OperationRefused("No operation of this batch can be tried again.")
    return taken_up


def _locked_failures(batch: KeyBatch) -> list[KeyOperation]:
    """Keys first, as everybody locks them; in the order of their names."""
    failed = batch.operations.filter(state=OperationState.FAILED)
    rows = ManagedKey.objects.select_for_update(of=("self",)).select_related("source")
    keys = {key.pk: key for key in rows.filter(pk__in=failed.values("key")).order_by("pk")}
    locked = list(failed.select_for_update(of=("self",)).filter(key__in=keys).order_by("pk"))
    for operation in locked:
        operation.key = keys[operation.key_id]
    return sorted(locked, key=lambda operation: operation.key.name)


def put_off(*, batch_id: UUID, by: timedelta) -> None:
    """The HSM asked for a slower pace: what has not started starts so much later."""
    later = {"not_before": F("not_before") + by, "due_at": F("due_at") + by}
    _not_started(batch_id).filter(not_before__isnull=False).update(**later)


def stop_rest(*, batch_id: UUID, reason: str, now: datetime) -> None:
    """End what has not started: every other key would meet the same, and a refused sign-in again locks.

    Each in a transaction of its own; after a crash the rest starts, meets the reason, and ends here.
    """
    for pk, key_id in _not_started(batch_id).values_list("pk", "key_id"):
        with transaction.atomic():
            _stop(pk, key_id, reason, now)


def _stop(pk: UUID, key_id: UUID, reason: str, now: datetime) -> None:
    key = ManagedKey.objects.select_for_update(of=("self",)).select_related("source").get(pk=key_id)
    message = f"Not started, because another key of this batch failed: {reason}"
    ended = {"state": OperationState.FAILED, "finished_at": now, "not_before": None, "error": message}
    if not _unstarted(KeyOperation.objects.filter(pk=pk)).update(**ended):
        return
    operation = KeyOperation.objects.get(pk=pk)
    operation.key = key
    if not operation.memo.get(CREATE_SENT):
        writes.faulted(key, Residency.NOT_CREATED, message, now=now)
    record_outcome(operation, Outcome.FAILED, {"reason": message}, now)


def _not_started(batch_id: UUID) -> QuerySet[KeyOperation]:
    return _unstarted(KeyOperation.objects.filter(batch_id=batch_id))


def _unstarted(operations: QuerySet[KeyOperation]) -> QuerySet[KeyOperation]:
    """No worker has had them since they were asked for, or asked for again."""
    return operations.filter(state=OperationState.PENDING, attempts=0, error="")
