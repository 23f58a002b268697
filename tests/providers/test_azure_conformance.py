"""The Azure provider, unmodified SDK included, against the sandbox over TLS."""

from collections.abc import Callable, Iterator

import pytest

from cryptosources.providers.api import FullProvider
from tests.providers.azure_support import open_azure, sandbox_config
from tests.providers.conformance import ProviderConformance
from tests.sandbox_server import SandboxServer


class TestAzureManagedHsm(ProviderConformance):
    @pytest.fixture
    def provider(self, sandbox: SandboxServer) -> Iterator[FullProvider]:
        with open_azure(sandbox_config(sandbox)) as opened:
            yield opened

    @pytest.fixture
    def foreign_provider(self, sandbox: SandboxServer) -> Iterator[FullProvider]:
        with open_azure(sandbox_config(sandbox, "elsewhere.localhost")) as opened:
            yield opened

    @pytest.fixture
    def reopen(self, sandbox: SandboxServer) -> Callable[[], FullProvider]:
        return lambda: open_azure(sandbox_config(sandbox))
