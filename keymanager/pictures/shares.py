"""One bar, cut into the shares of a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: No share that is there at all is narrower than this part of the whole.
_LEAST: Final = 0.025


@dataclass(frozen=True, slots=True)
class Span:
    """Where a share lies, in percent of the width."""

    x: float
    width: float


def spans(counts: Sequence[int]) -> list[Span]:
    """The places of the shares, in their order; a share of nothing has no width."""
    least = _LEAST * sum(counts)
    weights = [max(float(count), least) if count else 0.0 for count in counts]
    whole = sum(weights)
    found, at = [], 0.0
    for weight in weights:
        width = 100 * weight / whole if whole else 0.0
        found.append(Span(round(at, 2), round(width, 2)))
        at += width
    return found
