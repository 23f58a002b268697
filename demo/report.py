"""What the demo tells the person who started it: one line a step, with the time it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say what was done and the seconds it took, once it is done."""
    begun = time.monotonic()
    yield
    say(f"  ok  {title:<66} {time.monotonic() - begun:6.2f} s")
