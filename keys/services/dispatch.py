"""Sending operations to workers. The row is the truth; the message is only a nudge."""

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F

from cryptosources.services.publish import publish
from keys.models import KeyOperation

log = structlog.get_logger(__name__)
_LONGEST_WAIT = timedelta(minutes=5)


def send_on_commit(*, operation_id: UUID) -> None:
    """Send the operation's id to a worker once the surrounding transaction is committed."""
    transaction.on_commit(partial(_publish, operation_id))


def resend_due(*, now: datetime, limit: int = 200) -> int:
    """Send again what is due: a lost message, a dead worker, the end of a pause. Returns how many.

    Safe from any number of schedulers at once: only the one that moves ``due_at`` sends. The wait
    doubles with each send, so a long queue is not flooded with copies.
    """
    due = list(KeyOperation.objects.due(now).order_by("due_at").values("pk", "due_at", "sends")[:limit])
    return sum(_resend(row["pk"], row["due_at"], row["sends"], now) for row in due)


def next_look(*, now: datetime, sends: int) -> datetime:
    """When to look again at an operation that was sent ``sends`` times before."""
    wait = timedelta(seconds=settings.RESEND_SECONDS * 2.0 ** min(sends, 10))
    return now + min(wait, _LONGEST_WAIT)


def _resend(pk: UUID, due_at: datetime, sends: int, now: datetime) -> bool:
    moved = (
        KeyOperation.objects.under_way()
        .filter(pk=pk, due_at=due_at)
        .update(due_at=next_look(now=now, sends=sends), sends=F("sends") + 1)
    )
    if moved:
        log.info("operation.resent", operation=str(pk), sends=sends + 1)
        _publish(pk)
    return bool(moved)


def _publish(operation_id: UUID) -> None:
    problem = publish("keys.tasks.run_operation", str(operation_id))
    if problem:
        # Nothing is lost: the upkeep task sends every due row again.
        log.warning("operation.not_sent", operation=str(operation_id), problem=problem)
