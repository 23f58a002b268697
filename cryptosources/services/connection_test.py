"""*Test connection*: asked for by a person, carried out by a worker, followed step by step.

The row is request, schedule and result. A message that comes twice finds the row claimed and does
nothing; one that got lost is sent again by :func:`upkeep`.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.db import models, transaction

from audit.services import Actor, Outcome, record
from cryptosources.errors import CycleRefused
from cryptosources.models import PURGE_PROTECTION, ConnectionTest, CryptoSource
from cryptosources.providers.api import HealthStep, StepOutcome
from cryptosources.providers.errors import ProviderError
from cryptosources.services import key_cycle, test_rows, throw_away
from cryptosources.services.connections import provider_for
from cryptosources.services.gate import require_licensed
from cryptosources.services.publish import publish
from cryptosources.services.rights import needed_rights
from cryptosources.services.test_rows import TestLost, failed_step
from licensing.services import FeatureNotLicensed
from secretstore.services import SecretStoreError

log = structlog.get_logger(__name__)
State = ConnectionTest.State

TASK: Final = "cryptosources.tasks.run_connection_test"
TAKEN_UP_WITHIN: Final = timedelta(seconds=15)
RESENT_AFTER: Final = timedelta(seconds=30)
GIVEN_UP_AFTER: Final = timedelta(minutes=10)

WORKER_STOPPED: Final = "The worker stopped before the test was over. Start the test again."
NO_WORKER: Final = (
    f"No worker has taken up this test for {TAKEN_UP_WITHIN.seconds} seconds. "
    "Check that the workers are running and listen to the queue “checks”."
)


# --- Asking -----------------------------------------------------------------------------------


def request_test(
    *, source: CryptoSource, actor: Actor, now: datetime, full_cycle: bool = False
) -> ConnectionTest:
    """Ask a worker for a test, or join the one that is under way (its message is sent again).

    An Inactive source may be tested, but not with ``full_cycle``, which makes and uses a key. The broker
    being away is no error: the row waits and says so. Raises ``FeatureNotLicensed`` | ``CycleRefused``.
    """
    require_licensed(kind=source.provider_kind, now=now)
    with transaction.atomic():
        source = CryptoSource.objects.select_for_update().get(pk=source.pk)
        _close_stopped(source.tests.all(), now)
        test = source.tests.filter(state__in=(State.PENDING, State.RUNNING)).first()
        if test is None:
            if full_cycle:
                key_cycle.require_possible(source=source)
            test = source.tests.create(
                requested_by=actor.name, full_cycle=full_cycle, created_at=now, sent_at=now
            )
            _record_request(test, actor, now)
        elif full_cycle and not test.full_cycle:
            raise CycleRefused("An ordinary test is under way. Ask again when it is over.")
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
    """Carry out a test that waits; does nothing for any other. Steps are stored as they come.

    With the full cycle the test goes on in further tasks, one HSM step each (see :mod:`.key_cycle`).
    """
    test = _claim(test_id, clock())
    if test is None:
        return
    try:
        _follow(test, clock())
        if test_rows.signed_in(test):
            test_rows.wake_removals(test.source, clock())
        if not (test.full_cycle and key_cycle.begin(test=test, now=clock())):
            test_rows.finish(test, clock())
    except TestLost:
        log.warning("connection_test.lost", test=str(test_id))
    except Exception as error:
        test_rows.close(test, f"The test ended in an error of ours ({type(error).__name__}).", clock())
        raise


def _claim(test_id: uuid.UUID, now: datetime) -> ConnectionTest | None:
    claimed = ConnectionTest.objects.filter(pk=test_id, state=State.PENDING).update(
        state=State.RUNNING,
        claim_expires_at=test_rows.claim_end(now),
        started_at=now,
        problem="",
    )
    test = ConnectionTest.objects.select_related("source").filter(pk=test_id).first() if claimed else None
    if test is not None:
        test.source_revision = test.source.revision
        test_rows.mine(test).update(source_revision=test.source_revision)
    return test


def _follow(test: ConnectionTest, now: datetime) -> None:
    """Store the steps as they come; the time limit, wherever it strikes, is the last of them."""
    try:
        for step in _steps(test, now):
            test_rows.store_step(test, step)
    except SoftTimeLimitExceeded:
        test_rows.store_step(test, _TOO_SLOW)


def _steps(test: ConnectionTest, now: datetime) -> Iterator[HealthStep]:
    """The provider's steps; what stops us before or between them becomes a failed step."""
    source = test.source
    needed = frozenset(right.value for right in needed_rights(source, full_cycle=test.full_cycle))
    try:
        require_licensed(kind=source.provider_kind, now=now)
        for step in provider_for(source=source).check_health(needed_rights=needed):
            yield _judged(step, source)
    except FeatureNotLicensed as error:
        yield failed_step(
            "licence", "Licence", error.reason, remedy="Install a licence that includes this type."
        )
    except SecretStoreError as error:
        yield failed_step("key", "Open the stored Key", str(error), remedy="Enter the Key again.")
    except ProviderError as error:
        yield failed_step("settings", "Settings", error.message, code=error.code)


def _judged(step: HealthStep, source: CryptoSource) -> HealthStep:
    """Purge protection is worth a warning, and a failure where signing relies on purging."""
    if step.name == PURGE_PROTECTION and step.outcome is StepOutcome.WARNING and source.backup_restore:
        return replace(step, outcome=StepOutcome.FAILED)
    return step


_TOO_SLOW: Final = failed_step(
    "time",
    "Time limit",
    "The test took longer than a worker may spend on it.",
    remedy="Look at the step before: the HSM or the sign-in service answers too slowly.",
)


# --- Ending what nobody ends --------------------------------------------------------------------


def upkeep(*, now: datetime) -> None:
    """Close tests whose worker died or that no worker takes up, and send lost messages again."""
    _close_stopped(ConnectionTest.objects.all(), now)
    waiting = ConnectionTest.objects.filter(state=State.PENDING)
    for test in waiting.filter(created_at__lt=now - GIVEN_UP_AFTER):
        test_rows.close(test, f"No worker took this test up for {GIVEN_UP_AFTER.seconds // 60} minutes.", now)
    for test in waiting.filter(sent_at__lt=now - RESENT_AFTER):
        if waiting.filter(pk=test.pk, sent_at=test.sent_at).update(sent_at=now):
            _send(test.pk)
    throw_away.upkeep(now=now)


def _close_stopped(tests: models.QuerySet[ConnectionTest], now: datetime) -> None:
    silent = models.Q(claim_expires_at__lt=now)
    for test in tests.filter(silent, state=State.RUNNING):
        test_rows.close(test, WORKER_STOPPED, now, still=silent)


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
        details={"test": str(test.pk), "full_cycle": test.full_cycle},
        now=now,
        **test_rows.subject(test.source),
    )
