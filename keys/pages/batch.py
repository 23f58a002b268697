"""The page of a batch: how far it is, what failed and why, and trying that again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from keys import wording
from keys.lifecycle import OperationState
from keys.models import KeyBatch, KeyOperation
from keys.pages.page import OPERATE_KEYS, REFUSALS, VIEW_OPERATIONS, actor, created, live, needs, render
from keys.services import batches

FAILED_SHOWN: Final = 50
_UNDER_WAY: Final = Q(state__in=[OperationState.PENDING, OperationState.RUNNING])


@dataclass(frozen=True, slots=True)
class Progress:
    """How the operations of a batch stand, and how long it took or will take."""

    total: int
    done: int
    failed: int
    running: int
    paused: int
    took: timedelta
    left: timedelta

    @property
    def ended(self) -> int:
        return self.done + self.failed

    @property
    def waiting(self) -> int:
        return self.total - self.ended - self.running - self.paused

    @property
    def finished(self) -> bool:
        return self.ended == self.total

    @property
    def left_in_words(self) -> str:
        return wording.about(self.left)


def progress(batch: KeyBatch, *, now: datetime) -> Progress:
    """One query over the index of batch and state."""
    found = batch.operations.aggregate(
        total=Count("pk"),
        done=Count("pk", filter=Q(state=OperationState.SUCCEEDED)),
        failed=Count("pk", filter=Q(state=OperationState.FAILED)),
        running=Count("pk", filter=Q(state=OperationState.RUNNING, claim_token__isnull=False)),
        paused=Count("pk", filter=Q(state=OperationState.PENDING) & ~Q(error="")),
        last_end=Max("finished_at"),
        last_start=Max("not_before", filter=_UNDER_WAY),
    )
    under_way = found["total"] - found["done"] - found["failed"]
    end = now if under_way else found["last_end"] or now
    least = under_way * batches.CREATION_PACE
    scheduled = found["last_start"] - now if found["last_start"] else least
    return Progress(
        total=found["total"],
        done=found["done"],
        failed=found["failed"],
        running=found["running"],
        paused=found["paused"],
        took=end - batch.requested_at,
        left=max(scheduled, least, batches.CREATION_PACE),
    )


@needs(VIEW_OPERATIONS)
def page(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    """The batch with its live part, which is rendered once here."""
    batch = _batch(batch_id)
    context = _context(request, batch)
    return render(request, "keys/batch.html", title=f"Generate {batch.count} keys", **context)


@needs(VIEW_OPERATIONS)
def live_part(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    context = _context(request, _batch(batch_id))
    return live(request, "keys/batch_live.html", finished=context["progress"].finished, **context)


@require_POST
@needs(OPERATE_KEYS)
def retry(request: HttpRequest, batch_id: UUID) -> HttpResponseBase:
    """Take all that failed up again."""
    try:
        batches.retry_batch(batch=_batch(batch_id), actor=actor(request), now=timezone.now())
    except REFUSALS as refusal:
        messages.error(request, str(refusal))
    return redirect("admin:keys_keyoperation_batch", batch_id)


def _batch(batch_id: UUID) -> KeyBatch:
    rows = KeyBatch.objects.select_related("source").defer("source__sealed_secret", "source__trusted_roots")
    return get_object_or_404(rows, pk=batch_id)


def _context(request: HttpRequest, batch: KeyBatch) -> dict[str, Any]:
    now = timezone.now()
    stand = progress(batch, now=now)
    return {
        "batch": batch,
        "progress": stand,
        "done": _done(batch, now=now) if stand.finished and not stand.failed else "",
        "failed": _failed(batch),
        "failed_shown": FAILED_SHOWN,
        "key_type": wording.key_type(batch.algorithm),
        "may_operate": request.user.has_perm(OPERATE_KEYS),
    }


def _done(batch: KeyBatch, *, now: datetime) -> str:
    operation = batch.operations.first()
    return created("All keys are", operation.parameters if operation else {}, now=now)


def _failed(batch: KeyBatch) -> list[KeyOperation]:
    rows = batch.operations.filter(state=OperationState.FAILED).select_related("key")
    return list(rows.order_by("key__name")[:FAILED_SHOWN])
