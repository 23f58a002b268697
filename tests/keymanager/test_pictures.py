"""The geometry of the pictures: what is more is larger, what is later is further right, nothing is lost."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymanager.pictures import timeline
from keymanager.pictures.bars import bar_chart, scale_end
from keymanager.pictures.shares import spans
from keymanager.templatetags.console import compact, grouped

TODAY = date(2026, 11, 23)
counts = st.integers(min_value=0, max_value=10**7)


def _days(numbers: list[int]) -> list[tuple[date, int]]:
    first = TODAY - timedelta(days=len(numbers) - 1)
    return [(first + timedelta(days=index), number) for index, number in enumerate(numbers)]


# --- Bars -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("busiest", "end"), [(0, 2), (1, 2), (3, 4), (7, 10), (10, 10), (11, 20), (99, 100), (60001, 100000)]
)
def test_the_scale_ends_at_the_next_round_even_number(busiest: int, end: int) -> None:
    assert scale_end(busiest) == end


@given(st.lists(counts, min_size=1, max_size=60))
def test_bars_stand_on_the_ground_in_proportion_to_their_counts(numbers: list[int]) -> None:
    chart = bar_chart(_days(numbers))
    assert (chart.total, chart.busiest) == (sum(numbers), max(numbers))
    assert chart.top >= chart.busiest
    for number, bar in zip(numbers, chart.bars, strict=True):
        assert bar.y + bar.height == pytest.approx(100)
        assert (bar.height > 0) is (number > 0)
        assert bar.height <= 100
        if number * 50 > chart.top:
            assert bar.height == pytest.approx(100 * number / chart.top, abs=0.01)
        assert bar.slot <= bar.x
        assert bar.x + chart.bar_width <= bar.slot + chart.slot_width + 0.01


def test_only_the_last_bar_is_today_and_its_label_says_so() -> None:
    chart = bar_chart(_days([1] * 30))
    assert [bar.is_today for bar in chart.bars] == [False] * 29 + [True]
    assert [label.is_today for label in chart.labels] == [False] * 4 + [True]
    assert [label.day for label in chart.labels][-2:] == [TODAY - timedelta(days=7), TODAY]


def test_the_middle_of_the_scale_is_a_whole_number() -> None:
    assert all(bar_chart(_days([busiest])).top % 2 == 0 for busiest in range(2000))


# --- Shares ---------------------------------------------------------------------------------------


@given(st.lists(counts, min_size=1, max_size=6).filter(any))
def test_shares_fill_the_bar_without_gaps_and_each_is_seen(numbers: list[int]) -> None:
    found = spans(numbers)
    at = 0.0
    for number, span in zip(numbers, found, strict=True):
        assert span.x == pytest.approx(at, abs=0.05)
        assert (span.width > 2) is (number > 0)
        at += span.width
    assert at == pytest.approx(100, abs=0.1)


def test_nothing_has_no_shares() -> None:
    assert [span.width for span in spans([0, 0])] == [0, 0]


# --- The line of time -----------------------------------------------------------------------------


@given(st.integers(0, 729))
def test_a_later_day_stands_further_right(days: int) -> None:
    assert timeline.TODAY <= timeline.place(days) < timeline.place(days + 1) <= timeline.END


def test_what_has_ended_stands_left_of_today_and_what_is_far_at_the_end() -> None:
    assert timeline.place(-1) == timeline.place(-999) < timeline.TODAY
    assert timeline.place(731) == timeline.place(9999) == timeline.END


def test_near_days_have_more_room_than_far_ones() -> None:
    week, year = timeline.place(7) - timeline.place(0), timeline.place(365) - timeline.place(358)
    assert week > 10 * year


def test_bands_lie_side_by_side_from_the_left_edge_to_the_last_day() -> None:
    first, second = timeline.bands([("ended", -1), ("week", 7)])
    assert (first.x, first.width) == (0, timeline.TODAY)
    assert second.x == timeline.TODAY
    assert second.x + second.width == pytest.approx(timeline.place(7), abs=0.01)


@given(st.lists(st.integers(-100, 1000), max_size=200))
def test_columns_lose_nobody_and_stay_inside(days: list[int]) -> None:
    found = timeline.columns([("later", number) for number in days])
    assert sum(column.count for column in found) == len(days)
    for column in found:
        assert 0 <= column.x <= column.x + timeline.COLUMN_WIDTH <= 100
        assert column.y >= -0.01
        assert column.y + column.height == pytest.approx(100, abs=0.02)


def test_a_column_bears_the_name_of_its_nearest_end() -> None:
    (column,) = timeline.columns([("later", 9999), ("month", 731)])
    assert (column.name, column.count) == ("month", 2)


# --- Numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0"), (9999, "9,999"), (60000, "60k"), (1000000, "1M"), (2500000, "2.5M")]
)
def test_large_numbers_are_short_on_a_scale(number: int, shown: str) -> None:
    assert compact(number) == shown


def test_numbers_are_grouped() -> None:
    assert grouped(1234567) == "1,234,567"
