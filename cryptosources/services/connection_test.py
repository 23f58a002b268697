"""*Test connection*: asked for by a person, carried out by a worker, followed step by step.

The row is request, schedule and result. A message that comes twice finds the row claimed and does
nothing; one that got lost is sent again by :func:`upkeep`.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import models, transaction

from audit.services import Actor, Outcome, record
from cryptosources.models import PURGE_PROTECTION, ConnectionTest, CryptoSource
from cryptosources.providers.api import HealthStep, Right, StepOutcome
from cryptosources.providers.errors import ProviderError
from cryptosources.services.connections import provider_for
from cryptosources.services.gate import require_licensed
from cryptosources.services.publish import publish
from licensing.services import FeatureNotLicensed
from secretstore.services import SecretStoreError

log = structlog.get_logger(__name__)
State = ConnectionTest.State

TASK: Final = "cryptosources.tasks.run_connection_test"
TAKEN_UP_WITHIN: Final = timedelta(seconds=15)
RESENT_AFTER: Final = timedelta(seconds=30)
GIVEN_UP_AFTER: Final = timedelta(minutes=10)
KEPT: Final = 20

WORKER_STOPPED: Final = "The worker stopped before the test was over. Start the test again."
NO_WORKER: Final = (
    f"No worker has taken up this test for {TAKEN_UP_WITHIN.seconds} seconds. "
    "Check that the workers are running and listen to the queue “checks”."
)

_EVERY_SOURCE: Final = frozenset(
    {Right.CREATE, Right.READ, Right.SIGN, Right.DELETE, Right.READ_DELETED, Right.ROTATE, Right.UPDATE}
)
_BACKUP_RESTORE: Final = frozenset({Right.BACKUP, Right.RESTORE, Right.PURGE, Right.RECOVER})


class TestLost(Exception):
    """The claim is no longer ours: another worker, or a person, has ended this test."""

    __test__ = False


def needed_rights(source: CryptoSource) -> frozenset[str]:
    """What the source's account must be allowed to do for the way the source is set up."""
    rights = _EVERY_SOURCE | _BACKUP_RESTORE if source.backup_restore else _EVERY_SOURCE
    return frozenset(right.value for right in rights)


# --- Asking -----------------------------------------------------------------------------------


def request_test(*, source: CryptoSource, actor: Actor, now: datetime) -> ConnectionTest:
    """Ask a worker for a test, or join the one that is under way (its message is sent again).

    An Inactive source may be tested. The broker being away is no error: the row waits and says so.
    Raises ``FeatureNotLicensed``.
    """
    require_licensed(kind=source.provider_kind, now=now)
    with transaction.atomic():
        CryptoSource.objects.select_for_update().get(pk=source.pk)
        _close_stopped(source.tests.all(), now)
        test = source.tests.filter(state__in=(State.PENDING, State.RUNNING)).first()
        if test is None:
            test = source.tests.create(requested_by=actor.name, created_at=now, sent_at=now)
            _record_request(test, actor, now)
        if test.state == State.PENDING:
            transaction.on_commit(partial(_send, test.pk))
    return test


def _send(test_id: uuid.UUID) -> None:
    problem = publish(TASK, str(test_id))
    if problem:
        log.warning("connection_test.not_sent", test=str(test_id), problem=problem)
    ConnectionTest.objects.filter(pk=test_id, state=State.PENDING).update(problem=problem)


# --- Carrying out -----------------------------------------------------------------------------


def run_test(*, test_id: uuid.UUID, clock: Callable[[], datetime]) -> None:
    """Carry out a test that waits; does nothing for any other. Steps are stored as they come."""
    test = _claim(test_id, clock())
    if test is None:
        return
    try:
        _follow(test, clock())
        _finish(test, clock())
    except TestLost:
        log.warning("connection_test.lost", test=str(test_id))
    except Exception as error:
        _close(test, f"The test ended in an error of ours ({type(error).__name__}).", clock())
        raise


def _claim(test_id: uuid.UUID, now: datetime) -> ConnectionTest | None:
    claimed = ConnectionTest.objects.filter(pk=test_id, state=State.PENDING).update(
        state=State.RUNNING,
        claim_expires_at=now + timedelta(seconds=settings.CLAIM_SECONDS),
        started_at=now,
        problem="",
    )
    test = ConnectionTest.objects.select_related("source").filter(pk=test_id).first() if claimed else None
    if test is not None:
        _mine(test).update(source_revision=test.source.revision)
    return test


def _mine(test: ConnectionTest) -> models.QuerySet[ConnectionTest]:
    return ConnectionTest.objects.filter(pk=test.pk, state=State.RUNNING)


def _follow(test: ConnectionTest, now: datetime) -> None:
    """Store the steps as they come; the time limit, wherever it strikes, is the last of them."""
    try:
        for step in _steps(test.source, now):
            _store_step(test, step)
    except SoftTimeLimitExceeded:
        _store_step(test, _TOO_SLOW)


