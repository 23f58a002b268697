"""Carrying out operations: claim, one step, settle. Runs in workers.

The intent is committed before the HSM is called, the call happens outside any transaction, and the outcome is
committed only while the claim is still ours. A killed worker leaves a claim that expires; the upkeep
task then sends the operation again and the step looks before it acts.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from audit.actors import ActorKind
from audit.services import Outcome
from cryptosources.errors import SourceError
from cryptosources.providers.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConfigurationError,
    KeyMismatch,
    OutcomeUnknown,
    ProviderError,
    Throttled,
)
from cryptosources.services.gate import require_licensed
from keys.lifecycle import (
    CREATE_SENT,
    KNOWN_ENDS,
    MOVES,
    SOURCE_TROUBLE,
    UNDER_WAY,
    UPDATE_SENT,
    OperationKind,
    OperationState,
    Residency,
    Step,
)
from keys.models import KeyOperation, ManagedKey
from keys.services import batches, dispatch, writes
from keys.services.context import (
    ClaimLost,
    StepContext,
    StepFailed,
    Write,
    claim_end,
)
from keys.services.rows import record_outcome
from keys.services.steps import STEPS
from keys.services.validity import KeyNotValid
from licensing.services import FeatureNotLicensed
from secretstore.errors import SecretStoreError

log = structlog.get_logger(__name__)

#: What stops the other keys of a batch as well; a refused sign-in is not even tried again.
_OF_SOURCE = (AuthenticationFailed, AccessDenied, ConfigurationError)
#: Pauses after a retryable error, seconds: 1, 2, 4 … up to this; a vendor's Retry-After wins.
_LONGEST_PAUSE = 60.0


def perform(*, operation_id: UUID, clock: Callable[[], datetime]) -> None:
    """Carry out the current step of an operation, if it is due and nobody else holds it.

    Idempotent: a doubled, late or stray message finds nothing to claim. An error of ours is raised again
    after the claim is given up, so that it is logged and the operation still ends after its attempts.
    """
    token = _claim(operation_id, clock())
    if token is None:
        return
    operation = KeyOperation.objects.select_related("key__source").get(pk=operation_id)
    context = StepContext(operation, token, clock)
    try:
        _attempt(context)
    except ClaimLost:
        log.warning("operation.claim_lost", operation=str(operation_id), step=operation.step)
    except Exception as error:
        _break_off(context, error)
        raise


def _attempt(context: StepContext) -> None:
    operation = context.operation
    try:
        if operation.attempts > settings.MAX_ATTEMPTS:
            raise StepFailed(f"Given up after {settings.MAX_ATTEMPTS} attempts.", code="attempts")
        _require_licence(context)
        write = STEPS[Step(operation.step)](context)
        _settle(context, write)
    except SoftTimeLimitExceeded:
        _not_done(context, OutcomeUnknown("The step took longer than a task may.", code="time limit"))
    except ProviderError as error:
        _not_done(context, error)
    except StepFailed as error:
        _fail(context, _Failure(error.message, code=error.code, residency=error.residency, write=error.write))
    except KeyNotValid as error:
        _fail(context, _Failure(error.message, code=error.validity))
    except (SourceError, FeatureNotLicensed, SecretStoreError) as error:
        _fail(context, _Failure(str(error), code=type(error).__name__, of_source=True))
    else:
        log.info("operation.step_done", operation=str(operation.pk), kind=operation.kind, step=operation.step)


def _require_licence(context: StepContext) -> None:
    """What a person asked for needs the licence when it is carried out, too; gated steps look themselves."""
    operation = context.operation
    if not operation.what.gated and operation.actor_kind != ActorKind.SYSTEM:
        require_licensed(kind=operation.key.source.provider_kind, now=context.clock())


def _claim(operation_id: UUID, now: datetime) -> UUID | None:
    """Take the operation for one step; None when it ended, waits, or somebody holds it."""
    token = uuid4()
    free = Q(claim_expires_at__isnull=True) | Q(claim_expires_at__lte=now)
    due = Q(not_before__isnull=True) | Q(not_before__lte=now)
    claimed = (
        KeyOperation.objects.under_way()
        .filter(free, due, pk=operation_id)
        .update(
            state=OperationState.RUNNING,
            claim_token=token,
            claim_expires_at=claim_end(now),
            due_at=claim_end(now),
            attempts=F("attempts") + 1,
            not_before=None,
        )
    )
    if not claimed:
        return None
    KeyOperation.objects.filter(pk=operation_id, started_at__isnull=True).update(started_at=now)
    return token


def _settle(context: StepContext, write: Write) -> None:
    """Write the step's outcome and move on, in one transaction, only while the claim is ours."""
    now = context.clock()
    operation = context.operation
    following = operation.steps.index(operation.step) + 1
    done = following == len(operation.steps)
    changes: dict[str, object] = (
        {"state": OperationState.SUCCEEDED, "finished_at": now}
        if done
        else {"step": operation.steps[following], "due_at": dispatch.next_look(now=now, sends=0)}
    )
    with transaction.atomic():
        _lock_key(context)
        _release(context, attempts=0, sends=0, error="", error_code="", remedy="", **changes)
        operation.memo = {name: found for name, found in operation.memo.items() if name != KNOWN_ENDS}
        KeyOperation.objects.filter(pk=operation.pk).update(memo=operation.memo)
        write(now)
        if done:
            record_outcome(operation, Outcome.SUCCEEDED, {}, now)
        else:
            dispatch.send_on_commit(operation_id=operation.pk)


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an operation ends. ``outcome_known`` False: this attempt may have taken effect.

    ``of_source``: every other key of the source would meet the same; ``to_test``: the connection test of
    the source would, too. ``write`` records what was changed.
    """

    message: str
    code: str = ""
    request_id: str = ""
    remedy: str = ""
    residency: Residency | None = None
    outcome_known: bool = True
    of_source: bool = False
    to_test: bool = False
    write: Write | None = None


def _not_done(context: StepContext, error: ProviderError) -> None:
    """A provider error: pause and try again where that may help, fail otherwise."""
    if error.retryable and context.operation.attempts < settings.MAX_ATTEMPTS:
        _pause(context, error)
        return
    failure = _Failure(
        error.message,
        code=error.code,
        request_id=error.request_id,
        remedy=error.remedy,
        residency=Residency.FAULTED if isinstance(error, KeyMismatch) else None,
        outcome_known=error.outcome_known,
        of_source=isinstance(error, _OF_SOURCE),
        to_test=isinstance(error, _OF_SOURCE),
    )
    _fail(context, failure)


def _pause(context: StepContext, error: ProviderError) -> None:
    now = context.clock()
    operation = context.operation
    wait = min(2.0 ** (operation.attempts - 1), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311  (jitter, not a secret)
    pause = timedelta(seconds=max(wait, min(error.retry_after or 0.0, 300.0)))
    until = now + pause
    known = operation.memo.get(KNOWN_ENDS, 0) + error.outcome_known
    with transaction.atomic():
        _release(
            context,
            state=OperationState.PENDING,
            not_before=until,
            due_at=until,
            memo={**operation.memo, KNOWN_ENDS: known},
            error=error.message,
            error_code=error.code[:100],
            request_id=error.request_id[:100],
            remedy=error.remedy,
        )
        if isinstance(error, Throttled) and operation.batch_id:
            batches.put_off(batch_id=operation.batch_id, by=pause)
    log.warning(
        "operation.paused",
        operation=str(operation.pk),
        step=operation.step,
        error=type(error).__name__,
        code=error.code,
        attempts=operation.attempts,
    )


def _break_off(context: StepContext, error: Exception) -> None:
    """An error of ours: give the claim up, and end the operation when its attempts are spent.

    The key stays where it is on record: the error may come from that very write.
    """
    problem = OutcomeUnknown(f"An error of ours ended the step ({type(error).__name__}); the log has it.")
    with suppress(ClaimLost):
        if context.operation.attempts < settings.MAX_ATTEMPTS:
            _pause(context, problem)
        else:
            _end(context, _Failure(problem.message, code=type(error).__name__), place=False)


def _fail(context: StepContext, failure: _Failure) -> None:
    """End the operation with its reason, and the key where it was found."""
    _end(context, failure, place=True)
    batch = context.operation.batch_id
    if batch and failure.of_source:
        batches.stop_rest(batch_id=batch, reason=failure.message, now=context.clock())


def _end(context: StepContext, failure: _Failure, *, place: bool) -> None:
    now = context.clock()
    operation = context.operation
    with transaction.atomic():
        _lock_key(context)
        if operation.memo.get(UPDATE_SENT):
            writes.backup_outdated(operation.key, now=now)
        if failure.write:
            failure.write(now)
        if place:
            _place_after_failure(operation, failure, now)
        _release(
            context,
            state=OperationState.FAILED,
            finished_at=now,
            memo={**operation.memo, SOURCE_TROUBLE: failure.to_test},
            error=failure.message,
            error_code=failure.code[:100],
            request_id=failure.request_id[:100],
            remedy=failure.remedy,
        )
        details = {"reason": failure.message, "code": failure.code, "request": failure.request_id}
        record_outcome(operation, Outcome.FAILED, details, now)
    log.warning("operation.failed", operation=str(operation.pk), step=operation.step, code=failure.code)


def _place_after_failure(operation: KeyOperation, failure: _Failure, now: datetime) -> None:
    residency = failure.residency or _residency_in_doubt(operation, failure)
    if residency is not None and _may_place(operation):
        writes.faulted(operation.key, residency, failure.message, now=now)


def _residency_in_doubt(operation: KeyOperation, failure: _Failure) -> Residency | None:
    """Where the key is when the step itself could not tell; None: where it is on record.

    A create that was never sent, or refused, made nothing. A step that moves the key and had an attempt
    without a known end (no answer, a killed worker) may have moved it: a person must look.
    """
    if operation.what is OperationKind.GENERATE:
        sent = operation.memo.get(CREATE_SENT, False)
        return Residency.FAULTED if sent else Residency.NOT_CREATED
    doubtful = operation.attempts - 1 > operation.memo.get(KNOWN_ENDS, 0) or not failure.outcome_known
    return Residency.FAULTED if doubtful and operation.what in MOVES else None


def _may_place(operation: KeyOperation) -> bool:
    """A signature runs beside other operations: what it saw is old news when one of those moved the key."""
    if operation.exclusive:
        return True
    moved_since = Q(state__in=[s.value for s in UNDER_WAY]) | Q(finished_at__gt=operation.requested_at)
    others = operation.key.operations.filter(moved_since, exclusive=True)
    return operation.key.where is Residency.RESIDENT and not others.exists()


def _lock_key(context: StepContext) -> None:
    """Lock the key's row and read it anew, so that the write starts from what is committed."""
    locked = ManagedKey.objects.select_for_update(of=("self",)).select_related("source", "verified_backup")
    context.operation.key = locked.get(pk=context.operation.key_id)


def _release(context: StepContext, **changes: object) -> None:
    """Give up the claim and write ``changes``; ClaimLost (rolling back) when it is no longer ours."""
    released = KeyOperation.objects.filter(
        pk=context.operation.pk, claim_token=context.token, state=OperationState.RUNNING
    ).update(claim_token=None, claim_expires_at=None, **changes)
    if not released:
        raise ClaimLost
