"""What the features of licences are for here. The rooms above tell; this one knows none of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Use:
    """A feature that a licence may enable: what it is called, and what stops without it.

    ``active`` are the names of what uses it now; ``inactive`` counts what is there, switched off.
    """

    feature: str
    label: str
    active: tuple[str, ...] = ()
    inactive: int = 0


_tellers: list[Callable[[], Iterable[Use]]] = []


def register(teller: Callable[[], Iterable[Use]]) -> None:
    """Let the licence's pages ask ``teller`` at each look (idempotent)."""
    if teller not in _tellers:
        _tellers.append(teller)


def uses() -> list[Use]:
    """Every feature that somebody here has a use for."""
    return [use for teller in _tellers for use in teller()]
