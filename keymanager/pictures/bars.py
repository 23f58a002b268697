"""A bar a day, today's last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

#: A day's share of the width that its bar takes; the rest is the gap.
_FILL: Final = 0.7
#: A day with anything at all is seen, however small beside the busiest: percent of the height.
_LEAST: Final = 2.0
#: The scale ends at one of these times a power of ten, so that its middle is a whole number.
_ENDS: Final = (2, 4, 6, 10)
_LABEL_EVERY: Final = 7


@dataclass(frozen=True, slots=True)
class Bar:
    """One day. ``slot`` is where its share of the width begins, ``x`` where its bar does."""

    day: date
    count: int
    slot: float
    x: float
    y: float
    height: float
    is_today: bool


@dataclass(frozen=True, slots=True)
class DayLabel:
    """A day written under the bars, centred on ``x``; ``today`` is the last."""

    day: date
    x: float
    is_today: bool


@dataclass(frozen=True, slots=True)
class BarChart:
    """``top`` is the count at the upper end of the scale, an even number; ``middle`` the one half-way."""

    bars: list[Bar]
    labels: list[DayLabel]
    slot_width: float
    bar_width: float
    top: int
    total: int
    busiest: int

    @property
    def middle(self) -> int:
        return self.top // 2


def bar_chart(days: Sequence[tuple[date, int]]) -> BarChart:
    """A chart of consecutive days with their counts, oldest first, today last; at least one day."""
    busiest = max(count for _day, count in days)
    top = scale_end(busiest)
    slot = 100 / len(days)
    last = len(days) - 1
    return BarChart(
        bars=[
            _bar(day, count, slot=slot, left=index * slot, top=top, is_today=index == last)
            for index, (day, count) in enumerate(days)
        ],
        labels=_labels(days, slot),
        slot_width=round(slot, 3),
        bar_width=round(slot * _FILL, 3),
        top=top,
        total=sum(count for _day, count in days),
        busiest=busiest,
    )


def scale_end(busiest: int) -> int:
    """The smallest round, even number that is not under ``busiest``; 2 at the least."""
    power = 1
    while busiest > _ENDS[-1] * power:
        power *= 10
    return next(end * power for end in _ENDS if end * power >= busiest)


def _bar(day: date, count: int, *, slot: float, left: float, top: int, is_today: bool) -> Bar:
    height = max(round(100 * count / top, 2), _LEAST) if count else 0.0
    return Bar(
        day=day,
        count=count,
        slot=round(left, 3),
        x=round(left + slot * (1 - _FILL) / 2, 3),
        y=round(100 - height, 2),
        height=height,
        is_today=is_today,
    )


def _labels(days: Sequence[tuple[date, int]], slot: float) -> list[DayLabel]:
    last = len(days) - 1
    return [
        DayLabel(days[index][0], round((index + 0.5) * slot, 3), index == last)
        for index in range(last % _LABEL_EVERY, len(days), _LABEL_EVERY)
    ]