def _steps(source: CryptoSource, now: datetime) -> Iterator[HealthStep]:
    """The provider's steps; what stops us before or between them becomes a failed step."""
    try:
        require_licensed(kind=source.provider_kind, now=now)
        for step in provider_for(source=source).check_health(needed_rights=needed_rights(source)):
            yield _judged(step, source)
    except FeatureNotLicensed as error:
        yield _failed("licence", "Licence", error.reason, remedy="Install a licence that includes this type.")
    except SecretStoreError as error:
        yield _failed("key", "Open the stored Key", str(error), remedy="Enter the Key again.")
    except ProviderError as error:
        yield _failed("settings", "Settings", error.message, code=error.code)


def _judged(step: HealthStep, source: CryptoSource) -> HealthStep:
    """Purge protection is worth a warning, and a failure where signing relies on purging."""
    if step.name == PURGE_PROTECTION and step.outcome is StepOutcome.WARNING and source.backup_restore:
        return replace(step, outcome=StepOutcome.FAILED)
    return step


def _failed(name: str, label: str, detail: str, *, code: str = "", remedy: str = "") -> HealthStep:
    return HealthStep(name, label, StepOutcome.FAILED, detail, code, remedy)


_TOO_SLOW: Final = _failed(
    "time",
    "Time limit",
    "The test took longer than a worker may spend on it.",
    remedy="Look at the step before: the HSM or the sign-in service answers too slowly.",
)


def _store_step(test: ConnectionTest, step: HealthStep) -> None:
    test.steps = [*test.steps, {**asdict(step), "outcome": step.outcome.value}]
    if not _mine(test).update(steps=test.steps):
        raise TestLost


def _finish(test: ConnectionTest, now: datetime) -> None:
    failed = [step["name"] for step in test.steps if step["outcome"] == StepOutcome.FAILED]
    healthy = bool(test.steps) and not failed
    with transaction.atomic():
        if not _mine(test).update(state=State.FINISHED, healthy=healthy, finished_at=now):
            raise TestLost
        _record_end(test, Outcome.SUCCEEDED if healthy else Outcome.FAILED, now, failed_steps=failed)
        _forget_old(test.source)


def _forget_old(source: CryptoSource) -> None:
    kept = source.tests.order_by("-created_at").values("pk")[:KEPT]
    source.tests.exclude(pk__in=[row["pk"] for row in kept]).delete()


# --- Ending what nobody ends --------------------------------------------------------------------


def upkeep(*, now: datetime) -> None:
    """Close tests whose worker died or that no worker takes up, and send lost messages again."""
    _close_stopped(ConnectionTest.objects.all(), now)
    waiting = ConnectionTest.objects.filter(state=State.PENDING)
    for test in waiting.filter(created_at__lt=now - GIVEN_UP_AFTER):
        _close(test, f"No worker took this test up for {GIVEN_UP_AFTER.seconds // 60} minutes.", now)
    for test in waiting.filter(sent_at__lt=now - RESENT_AFTER):
        if waiting.filter(pk=test.pk, sent_at=test.sent_at).update(sent_at=now):
            _send(test.pk)


def _close_stopped(tests: models.QuerySet[ConnectionTest], now: datetime) -> None:
    for test in tests.filter(state=State.RUNNING, claim_expires_at__lt=now):
        _close(test, WORKER_STOPPED, now)


def _close(test: ConnectionTest, problem: str, now: datetime) -> None:
    """End a test that did not come to a result; nothing happens when it moved on meanwhile."""
    same = ConnectionTest.objects.filter(pk=test.pk, state=test.state)
    with transaction.atomic():
        if same.update(state=State.FAILED, problem=problem, finished_at=now):
            _record_end(test, Outcome.FAILED, now, problem=problem)


def progress_note(*, test: ConnectionTest, now: datetime) -> str:
    """What a person who waits should know beyond the steps; empty when all goes its way."""
    if test.state == State.PENDING:
        late = now - test.created_at > TAKEN_UP_WITHIN
        return test.problem or (NO_WORKER if late else "")
    return WORKER_STOPPED if test.claim_expired(now) else test.problem


def is_over(*, test: ConnectionTest, now: datetime) -> bool:
    """Nothing more will come: it ended, or its worker died."""
    return test.is_over or test.claim_expired(now)


def _record_request(test: ConnectionTest, actor: Actor, now: datetime) -> None:
    record(
        action="source.test.requested",
        actor=actor,
        outcome=Outcome.REQUESTED,
        details={"test": str(test.pk)},
        now=now,
        **_subject(test.source),
    )


def _record_end(test: ConnectionTest, outcome: Outcome, now: datetime, **details: object) -> None:
    record(
        action="source.test.finished",
        actor=Actor.system("worker"),
        outcome=outcome,
        details={"requested_by": test.requested_by, **details, "test": str(test.pk)},
        now=now,
        **_subject(test.source),
    )


def _subject(source: CryptoSource) -> dict[str, str]:
    return {
        "subject_type": "cryptosource",
        "subject_id": str(source.pk),
        "subject_name": source.friendly_name,
    }
