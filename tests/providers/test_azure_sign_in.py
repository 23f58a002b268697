"""Signing in: how often, to whom, and what a refusal becomes."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from azure.keyvault.keys._shared import http_challenge_cache
from azure.keyvault.keys._shared.http_challenge import HttpChallenge

from cryptosources.providers.api import KeyRef, StepOutcome
from cryptosources.providers.azure import auth
from cryptosources.providers.config import AzureConfig
from cryptosources.providers.errors import (
    AuthenticationFailed,
    ConfigurationError,
    CredentialExpired,
    ProviderError,
    ProviderUnavailable,
    Throttled,
)
from tests.providers.azure_support import open_azure, sandbox_config
from tests.providers.canned import OTHER_TENANT, TENANT, CannedServer, Reply, entra_refusal
from tests.sandbox_server import SandboxServer


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with CannedServer() as running:
        yield running


def failure(config: AzureConfig, error: type[ProviderError]) -> ProviderError:
    with open_azure(config) as provider, pytest.raises(error) as caught:
        provider.describe_key(KeyRef("invoices"))
    return caught.value


# --- Against the sandbox ------------------------------------------------------------------------


def test_a_wrong_secret_is_tried_exactly_once(sandbox: SandboxServer) -> None:
    sandbox.reset_requests()
    with open_azure(sandbox_config(sandbox, secret="wrong~secret")) as provider:
        for _ in range(3):
            with pytest.raises(AuthenticationFailed) as caught:
                provider.describe_key(KeyRef("invoices"))
            assert caught.value.code == "AADSTS7000215"
            assert not caught.value.retryable
    counts = {name: count for name, count in sandbox.requests().items() if "token" in name}
    assert counts == {"entra oauth2/v2.0/token 401": 1}


def test_an_expired_secret_is_its_own_error(sandbox: SandboxServer) -> None:
    app = sandbox.add_app()
    past = datetime.now(UTC) - timedelta(days=1)
    old = sandbox.add_secret(past - timedelta(days=1), past, application_id=app.application_id)
    config = sandbox_config(sandbox, application_id=app.application_id, secret=old.value)
    assert failure(config, CredentialExpired).code == "AADSTS7000222"


def test_an_unknown_application_is_refused(sandbox: SandboxServer) -> None:
    config = sandbox_config(sandbox, application_id="11111111-2222-3333-4444-555555555555")
    error = failure(config, AuthenticationFailed)
    assert error.code == "AADSTS700016"
    assert "Application ID" in error.message


def test_an_unknown_tenant_is_a_matter_of_configuration(sandbox: SandboxServer) -> None:
    endpoint = sandbox.token_endpoint().replace(sandbox.tenant, OTHER_TENANT)
    error = failure(sandbox_config(sandbox, token_endpoint=endpoint), ConfigurationError)
    assert not error.retryable


@pytest.mark.parametrize("version", [1, 2])
def test_both_forms_of_token_endpoint_work(sandbox: SandboxServer, version: int) -> None:
    endpoint = sandbox.token_endpoint(version)
    with open_azure(sandbox_config(sandbox, token_endpoint=endpoint)) as provider:
        list(provider.list_keys())


def test_a_tenant_in_capitals_or_by_its_domain_works(sandbox: SandboxServer) -> None:
    for tenant in (sandbox.tenant.upper(), "sandbox.onmicrosoft.com"):
        endpoint = sandbox.token_endpoint().replace(sandbox.tenant, tenant)
        with open_azure(sandbox_config(sandbox, token_endpoint=endpoint)) as provider:
            list(provider.list_keys())


def test_an_unknown_domain_is_a_matter_of_configuration(sandbox: SandboxServer) -> None:
    endpoint = sandbox.token_endpoint().replace(sandbox.tenant, "nobody.example")
    error = failure(sandbox_config(sandbox, token_endpoint=endpoint), ConfigurationError)
    assert error.code == "AADSTS90002"


def test_a_short_token_is_fetched_anew(sandbox: SandboxServer) -> None:
    """Every token that is about to end is replaced before it is refused."""
    sandbox.set_token_lifetime(200)
    try:
        with open_azure(sandbox_config(sandbox)) as provider:
            sandbox.reset_requests()
            for _ in range(3):
                provider.delete_key(KeyRef("absent"))
            assert sandbox.requests()["entra oauth2/v2.0/token 200"] == 3
    finally:
        sandbox.set_token_lifetime(3599)


def test_a_changed_secret_needs_a_new_provider_and_then_works(sandbox: SandboxServer) -> None:
    app = sandbox.add_app()
    wrong = sandbox_config(sandbox, application_id=app.application_id, secret="wrong~secret")
    failure(wrong, AuthenticationFailed)
    right = sandbox_config(sandbox, application_id=app.application_id, secret=app.secret.value)
    with open_azure(right) as provider:
        list(provider.list_keys())


# --- Against answers of our own -----------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [entra_refusal(401, "invalid_client", 7000215), entra_refusal(400, "unauthorized_client", 700016)],
    ids=["401", "400"],
)
def test_a_refused_sign_in_is_not_repeated_by_itself(
    server: CannedServer, monkeypatch: pytest.MonkeyPatch, refusal: Reply
) -> None:
    monkeypatch.setattr(auth, "_REFUSAL_SECONDS", 0.5)
    server.tokens = [refusal]
    with open_azure(server.config()) as provider:
        for name in ("invoices", "receipts"):
            with pytest.raises(AuthenticationFailed) as caught:
                provider.describe_key(KeyRef(name))
            assert caught.value.key == name
            assert caught.value.request_id == "entra-request"
        assert server.count("/token") == 1


def test_a_refused_secret_may_be_tried_again_after_a_while(
    server: CannedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_REFUSAL_SECONDS", 0.1)
    server.tokens = [entra_refusal(401, "invalid_client", 7000215)]
    with open_azure(server.config()) as provider:
        with pytest.raises(AuthenticationFailed):
            provider.describe_key(KeyRef("invoices"))
        time.sleep(0.2)
        list(provider.list_keys())
        assert server.count("/token") == 2


def test_a_connection_test_signs_in_anew_after_a_refusal(server: CannedServer) -> None:
    server.tokens = [entra_refusal(400, "unauthorized_client", 700016)]
    with open_azure(server.config()) as provider:
        with pytest.raises(AuthenticationFailed):
            provider.describe_key(KeyRef("invoices"))
        steps = {step.name: step.outcome for step in provider.check_health()}
    assert steps["token"] is StepOutcome.PASSED


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_sign_in_service_is_asked_once(server: CannedServer, status: int) -> None:
    error = {429: Throttled, 503: ProviderUnavailable}[status]
    server.tokens = [Reply(status, {}, {"Retry-After": "7"})]
    with open_azure(server.config()) as provider:
        for _ in range(2):
            with pytest.raises(error) as caught:
                provider.describe_key(KeyRef("invoices"))
            assert type(caught.value) is error
            assert caught.value.retryable
        assert caught.value.retry_after == 7.0
    assert server.count("/token") == 1


def test_a_stopped_sign_in_service_is_not_a_refusal(server: CannedServer) -> None:
    with CannedServer() as hsm:
        config = replace(
            hsm.config(),
            token_endpoint=server.config().token_endpoint,
            token_hosts=server.config().token_hosts,
            trusted_roots_pem=hsm.authority.pem + server.authority.pem,
        )
        server.stop()
        error = failure(config, ProviderUnavailable)
        assert type(error) is ProviderUnavailable
        assert error.outcome_known


def test_a_sign_in_service_that_is_not_trusted_gets_no_secret(server: CannedServer) -> None:
    with CannedServer() as hsm:
        config = replace(
            hsm.config(),
            token_endpoint=server.config().token_endpoint,
            token_hosts=server.config().token_hosts,
        )
        assert "not trusted" in failure(config, ConfigurationError).message
        assert server.seen == []


def test_threads_that_start_together_sign_in_once(server: CannedServer) -> None:
    server.tokens = [server.token_reply(delay=0.3)]
    errors: list[BaseException] = []
    with open_azure(server.config()) as provider:
        together = threading.Barrier(8, timeout=10)

        def use() -> None:
            try:
                together.wait()
                list(provider.list_keys())
            except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
                errors.append(error)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert errors == []
    assert server.count("/token") == 1


# --- A secret goes only where it belongs ----------------------------------------------------------


@pytest.mark.parametrize(
    ("tenant", "resource", "words"),
    [
        (OTHER_TENANT, "", OTHER_TENANT),
        (TENANT, "https://vault.azure.net", "https://vault.azure.net"),
        (TENANT, "https://graph.microsoft.com", "https://graph.microsoft.com"),
    ],
)
def test_a_challenge_that_does_not_fit_gets_neither_secret_nor_token(
    server: CannedServer, tenant: str, resource: str, words: str
) -> None:
    server.challenge_tenant, server.challenge_resource = tenant, resource
    error = failure(server.config(), ConfigurationError)
    assert words in error.message
    assert server.count("/token") == 0
    assert server.count("/keys", signed_in=True) == 0


def poison(server: CannedServer) -> None:
    """Leave another tenant's challenge in the cache that the SDK keeps for the whole process."""
    header = f'Bearer authorization="https://login.example/{OTHER_TENANT}", resource="https://x.example"'
    http_challenge_cache.set_challenge_for_url(server.audience, HttpChallenge(server.audience, header))


