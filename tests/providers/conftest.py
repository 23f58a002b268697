"""Sandboxes that provider tests share: starting one takes a second."""

from collections.abc import Iterator

import pytest

from tests.sandbox_server import SandboxServer


@pytest.fixture(scope="package")
def sandbox() -> Iterator[SandboxServer]:
    """HSMs ``localhost`` and ``elsewhere.localhost``, each with a security domain of its own."""
    with SandboxServer(("localhost=here", "elsewhere.localhost=there")) as server:
        yield server
