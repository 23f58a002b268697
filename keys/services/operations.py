"""Carrying out operations: claim, one step, settle. Runs in workers.

The intent is committed before the HSM is called, the call happens outside any transaction, and the outcome is
committed only while the claim is still ours. A killed worker leaves a claim that expires; the upkeep
task then sends the operation again and the step looks before it acts.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from audit.actors import Actor, ActorKind
from audit.services import Outcome, record
from cryptosources.errors import SourceError
from cryptosources.providers.errors import KeyMismatch, OutcomeUnknown, ProviderError
from keys.lifecycle import OperationKind, OperationState, Residency, Step
from keys.models import KeyOperation, ManagedKey
from keys.services import dispatch, writes
from keys.services.context import ClaimLost, StepContext, StepFailed, claim_end
from keys.services.steps import STEPS, Write
from licensing.services import FeatureNotLicensed
from secretstore.errors import SecretStoreError

log = structlog.get_logger(__name__)

#: Pauses after a retryable error, seconds: 1, 2, 4 … up to this; a vendor's Retry-After wins.
_LONGEST_PAUSE = 60.0


def perform(*, operation_id: UUID, clock: Callable[[], datetime]) -> None:
    """Carry out the current step of an operation, if it is due and nobody else holds it.

    Idempotent: a doubled, late or stray message finds nothing to claim.
    """
    token = _claim(operation_id, clock())
    if token is None:
        return
    operation = KeyOperation.objects.select_related("key__source").get(pk=operation_id)
    context = StepContext(operation, token, clock)
    bound = log.bind(operation=str(operation_id), kind=operation.kind, step=operation.step)
    try:
        if operation.attempts > settings.MAX_ATTEMPTS:
            raise StepFailed(f"Given up after {settings.MAX_ATTEMPTS} attempts.", code="attempts")
        write = STEPS[Step(operation.step)](context)
        _settle(context, write)
    except ClaimLost:
        bound.warning("operation.claim_lost")
    except SoftTimeLimitExceeded:
        _not_done(context, OutcomeUnknown("The step took longer than a task may.", code="time limit"))
    except ProviderError as error:
        _not_done(context, error)
    except StepFailed as error:
        _fail(context, error.message, code=error.code, residency=error.residency)
    except (SourceError, FeatureNotLicensed, SecretStoreError) as error:
        _fail(context, str(error), code=type(error).__name__)
    else:
        bound.info("operation.step_done")


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
        _release(context, attempts=0, sends=0, error="", error_code="", **changes)
        write(now)
        if done:
            _audit(operation, Outcome.SUCCEEDED, {}, now)
        else:
            dispatch.send_on_commit(operation_id=operation.pk)


def _not_done(context: StepContext, error: ProviderError) -> None:
    """A provider error: pause and try again where that may help, fail otherwise."""
    if error.retryable and context.operation.attempts < settings.MAX_ATTEMPTS:
        _pause(context, error)
        return
    residency = Residency.FAULTED if isinstance(error, KeyMismatch) else None
    _fail(context, error.message, code=error.code, residency=residency, request_id=error.request_id)


def _pause(context: StepContext, error: ProviderError) -> None:
    now = context.clock()
    wait = min(2.0 ** (context.operation.attempts - 1), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)  # noqa: S311  (jitter, not a secret)
    until = now + timedelta(seconds=max(wait, min(error.retry_after or 0.0, 300.0)))
    try:
        with transaction.atomic():
            _release(
                context,
                state=OperationState.PENDING,
                not_before=until,
                due_at=until,
                error=error.message,
                error_code=error.code[:100],
                request_id=error.request_id[:100],
            )
    except ClaimLost:
        return
    log.warning(
        "operation.paused",
        operation=str(context.operation.pk),
        step=context.operation.step,
        error=type(error).__name__,
        code=error.code,
        attempts=context.operation.attempts,
    )


def _fail(
    context: StepContext,
    message: str,
    *,
    code: str = "",
    residency: Residency | None = None,
    request_id: str = "",
) -> None:
    """End the operation with its reason, and the key where it was found."""
    now = context.clock()
    operation = context.operation
    try:
        with transaction.atomic():
            _lock_key(context)
            _release(
                context,
                state=OperationState.FAILED,
                finished_at=now,
                error=message,
                error_code=code[:100],
                request_id=request_id[:100],
            )
            _place_after_failure(operation, residency, message, now)
            _audit(operation, Outcome.FAILED, {"reason": message, "code": code, "request": request_id}, now)
    except ClaimLost:
        return
    log.warning("operation.failed", operation=str(operation.pk), step=operation.step, code=code)


def _place_after_failure(
    operation: KeyOperation, residency: Residency | None, message: str, now: datetime
) -> None:
    if residency is None and operation.kind == OperationKind.GENERATE:
        # The first attempt ended with a clear refusal: nothing was made. Anything else needs a look.
        refused = operation.step == Step.CREATE and operation.attempts <= 1
        residency = Residency.NOT_CREATED if refused else Residency.FAULTED
    if residency is not None:
        writes.faulted(operation.key, residency, message, now=now)


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


def _audit(operation: KeyOperation, outcome: Outcome, details: dict[str, object], now: datetime) -> None:
    actor = Actor(ActorKind(operation.actor_kind), operation.actor_identifier, operation.actor_name)
    record(
        action=f"key.{operation.kind}",
        actor=actor,
        subject_type="managed key",
        subject_id=str(operation.key_id),
        subject_name=operation.key.name,
        outcome=outcome,
        details={
            "operation": str(operation.pk),
            "source": operation.key.source.friendly_name,
            **{name: value for name, value in details.items() if value},
        },
        now=now,
    )