def test_a_new_provider_asks_for_its_own_challenge(server: CannedServer) -> None:
    poison(server)
    with open_azure(server.config()) as provider:
        list(provider.list_keys())


def test_a_challenge_left_by_another_source_gets_no_secret(server: CannedServer) -> None:
    with open_azure(server.config()) as provider:
        provider._made_client()
        poison(server)
        with pytest.raises(ConfigurationError, match=OTHER_TENANT):
            list(provider.list_keys())
    assert server.count("/token") == 0
    assert server.count("/keys", signed_in=True) == 0


def test_a_token_endpoint_elsewhere_gets_no_secret(server: CannedServer) -> None:
    """Entra's own configuration names the token endpoint; one that is not allowed is not used."""
    with CannedServer() as thief:
        server.openid = [server.openid_reply(token_host=thief.audience)]
        config = server.config()
        config = replace(config, trusted_roots_pem=config.trusted_roots_pem + thief.authority.pem)
        assert "The sign-in service sends elsewhere" in failure(config, ConfigurationError).message
        assert thief.seen == []


@pytest.mark.parametrize("lists", [{"hsm_hosts": ()}, {"token_hosts": ()}])
def test_a_worker_checks_the_allow_lists_itself(
    server: CannedServer, lists: dict[str, tuple[str, ...]]
) -> None:
    error = failure(replace(server.config(), **lists), ConfigurationError)  # type: ignore[arg-type]  # one list
    assert error.code == "ADDRESS"
    assert server.seen == []
