"""Operations under way, as the front page follows them: cheap, because it is asked once a second."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from keymanager.overview import links
from keys import wording
from keys.lifecycle import OperationState, Step
from keys.models import KeyOperation
from keys.pages.page import VIEW_OPERATIONS, live, needs

ROWS: Final = 5
#: How long a failure stays beside the work under way, for somebody who watched it happen.
JUST: Final = timedelta(minutes=2)
#: What failed in the last minutes was asked for within this time; it keeps the search in the index.
_LONGEST: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Work:
    """One operation, or the keys that were asked for together, with the progress in percent."""

    title: str
    source: str
    url: str
    progress: int
    step: str
    badge: wording.Words
    asked_at: datetime
    asked_by: str
    error: str = ""
    next_try_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorkCount:
    """How many operations stand so, and the list of them."""

    words: str
    count: int
    url: str


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How many operations stand how, the first of them, and what failed while somebody watched."""

    counts: list[WorkCount]
    rows: list[Work]
    more: int
    failed: list[Work]
    url: str


@needs(VIEW_OPERATIONS)
def live_part(request: HttpRequest) -> HttpResponseBase:
    """The part as ``static/js/live.js`` wants it. It never finishes: more work may come at any time."""
    now = timezone.now()
    since = _watched_since(request.GET.get("since", ""), now)
    return live(request, "overview/work.html", finished=False, work=under_way(now=now, since=since))


def _watched_since(told: str, now: datetime) -> datetime:
    """When the page was opened, but no longer ago than ``JUST``; anything that is no time counts as that."""
    try:
        opened = datetime.fromisoformat(told)
    except ValueError:
        return now - JUST
    return max(opened, now - JUST) if opened.tzinfo else now - JUST


def under_way(*, now: datetime, since: datetime) -> UnderWay:
    """What failed before ``since`` is told by the faults. Four queries over the index of states, two when
    nothing is under way."""
    open_rows = KeyOperation.objects.under_way()
    held = Q(claim_token__isnull=False)
    paused = Q(state=OperationState.PENDING) & ~Q(error="")
    counts = open_rows.aggregate(
        total=Count("pk"), running=Count("pk", filter=held), paused=Count("pk", filter=paused)
    )
    total = counts.pop("total")
    counts["waiting"] = total - counts["running"] - counts["paused"]
    rows, shown = _first(open_rows) if total else ([], 0)
    return UnderWay(
        counts=[_count(state, counts[state]) for state in ("running", "waiting", "paused") if counts[state]],
        rows=rows,
        more=max(total - shown, 0),
        failed=_just_failed(now, since),
        url=links.listing(links.OPERATIONS),
    )


def _count(state: str, count: int) -> WorkCount:
    return WorkCount(state, count, links.listing(links.OPERATIONS, state=state))


def _first(open_rows: QuerySet[KeyOperation]) -> tuple[list[Work], int]:
    """What is shown, and for how many operations it stands: keys asked for together share a row."""
    batches = list(
        open_rows.filter(batch__isnull=False)
        .values(
            "batch",
            "batch__first_name",
            "batch__last_name",
            "batch__count",
            "batch__source__friendly_name",
            "batch__actor_name",
            "batch__requested_at",
        )
        .annotate(left=Count("pk"))
        .order_by("batch__requested_at")[:ROWS]
    )
    alone = open_rows.filter(batch__isnull=True).order_by("-state", "requested_at")
    rows = [_batch(row) for row in batches] + _works(alone, ROWS - len(batches))
    return rows, sum(row["left"] - 1 for row in batches) + len(rows)


def _just_failed(now: datetime, since: datetime) -> list[Work]:
    failed = KeyOperation.objects.filter(
        state=OperationState.FAILED, requested_at__gte=now - _LONGEST, finished_at__gte=since
    )
    return _works(failed.order_by("-finished_at"), ROWS)


def _batch(row: Mapping[str, Any]) -> Work:
    count, left = row["batch__count"], row["left"]
    return Work(
        title=f"Generate {count} keys, {row['batch__first_name']} to {row['batch__last_name']}",
        source=row["batch__source__friendly_name"],
        url=links.batch_page(row["batch"]),
        progress=round(100 * (count - left) / count),
        step=f"{count - left:,} of {count:,} ended",
        badge=wording.STATES[OperationState.RUNNING],
        asked_at=row["batch__requested_at"],
        asked_by=row["batch__actor_name"],
    )


def _works(operations: QuerySet[KeyOperation], most: int) -> list[Work]:
    """The first operations, with nothing read that is not shown."""
    needed = operations.select_related("key__source").only(
        "kind",
        "state",
        "step",
        "steps",
        "error",
        "not_before",
        "claim_token",
        "actor_name",
        "requested_at",
        "key__name",
        "key__source__friendly_name",
    )
    return [_work(operation) for operation in needed[:most]]


def _work(operation: KeyOperation) -> Work:
    """One operation; the step that runs counts half."""
    steps, done = len(operation.steps), operation.steps_done
    half = 0.5 if operation.state == OperationState.RUNNING else 0.0
    words = wording.STEPS[Step(operation.step)]
    return Work(
        title=wording.title(operation),
        source=operation.key.source.friendly_name,
        url=links.operation_page(operation.pk),
        progress=round(100 * (done + half) / steps),
        step=f"{words}, step {done + 1} of {steps}" if steps > 1 else words,
        badge=wording.state(operation),
        asked_at=operation.requested_at,
        asked_by=operation.actor_name,
        error=operation.error,
        next_try_at=operation.not_before,
    )
