"""A whole in its parts: the bar, and the words beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from keymanager.pictures.shares import Span, spans


@dataclass(frozen=True, slots=True)
class Part:
    """``kind`` ok | warn | bad | muted | info, as of a badge; ``url`` the list of what is counted."""

    label: str
    kind: str
    count: int
    url: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part with its place in the bar."""

    part: Part
    span: Span


def shares(parts: Sequence[Part]) -> list[Share]:
    """The parts that there are, in their order."""
    present = [part for part in parts if part.count]
    return [
        Share(part, span) for part, span in zip(present, spans([part.count for part in present]), strict=True)
    ]
