"""Signatures counted by day (UTC)."""

from datetime import UTC, date, datetime, timedelta

from django.db.models import QuerySet, Sum

from keys.models import KeyUse
from keys.pages.impact import RECENT_DAYS


def signatures_by_day(
    use: QuerySet[KeyUse], *, now: datetime, days: int = RECENT_DAYS
) -> list[tuple[date, int]]:
    """The last ``days`` days, oldest first, today last, days without a signature included. One query."""
    first = now.astimezone(UTC).date() - timedelta(days=days - 1)
    counted = use.filter(day__gte=first).order_by().values_list("day").annotate(Sum("signatures"))
    counts: dict[date, int] = dict(counted)
    return [(day, counts.get(day, 0)) for day in (first + timedelta(days=index) for index in range(days))]
