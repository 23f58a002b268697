"""The open providers of this process: one per source, opened after fork, opened anew after an edit.

For workers only: opening a provider opens the source's sealed Key.
"""

import os
import threading
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from cryptosources.models import CryptoSource
from cryptosources.providers.api import FullProvider, ProviderKind
from cryptosources.providers.config import AzureConfig, MemoryConfig, ProviderConfig, Timeouts
from cryptosources.providers.errors import ConfigurationError
from cryptosources.providers.registry import open_provider
from secretstore.services import open_from


@dataclass(frozen=True, slots=True)
class _Connection:
    revision: int
    provider: FullProvider


class _Connections:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[UUID, _Connection] = {}

    def get(self, source: CryptoSource) -> FullProvider:
        with self._lock:
            held = self._open.get(source.pk)
            if held is not None and held.revision >= source.revision:
                return held.provider
            provider = open_provider(
                source.provider_kind, _config(source), clock=timezone.now, timeouts=_timeouts()
            )
            self._open[source.pk] = _Connection(source.revision, provider)
        if held is not None:
            held.provider.close()
        return provider

    def take_all(self) -> list[FullProvider]:
        with self._lock:
            connections, self._open = list(self._open.values()), {}
        return [connection.provider for connection in connections]

    def forget(self) -> None:
        """In a forked child: sockets and lock are the parent's, so they are dropped, not closed or taken."""
        self._lock = threading.Lock()
        self._open = {}


_connections: Final = _Connections()
os.register_at_fork(after_in_child=_connections.forget)


def provider_for(*, source: CryptoSource) -> FullProvider:
    """The open provider of a source, for its newest settings that this process has seen.

    Kept open and shared: do not close it, and do not hold it longer than one operation. Raises
    ``SealedForWorkers`` outside workers, ``CannotOpen``, ``ConfigurationError`` | ``UnsupportedOperation``.
    """
    return _connections.get(source)


def close_connections() -> None:
    """Close everything that is open in this process."""
    for provider in _connections.take_all():
        provider.close()


def _config(source: CryptoSource) -> ProviderConfig:
    if source.provider_kind is ProviderKind.MEMORY:
        return _memory_config(source)
    return AzureConfig(
        base_url=source.dns_name,
        token_endpoint=source.token_endpoint,
        application_id=str(source.application_id),
        client_secret=open_from(source, "sealed_secret"),
        trusted_roots_pem=source.trusted_roots,
        hsm_hosts=tuple(settings.HSM_HOSTS),
        token_hosts=tuple(settings.TOKEN_HOSTS),
    )


def _memory_config(source: CryptoSource) -> MemoryConfig:
    if not getattr(settings, "ALLOW_MEMORY_SOURCES", False):
        raise ConfigurationError("In-memory sources are for tests; this installation does not allow them.")
    return MemoryConfig(name=str(source.pk))


def _timeouts() -> Timeouts:
    total = settings.PROVIDER_DEADLINE
    usual = Timeouts()
    return Timeouts(connect=min(usual.connect, total), read=min(usual.read, total), total=total)
