"""Keys by where they are, and the signatures made with all of them, day by day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from django.db.models import Count

from keymanager.overview import links
from keymanager.overview.shares import Part, Share, shares
from keys import wording
from keys.attributes import Validity
from keys.lifecycle import Residency
from keys.models import KeyUse, ManagedKey
from keys.pages.impact import RECENT_DAYS
from keys.pages.use import signatures_by_day

_PLACES: Final = (
    Residency.FAULTED,
    Residency.CREATING,
    Residency.RESIDENT,
    Residency.ABSENT,
    Residency.DELETED,
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that are not history, by where they are; of those in an HSM, ``ends`` counts expiring ones."""

    total: int
    shares: list[Share]
    ends: list[Part]
    url: str


def keys_by_place(*, now: datetime) -> Keys:
    """Three queries."""
    rows = ManagedKey.objects.filter(residency__in=_PLACES).order_by()
    counts: Mapping[str, int] = dict(rows.values_list("residency").annotate(Count("pk")))
    parts = [_part(place, counts.get(place, 0)) for place in _PLACES]
    ends = [_end(Validity.EXPIRED, "bad", now), _end(Validity.EXPIRING, "warn", now)]
    return Keys(
        sum(counts.values()), shares(parts), [part for part in ends if part.count], links.listing(links.KEYS)
    )


def _end(validity: Validity, kind: str, now: datetime) -> Part:
    """Keys that could sign if it were not for their dates."""
    rows = ManagedKey.objects.in_validity(validity, now=now).filter(residency=Residency.RESIDENT)
    url = links.listing(links.KEYS, validity=validity, residency=Residency.RESIDENT)
    return Part(wording.VALIDITIES[validity], kind, rows.count(), url)


def _part(place: Residency, count: int) -> Part:
    words = wording.PLACES[place]
    label = f"{words.text}, {words.note}" if words.note else words.text
    return Part(label, words.badge, count, links.listing(links.KEYS, residency=place))


@dataclass(frozen=True, slots=True)
class Signatures:
    """Signatures on the last days (UTC), today last, and how many there were in as many days before."""

    days: list[tuple[date, int]]
    before: int

    @property
    def total(self) -> int:
        return sum(count for _day, count in self.days)

    @property
    def today(self) -> int:
        return self.days[-1][1]

    @property
    def comparison(self) -> str:
        """The total beside the one before, in words; empty when there is nothing to compare with."""
        if not self.before:
            return ""
        change = round(100 * (self.total - self.before) / self.before)
        if not change:
            return "about as many as"
        return f"{abs(change):,} % {'more' if change > 0 else 'fewer'} than"


def signatures(*, now: datetime) -> Signatures:
    """One query: a row for each day on which anything was signed."""
    days = signatures_by_day(KeyUse.objects.all(), days=2 * RECENT_DAYS, now=now)
    return Signatures(days[RECENT_DAYS:], sum(count for _day, count in days[:RECENT_DAYS]))
