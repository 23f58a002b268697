"""The connection test: every step, and every way it can fail, with words and a remedy."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cryptosources.providers.algorithms import KeyAlgorithm
from cryptosources.providers.api import HealthStep, KeyRef, KeySpec, ProviderKind, Right, StepOutcome
from cryptosources.providers.azure import network
from cryptosources.providers.azure.rights import DATA_ACTIONS, full_action, granted_rights
from cryptosources.providers.config import AzureConfig, Timeouts
from cryptosources.providers.registry import open_provider
from tests.providers.azure_support import open_azure, sandbox_config
from tests.providers.canned import OTHER_TENANT, CannedServer, Hang, Reply, entra_refusal, refusal
from tests.sandbox_server import SandboxServer

CONNECTION = ["address", "endpoint", "dns", "tcp", "tls", "challenge", "token", "right:keys/read/action"]
SHORT = Timeouts(connect=0.5, read=0.5, total=1.0)


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with CannedServer() as running:
        yield running


def check(config: AzureConfig, needed: frozenset[str] | None = None) -> list[HealthStep]:
    with open_azure(config) as provider:
        return list(provider.check_health(needed_rights=needed))


def failed_at(config: AzureConfig) -> HealthStep:
    """The last step, which failed; all before it passed."""
    steps = check(config)
    assert [step.outcome for step in steps[:-1]] == [StepOutcome.PASSED] * (len(steps) - 1)
    assert steps[-1].outcome is StepOutcome.FAILED
    assert steps[-1].detail
    assert steps[-1].remedy
    return steps[-1]


def by_name(steps: list[HealthStep]) -> dict[str, HealthStep]:
    return {step.name: step for step in steps}


# --- All is well --------------------------------------------------------------------------------


def test_every_step_in_order(sandbox: SandboxServer) -> None:
    steps = check(sandbox_config(sandbox))
    assert [step.name for step in steps] == [
        *CONNECTION,
        "clock",
        "roles",
        *(f"right:{DATA_ACTIONS[right]}" for right in Right if right is not Right.READ),
        "purge_protection",
    ]
    assert {step.outcome for step in steps[:-1]} == {StepOutcome.PASSED}
    assert all(step.duration_ms >= 0 for step in steps)


def test_the_test_changes_nothing(sandbox: SandboxServer) -> None:
    app = sandbox.add_app(grants=("Crypto User", "Crypto Officer"))
    config = sandbox_config(sandbox, application_id=app.application_id, secret=app.secret.value)
    with open_azure(config) as provider:
        before = {info.ref.name for deleted in (False, True) for info in provider.list_keys(deleted=deleted)}
        sandbox.revoke("roleAssignments/read/action", application_id=app.application_id)
        list(provider.check_health())
        after = {info.ref.name for deleted in (False, True) for info in provider.list_keys(deleted=deleted)}
    assert after == before


def test_a_key_tells_that_deleted_keys_can_be_purged(sandbox: SandboxServer) -> None:
    config = sandbox_config(sandbox, "elsewhere.localhost")
    with open_azure(config) as provider:
        provider.create_key(KeySpec("tells", KeyAlgorithm.EC_P256))
        assert by_name(list(provider.check_health()))["purge_protection"].outcome is StepOutcome.PASSED
        provider.delete_key(KeyRef("tells"))
        assert by_name(list(provider.check_health()))["purge_protection"].outcome is StepOutcome.PASSED
        provider.purge_key(KeyRef("tells"))


# --- Rights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("readable_roles", [True, False])
def test_each_missing_right_is_named_with_its_remedy(sandbox: SandboxServer, readable_roles: bool) -> None:
    grants = ["keys/read/action", "keys/sign/action"]
    if readable_roles:
        grants += ["roleAssignments/read/action", "roleDefinitions/read/action"]
    app = sandbox.add_app(grants=grants)
    config = sandbox_config(sandbox, application_id=app.application_id, secret=app.secret.value)
    steps = by_name(check(config))
    assert steps["roles"].outcome is (StepOutcome.PASSED if readable_roles else StepOutcome.WARNING)
    if not readable_roles:
        assert "could not be listed" in steps["roles"].detail
    for right in Right:
        step = steps[f"right:{DATA_ACTIONS[right]}"]
        if right in {Right.READ, Right.SIGN}:
            assert step.outcome is StepOutcome.PASSED
            continue
        assert step.outcome is StepOutcome.FAILED
        assert step.code == "AccessDenied"
        assert full_action(right) in step.detail
        assert full_action(right) in step.remedy
        assert "custom role" in step.remedy
        assert app.application_id in step.remedy


def test_rights_are_proven_by_calls_where_roles_cannot_be_read(sandbox: SandboxServer) -> None:
    app = sandbox.add_app(grants=list(DATA_ACTIONS.values()))
    config = sandbox_config(sandbox, application_id=app.application_id, secret=app.secret.value)
    steps = by_name(check(config))
    assert steps["roles"].outcome is StepOutcome.WARNING
    outcomes = {right: steps[f"right:{DATA_ACTIONS[right]}"].outcome for right in Right}
    assert outcomes.pop(Right.CREATE) is StepOutcome.WARNING
    assert set(outcomes.values()) == {StepOutcome.PASSED}


def test_only_needed_rights_are_asked_for(sandbox: SandboxServer) -> None:
    app = sandbox.add_app(grants=["keys/read/action", "keys/sign/action"])
    config = sandbox_config(sandbox, application_id=app.application_id, secret=app.secret.value)
    steps = check(config, frozenset({"read", "sign"}))
    assert [step.name for step in steps if step.outcome is StepOutcome.FAILED] == []


def test_a_missing_read_right_ends_the_test(sandbox: SandboxServer) -> None:
    app = sandbox.add_app(grants=["keys/sign/action"])
    config = sandbox_config(sandbox, application_id=app.application_id, secret=app.secret.value)
    step = failed_at(config)
    assert step.name == "right:keys/read/action"
    assert "Crypto User" in step.remedy


def test_roles_count_for_this_principal_on_all_keys_only() -> None:
    def assignment(principal: str, role: str, scope: str) -> dict[str, object]:
        return {"properties": {"principalId": principal, "roleDefinitionId": f"x/{role}", "scope": scope}}

    def definition(name: str, actions: list[str], without: list[str]) -> dict[str, object]:
        return {
            "name": name,
            "properties": {"permissions": [{"dataActions": actions, "notDataActions": without}]},
        }

    prefix = "Microsoft.KeyVault/managedHsm/"
    assignments = [
        assignment("ME", "one", "/"),
        assignment("me", "two", "/keys/single"),
        assignment("you", "three", "/"),
        assignment("me", "four", "/keys"),
    ]
    definitions = [
        definition("one", [prefix + "keys/sign/action"], []),
        definition("two", [prefix + "keys/delete"], []),
        definition("three", [prefix + "keys/create"], []),
        definition("four", [prefix + "keys/deletedKeys/*"], [prefix + "keys/deletedKeys/delete"]),
    ]
    assert granted_rights("me", assignments, definitions) == {Right.SIGN, Right.READ_DELETED, Right.RECOVER}


# --- Each step that can fail --------------------------------------------------------------------


def test_a_host_that_is_not_allowed_fails_at_the_address(server: CannedServer) -> None:
    step = failed_at(replace(server.config(), hsm_hosts=(".managedhsm.azure.net",)))
    assert step.name == "address"
    assert server.seen == []


def test_a_token_endpoint_that_is_not_allowed_fails_there(server: CannedServer) -> None:
    config = replace(server.config(), token_hosts=("login.microsoftonline.com",))
    assert failed_at(config).name == "endpoint"
    assert server.seen == []


def test_an_unknown_host_fails_at_name_resolution(server: CannedServer) -> None:
    config = replace(server.config(), base_url="https://nowhere.invalid", hsm_hosts=(".invalid",))
    step = failed_at(config)
    assert step.name == "dns"
    assert "nowhere.invalid" in step.detail


def test_a_forbidden_address_fails_at_the_connection(
    server: CannedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback = network.resolve("localhost", server.port)
    monkeypatch.setattr("cryptosources.providers.azure.health.resolve", lambda *_: loopback)
    config = replace(server.config(), base_url="https://a.hsm.example", hsm_hosts=(".hsm.example",))
    step = failed_at(config)
    assert step.name == "tcp"
    assert "loopback" in step.detail


def test_a_stopped_server_fails_at_the_connection(server: CannedServer) -> None:
    config = server.config()
    server.stop()
    assert failed_at(config).name == "tcp"


def test_an_untrusted_certificate_fails_at_tls(server: CannedServer) -> None:
    step = failed_at(server.config(roots=""))
    assert step.name == "tls"
    assert step.code.startswith("X509")


def test_roots_that_are_not_pem_fail_at_tls(server: CannedServer) -> None:
    assert failed_at(server.config(roots="-----BEGIN nothing")).name == "tls"


@pytest.mark.parametrize("resource", ["", "https://vault.azure.net"])
def test_another_tenant_or_audience_fails_before_the_secret_is_sent(
    server: CannedServer, resource: str
) -> None:
    server.challenge_resource = resource
    server.challenge_tenant = server.challenge_tenant if resource else OTHER_TENANT
    assert failed_at(server.config()).name == "challenge"
    assert server.count("/token") == 0


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (entra_refusal(401, "invalid_client", 7000215), "AADSTS7000215"),
        (entra_refusal(401, "invalid_client", 7000222), "AADSTS7000222"),
        (entra_refusal(400, "unauthorized_client", 700016), "AADSTS700016"),
        (Reply(503, {}), "HTTP 503"),
    ],
)
def test_a_refused_secret_fails_at_sign_in(server: CannedServer, reply: Reply, code: str) -> None:
    server.tokens = [reply]
    step = failed_at(server.config())
    assert (step.name, step.code) == ("token", code)
    assert server.count("/token") == 1


def test_an_unknown_tenant_fails_at_sign_in(server: CannedServer) -> None:
    server.openid = [entra_refusal(400, "invalid_tenant", 90002)]
    assert failed_at(server.config()).code == "AADSTS90002"


def test_a_token_that_the_hsm_does_not_accept_fails_at_reading(server: CannedServer) -> None:
    server.hsm = [Reply(401, ""), Reply(401, "")]
    assert failed_at(server.config()).name == "right:keys/read/action"


def test_network_rules_fail_at_reading(server: CannedServer) -> None:
    server.hsm = [refusal(403, "Forbidden", "Client address is not authorized", inner="ForbiddenByFirewall")]
    step = failed_at(server.config())
    assert step.code == "ForbiddenByFirewall"
    assert "firewall" in step.remedy


def test_something_that_is_no_hsm_fails_at_the_challenge(server: CannedServer) -> None:
    server.challenge_override = Reply(200, "<html>Welcome</html>")
    assert failed_at(server.config()).name == "challenge"
    server.challenge_override = Reply(302, "", {"Location": "https://example.org"})
    assert failed_at(server.config()).name == "challenge"


def test_a_hanging_hsm_fails_within_each_steps_deadline(server: CannedServer) -> None:
    server.hsm = [Hang()]
    provider = open_azure(server.config(), SHORT)
    last = list(provider.check_health())[-1]
    assert last.name == "right:keys/read/action"
    assert last.outcome is StepOutcome.FAILED
    assert last.duration_ms < 1500


@pytest.mark.parametrize(("minutes", "direction"), [(10, "ahead of"), (-10, "behind")])
def test_a_wrong_clock_is_a_warning(server: CannedServer, minutes: int, direction: str) -> None:
    provider = open_provider(
        ProviderKind.AZURE_MANAGED_HSM,
        server.config(),
        clock=lambda: datetime.now(UTC) + timedelta(minutes=minutes),
        timeouts=Timeouts(),
    )
    step = by_name(list(provider.check_health()))["clock"]
    assert step.outcome is StepOutcome.WARNING
    assert direction in step.detail
    assert step.remedy
