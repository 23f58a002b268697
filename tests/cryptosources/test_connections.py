"""One open provider per process and source."""

import os
from datetime import timedelta

import pytest
from pytest_django import Settings

from cryptosources.models import CryptoSource
from cryptosources.providers.api import ProviderKind
from cryptosources.providers.config import AzureConfig
from cryptosources.providers.errors import ConfigurationError
from cryptosources.providers.memory import MemoryProvider
from cryptosources.services import connections, sources
from cryptosources.services.connections import close_connections, provider_for
from secretstore.services import SealedForWorkers
from tests.cryptosources.factories import ACTOR, KEY, NOW, azure_settings, make_source, memory_settings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("licensed")]


@pytest.fixture
def source() -> CryptoSource:
    return make_source()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The providers that were closed, in order."""
    found: list[object] = []

    def close(self: MemoryProvider) -> None:
        found.append(self)

    monkeypatch.setattr(MemoryProvider, "close", close)
    return found


def edited(source: CryptoSource, name: str) -> CryptoSource:
    return sources.update_source(
        source_id=source.pk,
        based_on=source.revision,
        entered=memory_settings(name),
        actor=ACTOR,
        now=NOW + timedelta(minutes=1),
    )


def test_a_source_has_one_provider(source: CryptoSource) -> None:
    assert provider_for(source=source) is provider_for(source=CryptoSource.objects.get())
    assert provider_for(source=make_source(memory_settings("Other"))) is not provider_for(source=source)


def test_an_edit_replaces_and_closes_it(source: CryptoSource, closed: list[object]) -> None:
    before = provider_for(source=source)
    after = provider_for(source=edited(source, "Renamed"))
    assert after is not before
    assert closed == [before]


def test_a_stale_instance_does_not_bring_old_settings_back(
    source: CryptoSource, closed: list[object]
) -> None:
    new = provider_for(source=edited(source, "Renamed"))
    assert provider_for(source=source) is new
    assert closed == []


def test_all_are_closed_at_the_end(source: CryptoSource, closed: list[object]) -> None:
    provider = provider_for(source=source)
    close_connections()
    assert closed == [provider]
    assert provider_for(source=source) is not provider


def test_a_forked_child_opens_its_own(source: CryptoSource, closed: list[object]) -> None:
    inherited = provider_for(source=source)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        own = connections._connections._open == {} and provider_for(source=source) is not inherited
        os.write(writer, b"own" if own and closed == [] else b"inherited")
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"own"
    assert provider_for(source=source) is inherited


def test_a_web_process_cannot_open_one(settings: Settings) -> None:
    source = make_source(azure_settings())
    settings.ROLE = "web"
    with pytest.raises(SealedForWorkers):
        provider_for(source=source)


def test_memory_needs_the_settings_word(source: CryptoSource, settings: Settings) -> None:
    settings.ALLOW_MEMORY_SOURCES = False
    with pytest.raises(ConfigurationError):
        provider_for(source=source)


def test_an_azure_source_is_opened_with_its_settings_and_the_opened_key(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    opened: list[tuple[ProviderKind, AzureConfig, float]] = []

    def open_provider(kind: ProviderKind, config: AzureConfig, *, clock: object, timeouts: object) -> object:
        opened.append((kind, config, timeouts.total))  # type: ignore[attr-defined]
        return MemoryProvider

    monkeypatch.setattr(connections, "open_provider", open_provider)
    monkeypatch.setattr(MemoryProvider, "close", lambda *_: None)
    source = make_source(azure_settings())
    provider_for(source=source)
    ((kind, config, total),) = opened
    assert kind is ProviderKind.AZURE_MANAGED_HSM
    assert config.base_url == "https://contoso.managedhsm.azure.net"
    assert config.client_secret.reveal_text() == KEY
    assert config.hsm_hosts == tuple(settings.HSM_HOSTS)
    assert total == settings.PROVIDER_DEADLINE
    assert KEY not in repr(config)
