"""Sources by status, and their Keys (the client secrets) by time left. Everything comes from one query."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from cryptosources.models import CryptoSource, LastTest, SourceStatus
from cryptosources.wording import EXPIRY_ZONE_DAYS, Badge, ExpiryZone, days_badge, expiry_zone, zone_words
from keymanager.overview.links import SOURCES, listing, source_page
from keymanager.overview.shares import Part, Share, shares
from keymanager.pictures import timeline

#: As many rows as a reader takes in at a glance; of more sources only the most urgent have one.
ALL_ROWS: Final = 8
URGENT_ROWS: Final = 6


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What the front page knows of one source; ``last_test`` is a :class:`LastTest`."""

    pk: UUID
    name: str
    active: bool
    ends_on: date | None
    ends_assumed: bool
    tested_at: datetime | None
    last_test: str

    def ended(self, today: date) -> bool:
        """Is the Key past its last day?"""
        return self.ends_on is not None and self.ends_on < today


def read_sources() -> list[SourceRow]:
    """Every source; one query, nothing sealed."""
    # The type checker does not see what a query set of our own annotates.
    sources: Any = CryptoSource.objects.with_last_test()
    rows = sources.values_list(
        "pk",
        "friendly_name",
        "status",
        "secret_expires_on",
        "secret_expiry_assumed",
        "last_test_at",
        "last_test",
    )
    return [SourceRow(pk, name, status == SourceStatus.ACTIVE, *rest) for pk, name, status, *rest in rows]


#: An Active source by what its last test says: colour and words.
_BY_TEST: Final = (
    (LastTest.FAILED, "bad", "Last test failed"),
    (LastTest.REFUSED, "bad", "Refused since the last test"),
    (LastTest.NEVER, "warn", "Never tested"),
    (LastTest.CHANGED, "info", "Changed since the last test"),
    (LastTest.HEALTHY, "ok", "Healthy"),
)


# --- By status ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceStates:
    total: int
    active: int
    shares: list[Share]


def source_states(rows: Sequence[SourceRow]) -> SourceStates:
    """Active sources by their last connection test, and the Inactive ones."""
    active = [row for row in rows if row.active]
    by_test = Counter(row.last_test for row in active)
    parts = [
        *(Part(words, kind, by_test[test], _active(test)) for test, kind, words in _BY_TEST),
        Part("Inactive", "muted", len(rows) - len(active), listing(SOURCES, status__exact="inactive")),
    ]
    return SourceStates(len(rows), len(active), shares(parts))


def _active(last_test: str) -> str:
    return listing(SOURCES, status__exact="active", last_test=last_test)


# --- Secrets by time left -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecretRow:
    """One Key on the line of time; ``x`` its end, in percent of the width."""

    source: SourceRow
    days: int
    zone: ExpiryZone
    badge: Badge
    x: float
    url: str


@dataclass(frozen=True, slots=True)
class ZoneCount:
    """How many Keys end in a zone, and the list of them."""

    words: str
    zone: ExpiryZone
    count: int
    url: str


@dataclass(frozen=True, slots=True)
class Secrets:
    """``columns`` is the picture of all of them, drawn when they are too many for a row each."""

    rows: list[SecretRow]
    others: list[ZoneCount]
    zones: list[ZoneCount]
    columns: list[timeline.Column]
    total: int

    today: float = timeline.TODAY
    column_width: float = timeline.COLUMN_WIDTH

    @property
    def more(self) -> int:
        return self.total - len(self.rows)

    @property
    def ticks(self) -> list[timeline.Tick]:
        return timeline.ticks()

    @property
    def bands(self) -> list[timeline.Band]:
        return timeline.bands([(str(zone), last) for zone, last in EXPIRY_ZONE_DAYS.items()])


def secrets_by_time_left(sources: Sequence[SourceRow], today: date) -> Secrets:
    """The Keys of all sources that have one, the nearest end first."""
    dated = [(row.ends_on, row.name.lower(), row) for row in sources if row.ends_on is not None]
    rows = [_secret_row(row, (ends - today).days) for ends, _name, row in sorted(dated, key=_by_end)]
    shown = len(rows) if len(rows) <= ALL_ROWS else URGENT_ROWS
    many = len(rows) > shown
    return Secrets(
        rows=rows[:shown],
        others=_count_zones(rows[shown:]),
        zones=_count_zones(rows),
        columns=timeline.columns([(str(row.zone), row.days) for row in rows]) if many else [],
        total=len(rows),
    )


def _by_end(dated: tuple[date, str, SourceRow]) -> tuple[date, str]:
    return dated[0], dated[1]


def _secret_row(source: SourceRow, days: int) -> SecretRow:
    place = timeline.place(days)
    return SecretRow(source, days, expiry_zone(days), days_badge(days), place, source_page(source.pk))


def _count_zones(rows: Sequence[SecretRow]) -> list[ZoneCount]:
    counts = Counter(row.zone for row in rows)
    return [
        ZoneCount(zone_words(zone), zone, counts[zone], listing(SOURCES, key_ends=zone))
        for zone in ExpiryZone
        if counts[zone]
    ]
