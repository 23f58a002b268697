"""The sandbox's own clock, which a test may move forward to see secrets, tokens and retention periods end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_skew: ContextVar[float] = ContextVar("skew", default=0.0)


class Clock:
    """Wall-clock time plus an offset that lives as long as the process."""

    def __init__(self) -> None:
        self._offset = 0.0

    def advance(self, seconds: float) -> None:
        self._offset += seconds

    def true_time(self) -> float:
        """Seconds since 1970, however wrong the clock is set for the request in hand."""
        return time.time() + self._offset

    def timestamp(self) -> int:
        """Whole seconds since 1970, the unit of every time on the wire."""
        return int(self.true_time() + _skew.get())

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.true_time() + _skew.get(), tz=UTC)


@contextmanager
def skewed(seconds: float) -> Iterator[None]:
    """Every clock of this task is wrong by so much inside."""
    token = _skew.set(seconds)
    try:
        yield
    finally:
        _skew.reset(token)
