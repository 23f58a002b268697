"""Operations under way, as the front page follows them: cheap, because it is asked once a second."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from keymanager.overview import links
from keys import wording
from keys.lifecycle import OperationState, Step
from keys.models import KeyOperation
from keys.pages.page import VIEW_OPERATIONS, live, needs

ROWS: Final = 5
#: How long a failure stays beside the work under way, where somebody watched it.
JUST: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Work:
    """One operation with its progress; ``done`` in percent, a running step counting half."""

    title: str
    source: str
    url: str
    step: str
    at: str
    done: int
    badge: wording.Words
    asked_at: datetime
    asked_by: str
    error: str
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How many operations stand how, the first of them, and what failed in the last minutes."""

    total: int
    running: int
    paused: int
    rows: list[Work]
    failed: list[Work]
    url: str

    @property
    def summary(self) -> str:
        """``3 running, 5 waiting for a worker``"""
        counts = {
            "running": self.running,
            "waiting for a worker": self.total - self.running - self.paused,
            "to be tried again": self.paused,
        }
        return ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)

    @property
    def more(self) -> int:
        return self.total - len(self.rows)


@needs(VIEW_OPERATIONS)
def live_part(request: HttpRequest) -> HttpResponseBase:
    """The part as ``static/js/live.js`` wants it. It never finishes: more work may come at any time."""
    return live(request, "overview/work.html", finished=False, work=under_way(now=timezone.now()))


def under_way(*, now: datetime) -> UnderWay:
    """Three queries over the index of states; two when nothing is under way."""
    open_rows = KeyOperation.objects.under_way()
    counts = open_rows.aggregate(
        total=Count("pk"),
        running=Count("pk", filter=Q(state=OperationState.RUNNING)),
        paused=Count("pk", filter=Q(state=OperationState.PENDING) & ~Q(error="")),
    )
    failed = KeyOperation.objects.filter(state=OperationState.FAILED, finished_at__gte=now - JUST)
    return UnderWay(
        total=counts["total"],
        running=counts["running"],
        paused=counts["paused"],
        rows=_rows(open_rows.order_by("-state", "requested_at")) if counts["total"] else [],
        failed=_rows(failed.order_by("-finished_at")),
        url=links.listing(links.OPERATIONS),
    )


def _rows(operations: QuerySet[KeyOperation]) -> list[Work]:
    """The first operations (running ones before those that wait), with what is sealed left out."""
    whole = operations.select_related("key__source").only(
        "kind", "state", "step", "steps", "error", "not_before", "actor_name", "requested_at",
        "key__name", "key__source__friendly_name",
    )  # fmt: skip
    return [_work(operation) for operation in whole[:ROWS]]


def _work(operation: KeyOperation) -> Work:
    steps, done = len(operation.steps), operation.steps_done
    half = 0.5 if operation.state == OperationState.RUNNING else 0.0
    return Work(
        title=wording.title(operation),
        source=operation.key.source.friendly_name,
        url=links.operation_page(operation.pk),
        step=wording.STEPS[Step(operation.step)],
        at=f"step {done + 1} of {steps}" if steps > 1 else "",
        done=round(100 * (done + half) / steps),
        badge=wording.state(operation),
        asked_at=operation.requested_at,
        asked_by=operation.actor_name,
        error=operation.error,
        next_try_at=operation.not_before,
    )
