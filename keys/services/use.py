"""Counting signatures per key and day (UTC)."""

from datetime import UTC, date, datetime

from django.db import IntegrityError, transaction
from django.db.models import F

from keys.models import KeyUse, ManagedKey


def count_signatures(*, key: ManagedKey, count: int, now: datetime) -> None:
    """Add to today's counter; safe from any number of processes at once."""
    day = now.astimezone(UTC).date()
    if _add(key, day, count):
        return
    try:
        with transaction.atomic():
            KeyUse.objects.create(key=key, day=day, signatures=count)
    except IntegrityError:
        _add(key, day, count)


def _add(key: ManagedKey, day: date, count: int) -> int:
    return KeyUse.objects.filter(key=key, day=day).update(signatures=F("signatures") + count)
