"""The in-memory provider keeps the protocol and lets tests inject failures."""

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import (
    FullProvider,
    KeyRef,
    KeySpec,
    KeyState,
    ProviderKind,
    Right,
    StepOutcome,
)
from cryptosources.providers.config import MemoryConfig
from cryptosources.providers.errors import (
    AccessDenied,
    KeyNotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    PurgeProtected,
)
from cryptosources.providers.memory import MemoryProvider, forget_memory_hsms, memory_hsm
from cryptosources.providers.registry import open_provider
from tests.providers.conformance import ProviderConformance, digest_for


def utc_now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(autouse=True, scope="module")
def _forget() -> Iterator[None]:
    yield
    forget_memory_hsms()


class TestMemory(ProviderConformance):
    CONFIG = MemoryConfig("conformance")

    @pytest.fixture
    def provider(self) -> Iterator[FullProvider]:
        with open_provider(ProviderKind.MEMORY, self.CONFIG, clock=utc_now) as opened:
            yield opened

    @pytest.fixture
    def foreign_provider(self) -> Iterator[FullProvider]:
        config = MemoryConfig("elsewhere", domain="another")
        with open_provider(ProviderKind.MEMORY, config, clock=utc_now) as opened:
            yield opened

    @pytest.fixture
    def reopen(self) -> Callable[[], FullProvider]:
        return lambda: open_provider(ProviderKind.MEMORY, self.CONFIG, clock=utc_now)


def opened(*, purge_protection: bool = False, clock: Callable[[], datetime] = utc_now) -> MemoryProvider:
    config = MemoryConfig(secrets.token_hex(4), purge_protection=purge_protection, retention_days=7)
    provider = open_provider(ProviderKind.MEMORY, config, clock=clock)
    assert isinstance(provider, MemoryProvider)
    return provider


SPEC = KeySpec("invoices", KeyAlgorithm.EC_P256)


def test_an_injected_failure_before_the_call_changes_nothing() -> None:
    provider = opened()
    provider.hsm.fail_next("create", ProviderUnavailable("down"))
    with pytest.raises(ProviderUnavailable):
        provider.create_key(SPEC)
    with pytest.raises(KeyNotFound):
        provider.describe_key(KeyRef("invoices"))
    provider.create_key(SPEC)


def test_an_injected_failure_after_the_call_takes_effect() -> None:
    provider = opened()
    provider.hsm.fail_next("create", OutcomeUnknown("lost answer"), after=True)
    with pytest.raises(OutcomeUnknown):
        provider.create_key(SPEC)
    assert provider.describe_key(KeyRef("invoices")).state is KeyState.ACTIVE


def test_failures_are_used_up_in_order() -> None:
    provider = opened()
    provider.create_key(SPEC)
    provider.hsm.fail_next("sign", ProviderUnavailable("down"), times=2)
    digest = digest_for(SignatureAlgorithm.ES256)
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            provider.sign_digest(KeyRef("invoices"), digest, SignatureAlgorithm.ES256)
    provider.sign_digest(KeyRef("invoices"), digest, SignatureAlgorithm.ES256)
    assert provider.hsm.calls["sign"] == 3


def test_a_denied_right_is_named_in_the_error_and_in_health() -> None:
    provider = opened()
    provider.hsm.deny(Right.PURGE)
    with pytest.raises(AccessDenied) as caught:
        provider.purge_key(KeyRef("invoices"))
    assert caught.value.missing_right == "purge"
    failed = [step for step in provider.check_health() if step.outcome is StepOutcome.FAILED]
    assert [step.name for step in failed] == ["right:purge"]
    provider.hsm.allow(Right.PURGE)
    provider.purge_key(KeyRef("invoices"))


def test_purge_protection_keeps_the_key() -> None:
    provider = opened(purge_protection=True)
    assert not provider.create_key(SPEC).purgeable
    provider.delete_key(KeyRef("invoices"))
    with pytest.raises(PurgeProtected):
        provider.purge_key(KeyRef("invoices"))
    assert provider.describe_key(KeyRef("invoices")).state is KeyState.SOFT_DELETED


def test_a_deleted_key_goes_by_itself_when_its_retention_is_over() -> None:
    now = [utc_now()]
    provider = opened(clock=lambda: now[0])
    provider.create_key(SPEC)
    provider.delete_key(KeyRef("invoices"))
    now[0] += timedelta(days=6)
    assert provider.describe_key(KeyRef("invoices")).state is KeyState.SOFT_DELETED
    now[0] += timedelta(days=1)
    with pytest.raises(KeyNotFound):
        provider.describe_key(KeyRef("invoices"))


def test_providers_of_the_same_name_share_one_hsm() -> None:
    provider = opened()
    assert memory_hsm(provider.hsm.config) is provider.hsm
