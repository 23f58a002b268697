"""One sandbox for all tests that leave it as they found it but for keys; names are never used twice."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.sandbox.wire import Wire, close_all
from tests.sandbox_server import SandboxServer

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _close_connections() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture(scope="session")
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[SandboxServer]:
    """A sandbox that the test may change as it likes."""
    with SandboxServer() as running:
        yield running


@pytest.fixture(scope="session")
def wire(server: SandboxServer) -> Wire:
    return Wire(server)


@pytest.fixture
def name() -> str:
    """A key name that no other test uses."""
    return f"key-{next(_numbers)}"


@pytest.fixture
def names() -> Callable[[], str]:
    return lambda: f"key-{next(_numbers)}"
