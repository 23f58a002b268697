"""Opening a provider by its kind: lazily, and with a readable reason where that cannot work."""

import importlib.util
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from cryptosources.providers import registry
from cryptosources.providers.api import ProviderKind
from cryptosources.providers.config import AzureConfig, MemoryConfig
from cryptosources.providers.errors import ConfigurationError, UnsupportedOperation
from cryptosources.providers.registry import open_provider, why_unavailable
from secretstore.secret import Secret

AZURE = AzureConfig("https://x.managedhsm.azure.net", "https://login.example/t", "app", Secret("s"))


def now() -> datetime:
    return datetime.now(UTC)


def test_every_kind_opens_here() -> None:
    for kind, config in ((ProviderKind.AZURE_MANAGED_HSM, AZURE), (ProviderKind.MEMORY, MemoryConfig("m"))):
        assert why_unavailable(kind) == ""
        with open_provider(kind, config, clock=now) as provider:
            assert provider.kind is kind
    assert set(registry._FAMILIES) == set(ProviderKind)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "azure.identity" else genuine(name)
    )
    assert "azure-identity" in why_unavailable(ProviderKind.AZURE_MANAGED_HSM)
    with pytest.raises(UnsupportedOperation, match="azure-identity"):
        open_provider(ProviderKind.AZURE_MANAGED_HSM, AZURE, clock=now)


def test_a_configuration_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="MemoryConfig"):
        open_provider(ProviderKind.AZURE_MANAGED_HSM, MemoryConfig("m"), clock=now)


def test_providers_need_neither_django_nor_celery_and_load_sdks_late() -> None:
    """In a fresh process: the registry loads no SDK, and the Azure provider no Django and no Celery."""
    program = (
        "import sys\n"
        "import cryptosources.providers.registry, cryptosources.providers.hosts\n"
        "assert not any(name.startswith(('azure.', 'msal')) for name in sys.modules)\n"
        "import cryptosources.providers.azure.managed_hsm, cryptosources.providers.memory\n"
        "assert not {'django', 'celery'} & set(sys.modules), 'not pure'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
