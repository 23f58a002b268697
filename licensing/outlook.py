"""What a licence means here: what it enables, what uses that, what another one would change."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from licensing.services import LicenceStatus
from licensing.tokens import Claims
from licensing.uses import Use

#: From here on an end is near: a warning, then an alarm.
WARNING: Final = timedelta(days=30)
ALARM: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Ending:
    """How long a licence lasts, as a badge: its kind (ok, warn, bad) and its words."""

    badge: str
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """One feature: what it is called, whether it is enabled, whether it would be, and what uses it."""

    label: str
    enabled: bool
    would_be: bool
    use: Use | None = None

    @property
    def gained(self) -> bool:
        return self.would_be and not self.enabled

    @property
    def lost(self) -> bool:
        return self.enabled and not self.would_be


def ending(not_after: datetime, now: datetime) -> Ending:
    """The time left, in whole days."""
    left = not_after - now
    if left <= timedelta():
        return Ending("bad", f"ended {_days(-left)} ago" if -left >= timedelta(days=1) else "ended today")
    words = f"{_days(left)} left" if left >= timedelta(days=1) else "ends within a day"
    return Ending("bad" if left <= ALARM else "warn" if left <= WARNING else "ok", words)


def lines(status: LicenceStatus, known: Iterable[Use]) -> list[Line]:
    """Every feature that is used here or enabled, as it is now."""
    return _lines(status.features, status.features, known)


def changes(status: LicenceStatus, claims: Claims, known: Iterable[Use]) -> list[Line]:
    """The same, with what another licence would enable in place of the one in force."""
    return _lines(status.features, claims.features, known)


def _lines(enabled: frozenset[str], would_be: frozenset[str], known: Iterable[Use]) -> list[Line]:
    uses = {use.feature: use for use in known}
    others = sorted((enabled | would_be) - set(uses))
    named = [(use.label, use.feature, use) for use in uses.values()]
    return [
        Line(label, feature in enabled, feature in would_be, use)
        for label, feature, use in [*named, *((feature, feature, None) for feature in others)]
    ]


def _days(time: timedelta) -> str:
    return "1 day" if time.days == 1 else f"{time.days:,} days"
