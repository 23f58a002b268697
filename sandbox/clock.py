"""The sandbox's own clock, which a test may move forward to see secrets, tokens and retention periods end."""

import time
from datetime import UTC, datetime


class Clock:
    """Wall-clock time plus an offset that lives as long as the process."""

    def __init__(self) -> None:
        self._offset = 0.0

    def advance(self, seconds: float) -> None:
        self._offset += seconds

    def timestamp(self) -> int:
        """Whole seconds since 1970, the unit of every time on the wire."""
        return int(time.time() + self._offset)

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self._offset, tz=UTC)
