"""Writing the rows of connection tests; whoever carries a test out, or ends it, does it through here."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import models, transaction

from audit.services import Actor, Outcome, record
from cryptosources.models import ConnectionTest, CryptoSource, CycleStep, ThrowAwayKey
from cryptosources.providers.api import MISSING_RIGHT, HealthStep, StepOutcome
from cryptosources.providers.errors import AccessDenied

State = ConnectionTest.State
KEPT: Final = 20
# The connection test's step that asks the sign-in service for a token.
SIGN_IN: Final = "token"
WORKER: Final = Actor.system("worker")


class TestLost(Exception):
    """The claim is no longer ours: another worker, or a person, has ended this test."""

    __test__ = False


def failed_step(name: str, label: str, detail: str, *, code: str = "", remedy: str = "") -> HealthStep:
    return HealthStep(name, label, StepOutcome.FAILED, detail, code, remedy)


def denied_step(name: str, label: str, error: AccessDenied) -> HealthStep:
    """A step that ended at a missing right, which its facts name."""
    right = error.missing_right
    detail = f"The application lacks the right {right}."
    remedy = f"Grant {right} to the application on this HSM, then test again."
    return replace(
        failed_step(name, label, detail, code=error.code, remedy=remedy), facts={MISSING_RIGHT: right}
    )


def mine(test: ConnectionTest) -> models.QuerySet[ConnectionTest]:
    """The test's row while it is running: its holder's alone."""
    return ConnectionTest.objects.filter(pk=test.pk, state=State.RUNNING)


def claim_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.CLAIM_SECONDS)


def renew(test: ConnectionTest, now: datetime) -> None:
    """Hold a running test for another claim's length. Raises ``TestLost``."""
    if not mine(test).update(claim_expires_at=claim_end(now)):
        raise TestLost


def store_step(test: ConnectionTest, step: HealthStep) -> None:
    """Add a step to a running test. Raises ``TestLost``."""
    test.steps = [*test.steps, {**asdict(step), "outcome": step.outcome.value}]
    if not mine(test).update(steps=test.steps):
        raise TestLost


def failed_steps(test: ConnectionTest) -> list[str]:
    return [step["name"] for step in test.steps if step["outcome"] == StepOutcome.FAILED]


def finish(test: ConnectionTest, now: datetime) -> None:
    """End a test with its result: healthy when it has steps and none failed. Raises ``TestLost``."""
    failed = failed_steps(test)
    healthy = bool(test.steps) and not failed
    with transaction.atomic():
        if not mine(test).update(state=State.FINISHED, healthy=healthy, finished_at=now):
            raise TestLost
        record_end(test, Outcome.SUCCEEDED if healthy else Outcome.FAILED, now, failed_steps=failed)
        _forget_old(test.source)


def _forget_old(source: CryptoSource) -> None:
    kept = source.tests.order_by("-created_at").values("pk")[:KEPT]
    source.tests.exclude(pk__in=[row["pk"] for row in kept]).delete()


def signed_in(test: ConnectionTest) -> bool:
    """Whether the test came past the sign-in; a provider without one begins with the rights."""
    passed = [step["name"] for step in test.steps if step["outcome"] == StepOutcome.PASSED]
    return any(name == SIGN_IN or name.startswith("right:") for name in passed)


def wake_removals(source: CryptoSource, now: datetime) -> None:
    """Signing in works again: what waited for a person to repair it goes on."""
    waiting = ThrowAwayKey.objects.filter(source=source, step=CycleStep.REMOVE, due_at__isnull=True)
    waiting.filter(claim_token__isnull=True).update(due_at=now, not_before=None, attempts=0)


def close(test: ConnectionTest, problem: str, now: datetime, *, still: models.Q | None = None) -> None:
    """End a test that did not come to a result; nothing happens when it moved on meanwhile.

    ``still``: what must be true of its row besides.
    """
    same = ConnectionTest.objects.filter(still or models.Q(), pk=test.pk, state=test.state)
    with transaction.atomic():
        if same.update(state=State.FAILED, problem=problem, finished_at=now):
            record_end(test, Outcome.FAILED, now, problem=problem)


def record_end(test: ConnectionTest, outcome: Outcome, now: datetime, **details: object) -> None:
    record(
        action="source.test.finished",
        actor=WORKER,
        outcome=outcome,
        details={"requested_by": test.requested_by, **details, "test": str(test.pk)},
        now=now,
        **subject(test.source),
    )


def subject(source: CryptoSource) -> dict[str, str]:
    """The source as the subject of an audit record."""
    return {
        "subject_type": "crypto source",
        "subject_id": str(source.pk),
        "subject_name": source.friendly_name,
    }
