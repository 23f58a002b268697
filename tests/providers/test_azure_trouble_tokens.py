"""The provider while tokens are not what they should be, or the sign-in service is in trouble."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from azure.core.credentials import TokenRequestOptions

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyRef, KeySpec, Right
from cryptosources.providers.azure import auth
from cryptosources.providers.azure.managed_hsm import AzureManagedHsm
from cryptosources.providers.config import Timeouts
from cryptosources.providers.errors import (
    AuthenticationFailed,
    ProviderError,
    ProviderUnavailable,
    Throttled,
)
from tests.providers.azure_support import open_azure, sandbox_config
from tests.sandbox_server import SandboxServer

DIGEST = bytes(32)
IMPATIENT = Timeouts(connect=2.0, read=1.5, total=4.0)
TOKEN = "entra oauth2/v2.0/token 200"
KEY = KeyRef("signing")


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer() as server, open_azure(sandbox_config(server)) as provider:
        provider.create_key(KeySpec(KEY.name, KeyAlgorithm.EC_P256))
        yield server


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    running.reset_requests()
    yield running
    running.end_trouble()


@pytest.fixture
def provider(server: SandboxServer) -> Iterator[AzureManagedHsm]:
    """Has not signed in yet."""
    with open_azure(sandbox_config(server), IMPATIENT) as opened:
        yield opened


@pytest.fixture
def signed_in(server: SandboxServer, provider: AzureManagedHsm) -> AzureManagedHsm:
    provider.describe_key(KEY)
    server.reset_requests()
    return provider


def sign(provider: AzureManagedHsm) -> object:
    return provider.sign_digest(KEY, DIGEST, SignatureAlgorithm.ES256)


def failure(act: Callable[[], object], error: type[ProviderError]) -> ProviderError:
    with pytest.raises(error) as caught:
        act()
    assert type(caught.value) is error
    return caught.value


# --- Tokens that end too early ------------------------------------------------------------------


@pytest.mark.parametrize("claims", [False, True])
def test_a_revoked_token_is_replaced_once(
    server: SandboxServer, signed_in: AzureManagedHsm, claims: bool
) -> None:
    """With claims (continuous access evaluation) and without: an HSM that refuses a token did nothing."""
    server.trouble("revoke-token", next=1, claims=claims)
    sign(signed_in)
    assert server.effects() == {"sign": 1}
    assert server.requests()[TOKEN] == 1


def test_a_write_whose_token_is_revoked_takes_effect_once(
    server: SandboxServer, signed_in: AzureManagedHsm
) -> None:
    server.trouble("revoke-token", operations=["create"], next=1)
    signed_in.create_key(KeySpec("once", KeyAlgorithm.EC_P256))
    assert server.effects()["create"] == 1
    assert server.requests()["create 200"] == 1
    assert len(list(signed_in.list_versions("once"))) == 1


@pytest.mark.parametrize("claims", [False, True])
def test_threads_with_a_revoked_token_sign_in_once(
    server: SandboxServer, signed_in: AzureManagedHsm, claims: bool
) -> None:
    server.trouble("revoke-token", next=1, claims=claims)
    failed: list[ProviderError] = []

    def work() -> None:
        try:
            sign(signed_in)
        except ProviderError as err:
            failed.append(err)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failed == []
    assert server.effects() == {"sign": 8}
    assert server.requests()[TOKEN] == 1


@pytest.mark.parametrize("claims", [False, True])
def test_an_hsm_that_refuses_every_token_is_not_asked_without_end(
    server: SandboxServer, signed_in: AzureManagedHsm, claims: bool
) -> None:
    server.trouble("revoke-token", claims=claims)
    for _ in range(3):
        error = failure(lambda: sign(signed_in), AuthenticationFailed)
        assert (error.retryable, error.outcome_known) == (False, True)
    assert server.effects() == {}
    assert server.requests()[TOKEN] == 1, "one new token a minute"


@pytest.mark.parametrize("claims", [False, True])
def test_a_refused_token_is_replaced_when_the_minute_is_over(
    server: SandboxServer, signed_in: AzureManagedHsm, monkeypatch: pytest.MonkeyPatch, claims: bool
) -> None:
    """Not only within the call that met it: the next token may have been refused as well."""
    server.trouble("revoke-token", next=2, claims=claims)
    failure(lambda: sign(signed_in), AuthenticationFailed)
    failure(lambda: sign(signed_in), AuthenticationFailed)
    _minutes_later(monkeypatch, 1)
    sign(signed_in)
    assert server.effects() == {"sign": 1}
    assert server.requests()[TOKEN] == 2
    _minutes_later(monkeypatch, 2)
    options: TokenRequestOptions = {"tenant_id": server.tenant, "enable_cae": True}
    with signed_in._call(Right.SIGN, KEY) as hsm:
        hsm.sign_in.get_token_info(f"{server.audience}/.default", options=options)
    assert server.requests()[TOKEN] == 2, "a token that is not refused stays"


def _minutes_later(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    """For what is renewed at most once a minute; calls keep their own deadlines."""
    now = time.monotonic() + 61 * minutes
    monkeypatch.setattr(auth, "time", SimpleNamespace(monotonic=lambda: now))


def test_a_write_that_waits_for_a_new_token_in_vain_did_nothing(
    server: SandboxServer, signed_in: AzureManagedHsm
) -> None:
    """Its first token was refused, and the sign-in service breaks off: the write is not in doubt."""
    server.trouble("revoke-token", operations=["create"], next=1)
    server.trouble("reset", operations=["token"], next=1)
    spec = KeySpec("in-vain", KeyAlgorithm.EC_P256)
    error = failure(lambda: signed_in.create_key(spec), ProviderUnavailable)
    assert (error.code, error.outcome_known) == ("CONNECTION", True)
    assert server.effects() == {}


def test_a_token_that_ends_early(server: SandboxServer, provider: AzureManagedHsm) -> None:
    server.trouble("short-token", seconds=60, next=1)
    sign(provider)
    server.advance_clock(61)
    sign(provider)
    assert server.effects() == {"sign": 2}
    assert server.requests()[TOKEN] == 2


# --- Clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clock", "seconds"), [("hsm", -3600), ("entra", 3600)])
def test_clocks_that_disagree(
    server: SandboxServer, provider: AzureManagedHsm, clock: str, seconds: int
) -> None:
    """The token is not valid yet for the HSM: refused, told apart from a wrong secret, and nothing done."""
    server.trouble("skew", clock=clock, seconds=seconds)
    error = failure(lambda: sign(provider), AuthenticationFailed)
    assert error.code == "HTTP 401"
    assert "clock" in error.remedy
    assert server.effects() == {}


def test_clocks_that_agree_on_a_wrong_time(server: SandboxServer, provider: AzureManagedHsm) -> None:
    server.trouble("skew", clock="hsm", seconds=3600)
    server.trouble("skew", clock="entra", seconds=3600)
    sign(provider)
    assert server.effects() == {"sign": 1}


# --- The sign-in service ------------------------------------------------------------------------


@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_throttled_sign_in(
    server: SandboxServer, provider: AzureManagedHsm, retry_after: int | None
) -> None:
    named = {} if retry_after is None else {"retry_after": retry_after}
    server.trouble("throttle", operations=["token"], **named)
    error = failure(lambda: sign(provider), Throttled)
    assert (error.retryable, error.outcome_known) == (True, True)
    assert error.retry_after == retry_after
    assert server.effects() == {}
    assert server.requests()["entra oauth2/v2.0/token 429"] == 1


@pytest.mark.parametrize("status", [500, 503])
def test_a_failing_sign_in_service(server: SandboxServer, provider: AzureManagedHsm, status: int) -> None:
    server.trouble("error", operations=["token"], status=status)
    error = failure(lambda: provider.create_key(KeySpec("never", KeyAlgorithm.EC_P256)), ProviderUnavailable)
    assert (error.retryable, error.outcome_known) == (True, True)
    assert server.effects() == {}


@pytest.mark.parametrize("operation", ["token", "discovery"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("effect", "code"), [("reset", "CONNECTION"), ("hang", "TIMEOUT")])
def test_a_sign_in_without_an_answer(
    server: SandboxServer, provider: AzureManagedHsm, operation: str, moment: str, effect: str, code: str
) -> None:
    """The write that waited for the token was never sent, so its outcome is known."""
    server.trouble(effect, operations=[operation], moment=moment, next=1)
    error = failure(lambda: provider.create_key(KeySpec("never", KeyAlgorithm.EC_P256)), ProviderUnavailable)
    assert (error.code, error.retryable, error.outcome_known) == (code, True, True)
    assert server.effects() == {}
    sign(provider)


@pytest.mark.parametrize(("effect", "code"), [("reset", "CONNECTION"), ("hang", "TIMEOUT")])
def test_a_first_request_without_an_answer(
    server: SandboxServer, provider: AzureManagedHsm, effect: str, code: str
) -> None:
    """It carries no token, so it can have done nothing, whatever it asks for."""
    server.trouble(effect, operations=["challenge"], next=1)
    error = failure(lambda: provider.delete_key(KEY), ProviderUnavailable)
    assert (error.code, error.outcome_known) == (code, True)
    assert server.effects() == {}
    sign(provider)
