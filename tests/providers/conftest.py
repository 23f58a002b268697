"""What provider tests share: sandboxes, since starting one takes a second, and a small store of roots."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.canned import Authority
from tests.sandbox_server import SandboxServer


@pytest.fixture(scope="package", autouse=True)
def _small_store_of_roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One root that signed nothing, in the platform's place: reading the real ones takes most of a test."""
    path = tmp_path_factory.mktemp("roots") / "roots.pem"
    path.write_text(Authority().pem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        patch.setenv("SSL_CERT_DIR", str(path.parent / "absent"))
        yield path


@pytest.fixture(scope="package")
def sandbox() -> Iterator[SandboxServer]:
    """HSMs ``localhost`` and ``elsewhere.localhost``, each with a security domain of its own."""
    with SandboxServer(("localhost=here", "elsewhere.localhost=there")) as server:
        yield server
