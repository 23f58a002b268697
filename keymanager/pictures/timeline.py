"""Two years to come on one line, the near days wide and the far ones narrow.

The line begins with a field for what has ended; today comes next. From there the place of a day grows with
the logarithm of its distance, so that a week is as easy to see as a year.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Percent of the width: where the field of what has ended stops, and where the last day stands.
TODAY: Final = 9.0
END: Final = 98.5
SPAN_DAYS: Final = 730
#: Days that are drawn nearly to scale; beyond, distances shrink.
_BEND: Final = 14
#: Columns of the picture of many.
_COLUMNS: Final = 48
#: Percent of the height that one of a column takes while they are few.
_UNIT: Final = 16.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A named day on the line. A minor one goes unnamed where there is little room."""

    label: str
    x: float
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """The field of the line between two days, by its name."""

    name: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Column:
    """How many end at about the same time; ``name`` is the band's."""

    name: str
    count: int
    x: float
    y: float
    height: float


TICKS: Final = ((0, "today"), (7, "7"), (30, "30"), (90, "90 days"), (365, "1 year"), (730, "2 years"))
_MINOR: Final = frozenset({365})
COLUMN_WIDTH: Final = round((END - TODAY) / _COLUMNS * 0.8, 3)


def place(days: int) -> float:
    """Where a day stands, so many days from today; all that has ended stands in the middle of its field."""
    if days < 0:
        return TODAY / 2
    reach = math.log1p(min(days, SPAN_DAYS) / _BEND) / math.log1p(SPAN_DAYS / _BEND)
    return round(TODAY + (END - TODAY) * reach, 2)


def ticks() -> list[Tick]:
    return [Tick(label, place(days), days in _MINOR) for days, label in TICKS]


def bands(ends: Sequence[tuple[str, int]]) -> list[Band]:
    """Fields from their names and last days, the nearest first; what lies beyond the last has none."""
    found, start = [], 0.0
    for name, last in ends:
        end = TODAY if last < 0 else place(last)
        found.append(Band(name, start, round(end - start, 2)))
        start = end
    return found


def columns(ends: Sequence[tuple[str, int]]) -> list[Column]:
    """Many ends as columns, from their bands' names and days left; a column bears its nearest end's name."""
    names: dict[float, str] = {}
    counts: dict[float, int] = {}
    for name, days in sorted(ends, key=lambda end: end[1]):
        x = _column_place(days)
        names.setdefault(x, name)
        counts[x] = counts.get(x, 0) + 1
    unit = min(_UNIT, 100 / max(counts.values(), default=1))
    return [
        Column(names[x], count, x, round(100 - count * unit, 2), round(count * unit, 2))
        for x, count in counts.items()
    ]


def _column_place(days: int) -> float:
    step = (END - TODAY) / _COLUMNS
    if days < 0:
        return round(place(days) - step * 0.4, 2)
    return round(TODAY + min(int((place(days) - TODAY) / step), _COLUMNS - 1) * step, 2)
