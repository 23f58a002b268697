"""Opens a provider by its kind; a kind's vendor SDK is imported only when it is opened."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptosources.providers.api import Clock, FullProvider, ProviderKind
from cryptosources.providers.config import AzureConfig, MemoryConfig, ProviderConfig, Timeouts
from cryptosources.providers.errors import ConfigurationError, UnsupportedOperation

_DEFAULT_TIMEOUTS: Final = Timeouts()


def open_provider(
    kind: ProviderKind, config: ProviderConfig, *, clock: Clock, timeouts: Timeouts = _DEFAULT_TIMEOUTS
) -> FullProvider:
    """A provider for the source that ``config`` describes. Nothing is sent before its first call.

    Open it after a fork, one per process and source, and close it when the source changes.
    UnsupportedOperation with a readable reason where the kind cannot work on this machine;
    ConfigurationError when the configuration is for another kind; what is in it is checked at the
    first call, so that a connection test can show what is wrong.
    """
    reason = why_unavailable(kind)
    if reason:
        raise UnsupportedOperation(reason, operation="open")
    family = _FAMILIES[kind]
    if not isinstance(config, family.config):
        raise ConfigurationError(
            f"A source of type {family.name} cannot be opened with {type(config).__name__}.", operation="open"
        )
    return family.factory(config, clock, timeouts)


def why_unavailable(kind: ProviderKind) -> str:
    """Why sources of this kind cannot work on this machine, in a sentence; empty when they can."""
    family = _FAMILIES[kind]
    missing = [package for package, module in family.needs.items() if not _importable(module)]
    if not missing:
        return ""
    return (
        f"{family.name} needs the Python package{'s' if len(missing) > 1 else ''} {' and '.join(missing)}, "
        "missing here; install the project's requirements again."
    )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _open_azure(config: ProviderConfig, clock: Clock, timeouts: Timeouts) -> FullProvider:
    from cryptosources.providers.azure.managed_hsm import AzureManagedHsm

    assert isinstance(config, AzureConfig)
    return AzureManagedHsm(config, clock=clock, timeouts=timeouts)


def _open_memory(config: ProviderConfig, clock: Clock, timeouts: Timeouts) -> FullProvider:
    from cryptosources.providers.memory import MemoryProvider

    assert isinstance(config, MemoryConfig)
    return MemoryProvider(config, clock=clock, timeouts=timeouts)


@dataclass(frozen=True, slots=True)
class _Family:
    """How to open one kind. ``needs`` names the packages to install and the modules they bring."""

    name: str
    config: type[ProviderConfig]
    factory: Callable[[ProviderConfig, Clock, Timeouts], FullProvider]
    needs: dict[str, str]


_FAMILIES: Final = {
    ProviderKind.AZURE_MANAGED_HSM: _Family(
        "Azure Managed HSM",
        AzureConfig,
        _open_azure,
        {"azure-keyvault-keys": "azure.keyvault.keys", "azure-identity": "azure.identity"},
    ),
    ProviderKind.MEMORY: _Family("In-memory HSM", MemoryConfig, _open_memory, {}),
}
