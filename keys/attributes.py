"""Whether a key may be used now, and the tags that operators put on it. Pure.

An HSM refuses to sign with a version that is disabled or outside its dates; verifying still works. Tags
are at most 15 of 256 characters (vendor's page *About keys*); two of them are this console's own.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

INSTALLATION_TAG: Final = "keymanager-installation"
KEY_TAG: Final = "keymanager-key"
RESERVED_PREFIX: Final = "keymanager-"
MOST_TAGS: Final = 15 - len((INSTALLATION_TAG, KEY_TAG))
TAG_LENGTH: Final = 256
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2999
YEARS: Final = f"Give a year from {FIRST_YEAR} to {LAST_YEAR}."
#: From when on the console says that a key expires soon.
EXPIRES_SOON: Final = timedelta(days=30)


class Validity(StrEnum):
    VALID = "valid"
    EXPIRING = "expiring"  # valid, and its end is near
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    DISABLED = "disabled"

    @property
    def may_sign(self) -> bool:
        return self in (Validity.VALID, Validity.EXPIRING)


def validity_of(
    *, enabled: bool, not_before: datetime | None, expires_at: datetime | None, now: datetime
) -> Validity:
    """A key is valid from ``not_before`` on and until just before ``expires_at``; disabled beats both."""
    if not enabled:
        return Validity.DISABLED
    if expires_at is not None and now >= expires_at:
        return Validity.EXPIRED
    if not_before is not None and now < not_before:
        return Validity.NOT_YET_VALID
    if expires_at is not None and now >= expires_at - EXPIRES_SOON:
        return Validity.EXPIRING
    return Validity.VALID


class BadAttributes(ValueError):
    """Dates or tags that no key can have; ``field`` is the one to correct.

    ``problems`` has a sentence for each thing that is wrong; the message is all of them.
    """

    def __init__(self, *problems: str, field: str) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems
        self.field = field


def require_dates(*, not_before: datetime | None, expires_at: datetime | None) -> None:
    """BadAttributes unless the end comes after the beginning."""
    if not_before is not None and expires_at is not None and expires_at <= not_before:
        raise BadAttributes("This must be later than “Valid from”.", field="expires_at")


def require_year(at: datetime | None, *, field: str = "") -> None:
    """BadAttributes outside 2000 to 2999: an HSM counts seconds from 1970 on, and calendars end at 9999."""
    if at is not None and not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise BadAttributes(YEARS, field=field)


def require_tags(tags: Mapping[str, str]) -> None:
    """BadAttributes when there are too many, one is too long, or one has a name that is ours."""
    if len(tags) > MOST_TAGS:
        raise BadAttributes(f"A key holds at most {MOST_TAGS} tags; these are {len(tags)}.", field="tags")
    for name, value in tags.items():
        _require_tag(name, value)


def _require_tag(name: str, value: str) -> None:
    if not name:
        raise BadAttributes(f"The tag with the value “{_shown(value)}” has no name.", field="tags")
    if len(name) > TAG_LENGTH or len(value) > TAG_LENGTH:
        raise BadAttributes(
            f"The tag “{_shown(name)}” is too long: {TAG_LENGTH} characters for a name, and for a value.",
            field="tags",
        )
    if not (name + value).isprintable():
        raise BadAttributes(f"The tag “{_shown(name)}” holds a character that cannot be shown.", field="tags")
    if name.lower().startswith(RESERVED_PREFIX):
        raise BadAttributes(
            f"Names that begin with “{RESERVED_PREFIX}” are kept for this console: “{_shown(name)}”.",
            field="tags",
        )


def _shown(text: str) -> str:
    short = text if len(text) <= 40 else f"{text[:39]}…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in short)


def parse_tags(text: str) -> dict[str, str]:
    """Tags from lines of ``name=value``; blanks around names and values and empty lines do not count.

    BadAttributes, with every wrong line, for one without ``=``, for a name that comes twice, and as
    :func:`require_tags`.
    """
    tags: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            _add_tag(tags, line, number)
        except BadAttributes as error:
            problems += error.problems
    if problems:
        raise BadAttributes(*problems, field="tags")
    require_tags(tags)
    return tags


def _add_tag(tags: dict[str, str], line: str, number: int) -> None:
    name, equals, value = (part.strip() for part in line.partition("="))
    if not equals:
        raise BadAttributes(f"Line {number} is not of the form name=value.", field="tags")
    if name in tags:
        raise BadAttributes(f"The tag “{_shown(name)}” comes twice.", field="tags")
    _require_tag(name, value)
    tags[name] = value


def format_tags(tags: Mapping[str, str]) -> str:
    """The text that :func:`parse_tags` reads back."""
    return "\n".join(f"{name}={value}" for name, value in sorted(tags.items()))


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """An HSM's tags without this console's own."""
    return {name: value for name, value in tags.items() if name not in (INSTALLATION_TAG, KEY_TAG)}
