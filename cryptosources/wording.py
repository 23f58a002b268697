"""How the state of a source is put into words and badges."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from cryptosources.models import CryptoSource, LastTest


class ExpiryZone(StrEnum):
    """How near the end of a Key is; the nearer, the more urgent."""

    ENDED = "ended"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    LATER = "later"


#: The last day of each zone, in whole days from today; the one place that knows these numbers.
EXPIRY_ZONE_DAYS: Final = {
    ExpiryZone.ENDED: -1,
    ExpiryZone.WEEK: 7,
    ExpiryZone.MONTH: 30,
    ExpiryZone.QUARTER: 90,
}

INACTIVE_STOPS: Final = (
    "Inactive stops at once, queued work included: generating, rotating, changing, signing, restoring and "
    "recovering. Still allowed: testing the connection (without a throw-away key), listing, backing up, "
    "deleting and purging."
)


@dataclass(frozen=True, slots=True)
class Badge:
    """``kind`` ok | warn | bad | muted | info."""

    kind: str
    text: str


def status_badge(source: CryptoSource) -> Badge:
    return Badge("ok" if source.is_active else "muted", str(source.get_status_display()))


def expiry_badge(source: CryptoSource, today: date) -> Badge | None:
    """How long the Key is still good for; None for a source without one."""
    days = source.secret_days_left(today)
    return None if days is None else days_badge(days)


def days_badge(days: int) -> Badge:
    """So many whole days until an end; negative when it has passed."""
    if days < 0:
        return Badge("bad", f"ended {_days(-days)} ago")
    text = f"{_days(days)} left" if days else "ends today"
    return Badge(_ZONE_BADGES[expiry_zone(days)], text)


def expiry_zone(days: int) -> ExpiryZone:
    """The zone of an end that is so many whole days away."""
    return next((zone for zone, last in EXPIRY_ZONE_DAYS.items() if days <= last), ExpiryZone.LATER)


def zone_days(zone: ExpiryZone) -> tuple[int | None, int | None]:
    """The first and the last day of a zone, in whole days from today; None where it has no end."""
    order = list(ExpiryZone)
    before = order[order.index(zone) - 1]
    first = None if zone is ExpiryZone.ENDED else EXPIRY_ZONE_DAYS[before] + 1
    return first, EXPIRY_ZONE_DAYS.get(zone)


def zone_words(zone: ExpiryZone) -> str:
    """``ended``, ``within 7 days``, ``8 to 30 days`` or ``over 90 days``."""
    first, last = zone_days(zone)
    if first is None:
        return "ended"
    if last is None:
        return f"over {first - 1} days"
    return f"{first} to {last} days" if first else f"within {last} days"


_ZONE_BADGES: Final = {
    ExpiryZone.ENDED: "bad",
    ExpiryZone.WEEK: "bad",
    ExpiryZone.MONTH: "warn",
    ExpiryZone.QUARTER: "ok",
    ExpiryZone.LATER: "ok",
}


_LAST_TEST_BADGES: Final = {
    LastTest.FAILED: "bad",
    LastTest.REFUSED: "bad",
    LastTest.CHANGED: "muted",
    LastTest.HEALTHY: "ok",
}


def last_test_badge(last_test: str) -> Badge | None:
    """What the last test says of its source now; None where it was never tested."""
    told = LastTest(last_test)
    return Badge(_LAST_TEST_BADGES[told], str(told.label)) if told in _LAST_TEST_BADGES else None


def health_badge(healthy: bool | None) -> Badge | None:
    """The result of a finished connection test."""
    if healthy is None:
        return None
    return Badge("ok", "healthy") if healthy else Badge("bad", "failed")


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"
