"""Dates, tags and counted names: the pure rules."""

from datetime import UTC, datetime, timedelta

import pytest

from keys.attributes import (
    EXPIRES_SOON,
    MOST_TAGS,
    BadAttributes,
    Validity,
    format_tags,
    own_tags,
    parse_tags,
    require_dates,
    validity_of,
)
from keys.naming import MOST_AT_ONCE, BadCount, counted_names

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("enabled", "start", "end", "validity"),
    [
        (True, None, None, Validity.VALID),
        (True, NOW, None, Validity.VALID),
        (True, NOW + SECOND, None, Validity.NOT_YET_VALID),
        (True, None, NOW, Validity.EXPIRED),
        (True, None, NOW + SECOND, Validity.EXPIRING),
        (True, None, NOW + EXPIRES_SOON, Validity.EXPIRING),
        (True, None, NOW + EXPIRES_SOON + SECOND, Validity.VALID),
        (True, NOW + SECOND, NOW + 2 * SECOND, Validity.NOT_YET_VALID),
        (False, None, NOW - SECOND, Validity.DISABLED),
    ],
)
def test_validity(enabled: bool, start: datetime | None, end: datetime | None, validity: Validity) -> None:
    assert validity_of(enabled=enabled, not_before=start, expires_at=end, now=NOW) is validity
    assert validity.may_sign is (validity in (Validity.VALID, Validity.EXPIRING))


def test_the_end_comes_after_the_beginning() -> None:
    require_dates(not_before=NOW, expires_at=NOW + SECOND)
    with pytest.raises(BadAttributes) as refused:
        require_dates(not_before=NOW, expires_at=NOW)
    assert refused.value.field == "expires_at"


def test_tags_are_read_line_by_line_and_written_back() -> None:
    tags = parse_tags(" department = seals \n\nnote=a=b\nempty=\n")
    assert tags == {"department": "seals", "note": "a=b", "empty": ""}
    assert parse_tags(format_tags(tags)) == tags
    assert parse_tags("") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seals", "Line 1 is not"),
        ("a=1\n\nseals", "Line 3 is not"),
        ("=value", "has no name"),
        ("a=1\na=2", "comes twice"),
        (f"{'n' * 257}=1", "too long"),
        (f"a={'v' * 257}", "too long"),
        ("a=\x00", "cannot be shown"),
        ("KeyManager-key=mine", "kept for this console"),
        ("\n".join(f"tag{number}=1" for number in range(MOST_TAGS + 1)), "at most 13"),
    ],
)
def test_unfit_tags_are_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(BadAttributes, match=reason) as refused:
        parse_tags(text)
    assert refused.value.field == "tags"


def test_the_longest_tags_and_the_most_of_them_are_fine() -> None:
    assert len(parse_tags("\n".join(f"{'n' * 254}{number:02}={'v' * 256}" for number in range(13)))) == 13


def test_this_consoles_tags_are_not_the_operators() -> None:
    assert own_tags({"keymanager-key": "1", "keymanager-installation": "2", "a": "b"}) == {"a": "b"}


def test_one_key_has_the_plain_name() -> None:
    assert counted_names("eseal", count=1, first=7, digits=2) == ["eseal"]


def test_counted_names_sort_in_their_order() -> None:
    names = counted_names("eseal-", count=12, first=89, digits=3)
    assert names[0] == "eseal-089"
    assert names[-1] == "eseal-100"
    assert names == sorted(names)
    assert len(set(names)) == 12


@pytest.mark.parametrize(
    ("numbers", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": MOST_AT_ONCE + 1}, "count"),
        ({"count": 2, "first": -1}, "first"),
        ({"count": 2, "digits": 0}, "digits"),
        ({"count": 2, "digits": 10}, "digits"),
        ({"count": 2, "first": 999, "digits": 3}, "digits"),
    ],
)
def test_numbers_that_do_not_work_name_their_field(numbers: dict[str, int], field: str) -> None:
    with pytest.raises(BadCount) as refused:
        counted_names("eseal-", **numbers)
    assert refused.value.field == field
