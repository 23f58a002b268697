"""How the state of a source is put into words and badges."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from cryptosources.models import CryptoSource

EXPIRY_WARNING_DAYS: Final = 30

INACTIVE_STOPS: Final = (
    "Inactive stops at once, queued work included: generating and rotating keys, signing, restoring and "
    "recovering. Still allowed: testing the connection, listing, backing up, and the deletes and purges "
    "that are owed."
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
    if days is None:
        return None
    if days < 0:
        return Badge("bad", f"ended {_days(-days)} ago")
    if days == 0:
        return Badge("bad", "ends today")
    return Badge("warn" if days <= EXPIRY_WARNING_DAYS else "ok", f"{_days(days)} left")


def health_badge(healthy: bool | None) -> Badge | None:
    """The result of a finished connection test."""
    if healthy is None:
        return None
    return Badge("ok", "healthy") if healthy else Badge("bad", "failed")


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count:,} days"
