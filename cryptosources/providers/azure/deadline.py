"""One provider call: what it does, to which key, and until when.

The call stands in a context variable, because the SDKs between a provider and its socket pass no
deadline on. Everything that may wait (a lock, name resolution, a socket) asks it how long it still may.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from cryptosources.providers.config import Timeouts
from cryptosources.providers.errors import ProviderUnavailable

_NO_KEY: Final = ""


@dataclass(slots=True)
class Call:
    """A call in progress. ``ends_at`` is on the monotonic clock.

    ``changes`` says that the request in hand may change the HSM; ``in_doubt`` that such a request has
    left with a token and its answer has not come: only then may there be a change we do not know of.
    """

    operation: str
    key: str
    timeouts: Timeouts
    ends_at: float
    changes: bool = False
    in_doubt: bool = False

    def remaining(self) -> float:
        """Seconds left; TimeoutError when none are."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"The time for this call ({self.timeouts.total:g} s) is over.")
        return left

    def to_connect(self) -> float:
        return min(self.timeouts.connect, self.remaining())

    def to_read(self) -> float:
        return min(self.timeouts.read, self.remaining())

    def unavailable(self, message: str, *, code: str = "", remedy: str = "") -> ProviderUnavailable:
        return ProviderUnavailable(message, operation=self.operation, key=self.key, code=code, remedy=remedy)


_current: ContextVar[Call] = ContextVar("provider_call")


def current_call() -> Call:
    """The call that this thread is in; LookupError outside of one (a bug of the provider)."""
    return _current.get()


@contextmanager
def provider_call(operation: str, timeouts: Timeouts, key: str = _NO_KEY) -> Iterator[Call]:
    """Start a call with a fresh deadline."""
    call = Call(operation, key, timeouts, time.monotonic() + timeouts.total)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
