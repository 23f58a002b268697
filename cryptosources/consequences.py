"""What depends on a crypto source: told by the rooms that build on it, which this one does not know.

A room registers in its ``AppConfig.ready()`` what it has to say. Pure: no queries of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from django.db.models import Expression, Subquery

    from cryptosources.models import CryptoSource


class Severity(StrEnum):
    """What happens to it when the source is Inactive, or its Key has ended."""

    STOPS = "stops"
    NOTE = "note"
    GOES_ON = "goes_on"


@dataclass(frozen=True, slots=True)
class Consequence:
    """One thing that depends on a source: ``text`` is a whole phrase that holds the ``count``.

    ``severity``: it STOPS, it GOES_ON, or it is a NOTE that helps to judge. ``url`` leads to what is
    counted (empty: there is no page of it); ``permission`` is the one that the page asks for.
    """

    text: str
    count: int
    severity: Severity
    url: str = ""
    permission: str = ""


Teller = Callable[["CryptoSource", datetime], Iterable[Consequence]]
_tellers: Final[dict[str, Teller]] = {}
_residents: Final[dict[str, Callable[[], "Expression"]]] = {}
_refusals: Final[dict[str, Callable[[], "Subquery"]]] = {}


def register(room: str, teller: Teller) -> None:
    """Let a room tell what depends on a source; a second registration takes the first one's place."""
    _tellers[room] = teller


def register_residents(room: str, expression: Callable[[], "Expression"]) -> None:
    """Let a room count the keys that are in the HSM now: an integer expression over ``OuterRef("pk")``."""
    _residents[room] = expression


def register_refusals(room: str, expression: Callable[[], "Subquery"]) -> None:
    """Let a room tell when a sign-in or a right was last refused to it: a time over ``OuterRef("pk")``."""
    _refusals[room] = expression


def of(source: "CryptoSource", now: datetime) -> list[Consequence]:
    """Everything that depends on the source, room by room."""
    return [consequence for teller in _tellers.values() for consequence in teller(source, now)]


def resident_counts() -> list["Expression"]:
    """One expression a room, to be added up."""
    return [expression() for expression in _residents.values()]


def refusals() -> dict[str, "Subquery"]:
    """The last refusal (a time, or NULL) as each room met it."""
    return {room: expression() for room, expression in _refusals.items()}


def stopping(consequences: Iterable[Consequence]) -> list[Consequence]:
    return [each for each in consequences if each.severity is Severity.STOPS]
