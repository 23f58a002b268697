"""How many requests a call makes, that none is repeated, and what odd answers become."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes, KeyBackup, KeyRef, KeySpec, KeyState, Right
from cryptosources.providers.azure import wire
from cryptosources.providers.azure.managed_hsm import AzureManagedHsm
from cryptosources.providers.errors import (
    AccessDenied,
    ConfigurationError,
    KeyAlreadyExists,
    KeyMismatch,
    KeyNameReserved,
    KeyNotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    PurgeProtected,
    Throttled,
    UnsupportedOperation,
)
from tests.providers.azure_support import open_azure, sandbox_config
from tests.providers.canned import CannedServer, Reply, refusal
from tests.providers.conformance import digest_for
from tests.sandbox_server import SandboxServer

VERSION = "a" * 32
NOT_FOUND = refusal(404, "KeyNotFound", "Key not found: x")
CONFLICT = refusal(409, "Conflict", "There was a conflict restoring the key")
KEY = KeyRef("invoices")
SPEC = KeySpec("invoices", KeyAlgorithm.EC_P256)
DIGEST = bytes(32)


def bundle(name: str = "invoices", **more: Any) -> Reply:
    attributes = {"enabled": True, "recoveryLevel": "Recoverable+Purgeable", "created": 1, "updated": 2}
    key = {"kid": f"https://localhost/keys/{name}/{VERSION}", "kty": "oct-HSM"}
    return Reply(body={"key": key, "attributes": attributes, **more})


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with CannedServer() as running:
        yield running


@pytest.fixture
def provider(server: CannedServer) -> Iterator[AzureManagedHsm]:
    with open_azure(server.config()) as opened:
        yield opened


# --- Counted at the sandbox ---------------------------------------------------------------------


def test_a_signature_on_a_known_key_is_one_request(sandbox: SandboxServer) -> None:
    with open_azure(sandbox_config(sandbox)) as provider:
        info = provider.create_key(KeySpec("counted", KeyAlgorithm.EC_P256))
        digest = digest_for(SignatureAlgorithm.ES256)
        sandbox.reset_requests()
        for ref in (info.ref, KeyRef(info.ref.name)):
            provider.sign_digest(ref, digest, SignatureAlgorithm.ES256)
        assert sandbox.requests() == {"sign 200": 2}


def test_request_ids_are_kept_and_logged(sandbox: SandboxServer, caplog: pytest.LogCaptureFixture) -> None:
    """Also of what returns nothing: the HSM's people find a delete or a purge by it."""
    with caplog.at_level(logging.INFO), open_azure(sandbox_config(sandbox)) as provider:
        created = provider.create_key(KeySpec("logged", KeyAlgorithm.EC_P256))
        provider.delete_key(created.ref)
        provider.purge_key(created.ref)
        with pytest.raises(KeyNotFound) as caught:
            provider.describe_key(created.ref)
    assert created.request_id
    assert caught.value.request_id
    events = [cast(dict[str, Any], record.msg) for record in caplog.records if "client" in record.name]
    logged = [(event["operation"], event["key"], event["status"]) for event in events]
    assert logged == [("create", "logged", 200), ("delete", "logged", 200), ("purge", "logged", 204)]
    assert events[0]["request_id"] == created.request_id
    assert all(event["request_id"] for event in events)


def test_a_first_signature_signs_in_and_then_signs(sandbox: SandboxServer) -> None:
    with open_azure(sandbox_config(sandbox)) as provider:
        info = provider.create_key(KeySpec("counted-first", KeyAlgorithm.EC_P256))
    with open_azure(sandbox_config(sandbox)) as provider:
        sandbox.reset_requests()
        provider.sign_digest(info.ref, digest_for(SignatureAlgorithm.ES256), SignatureAlgorithm.ES256)
        counts = sandbox.requests()
    assert counts == {
        "challenge 401": 1,
        "entra v2.0/.well-known/openid-configuration 200": 1,
        "entra oauth2/v2.0/token 200": 1,
        "sign 200": 1,
    }


def test_a_disabled_and_an_expired_key_do_not_sign(sandbox: SandboxServer) -> None:
    with open_azure(sandbox_config(sandbox)) as provider:
        info = provider.create_key(KeySpec("dated", KeyAlgorithm.EC_P256))
        path = f"keys/{info.ref.name}/{info.ref.version}"
        past = int((datetime.now(UTC) - timedelta(days=1)).timestamp())
        for attributes in ({"enabled": False}, {"enabled": True, "exp": past}):
            with provider._call(Right.READ, info.ref) as hsm:
                hsm.send("PATCH", path, {"attributes": attributes})
            described = provider.describe_key(info.ref)
            assert described.enabled is attributes["enabled"]
            with pytest.raises(UnsupportedOperation):
                provider.sign_digest(info.ref, digest_for(SignatureAlgorithm.ES256), SignatureAlgorithm.ES256)


def test_a_purge_protected_hsm_says_so() -> None:
    with SandboxServer(("localhost",), purge_protection=True, retention_days=7) as server:
        with open_azure(sandbox_config(server)) as provider:
            created = provider.create_key(KeySpec("invoices", KeyAlgorithm.EC_P256))
            assert not created.purgeable
            assert created.recovery_level == "CustomizedRecoverable"
            provider.delete_key(KEY)
            with pytest.raises(PurgeProtected):
                provider.purge_key(KEY)
            assert provider.describe_key(KEY).state is KeyState.SOFT_DELETED
            steps = {step.name: step for step in provider.check_health()}
        assert steps["purge_protection"].outcome == "warning"


# --- Never repeated -----------------------------------------------------------------------------

WRITES: dict[str, Callable[[AzureManagedHsm], object]] = {
    "sign": lambda hsm: hsm.sign_digest(KEY, DIGEST, SignatureAlgorithm.ES256),
    "backup": lambda hsm: hsm.backup_key(KEY),
    "restore": lambda hsm: hsm.restore_key(KeyBackup(b"x", "here", name="invoices")),
    "update": lambda hsm: hsm.update_key(KEY, KeyAttributes(enabled=False)),
    "recover": lambda hsm: hsm.recover_key(KEY),
    "delete": lambda hsm: hsm.delete_key(KEY),
    "purge": lambda hsm: hsm.purge_key(KEY),
    "describe": lambda hsm: hsm.describe_key(KEY),
    "list": lambda hsm: list(hsm.list_keys()),
}
CHANGES = {"restore", "update", "recover", "delete", "purge"}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_no_request_is_repeated(
    server: CannedServer, provider: AzureManagedHsm, name: str, status: int
) -> None:
    server.hsm = [Reply(status, "", {"Retry-After": "1"})] * 5
    expected: type[ProviderError] = ProviderUnavailable
    if status == 429:
        expected = Throttled
    elif status >= 500 and name in CHANGES:
        expected = OutcomeUnknown
    with pytest.raises(expected) as caught:
        WRITES[name](provider)
    assert type(caught.value) is expected
    assert caught.value.retry_after == 1.0
    assert server.count("/", signed_in=True) == 1


# --- Idempotent steps and looking after a conflict ----------------------------------------------


def test_deleting_and_purging_what_is_gone_is_done(server: CannedServer, provider: AzureManagedHsm) -> None:
    server.hsm = [NOT_FOUND, NOT_FOUND]
    provider.delete_key(KEY)
    provider.purge_key(KEY)
    assert server.count("keys/invoices", signed_in=True) == 2


@pytest.mark.parametrize("use", [AzureManagedHsm.delete_key, AzureManagedHsm.purge_key])
def test_a_404_that_is_not_an_hsms_is_not_done(
    server: CannedServer, provider: AzureManagedHsm, use: Callable[[AzureManagedHsm, KeyRef], None]
) -> None:
    """A web server in the HSM's place must not make the console believe that a key is gone."""
    server.hsm = [Reply(404, "<html>Not Found</html>")]
    with pytest.raises(ConfigurationError):
        use(provider, KEY)


def test_creating_looks_first(server: CannedServer, provider: AzureManagedHsm) -> None:
    server.hsm = [bundle()]
    with pytest.raises(KeyAlreadyExists) as caught:
        provider.create_key(KeySpec("invoices", KeyAlgorithm.EC_P256))
    assert caught.value.key == "invoices"
    assert server.count("/create") == 0


def test_a_version_lost_on_the_way_is_not_asked_for_again(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (wire.encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    kid = f"https://localhost/keys/invoices/{VERSION}"
    live = bundle(key={"kid": kid, "kty": "EC-HSM", "crv": "P-256", "x": x, "y": y})
    server.hsm = [live, Reply(503, ""), Reply(503, "")]
    with pytest.raises(OutcomeUnknown):
        provider.rotate_key(SPEC)
    assert server.count("/create", signed_in=True) == 1


def test_rotating_an_absent_key_creates_none(server: CannedServer, provider: AzureManagedHsm) -> None:
    server.hsm = [NOT_FOUND]
    with pytest.raises(KeyNotFound):
        provider.rotate_key(SPEC)
    assert server.count("/create") == 0


def test_a_key_that_vanished_before_its_new_version_is_told_from_a_rotated_one(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    server.hsm = [bundle(), bundle(), NOT_FOUND]
    with pytest.raises(KeyMismatch, match=f"a new key of its name was made, with version {VERSION}"):
        provider.rotate_key(SPEC)
    assert server.count(f"/{VERSION}", signed_in=True) == 1


def test_a_rotation_that_cannot_be_looked_after_is_in_doubt(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    server.hsm = [bundle(), bundle(), Reply(503, "")]
    with pytest.raises(OutcomeUnknown):
        provider.rotate_key(SPEC)


def test_a_key_deleted_before_its_new_version_has_none(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    server.hsm = [bundle(), CONFLICT, NOT_FOUND, bundle(recoveryId="x")]
    with pytest.raises(KeyNotFound, match="deleted meanwhile"):
        provider.rotate_key(SPEC)


@pytest.mark.parametrize(
    ("looks", "error"),
    [
        ([bundle()], KeyAlreadyExists),
        ([NOT_FOUND, bundle(recoveryId="x")], KeyNameReserved),
        ([NOT_FOUND, NOT_FOUND], ProviderUnavailable),
    ],
)
def test_a_conflict_at_restore_is_explained_by_a_look(
    server: CannedServer, provider: AzureManagedHsm, looks: list[Reply], error: type[ProviderError]
) -> None:
    server.hsm = [CONFLICT, *looks]
    with pytest.raises(error) as caught:
        provider.restore_key(KeyBackup(b"x", "here", name="invoices"))
    assert caught.value.retryable is (error is ProviderUnavailable)
    assert caught.value.operation == "restore"


def test_a_conflict_without_a_name_stays_one(server: CannedServer, provider: AzureManagedHsm) -> None:
    server.hsm = [CONFLICT]
    with pytest.raises(ProviderUnavailable):
        provider.restore_key(KeyBackup(b"x", "here"))


def test_a_restore_of_the_whole_hsm_makes_everybody_wait(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    server.hsm = [refusal(409, "Conflict", "User triggered Restore operation is in progress. Retry after it")]
    with pytest.raises(ProviderUnavailable, match="whole HSM"):
        provider.delete_key(KEY)


def test_a_missing_purge_right_is_not_purge_protection(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    action = "Microsoft.KeyVault/managedHsm/keys/deletedKeys/delete"
    server.hsm = [refusal(403, "AccessDenied", f"Not authorized to access {action} on /keys/invoices")]
    with pytest.raises(AccessDenied) as caught:
        provider.purge_key(KEY)
    assert caught.value.missing_right == action


# --- Pages --------------------------------------------------------------------------------------


def item(number: int) -> dict[str, Any]:
    return {"kid": f"https://localhost/keys/key-{number}", "attributes": {"recoveryLevel": "Recoverable"}}


def test_pages_are_followed_to_the_end(server: CannedServer, provider: AzureManagedHsm) -> None:
    link = f"{server.audience}/keys?api-version=7.4&$skiptoken="
    server.hsm = [
        Reply(body={"value": [item(1)], "nextLink": link + "MDAwIQ=="}),
        Reply(body={"value": [], "nextLink": link + "b"}),
        Reply(body={"value": [item(2), item(3)], "nextLink": None}),
    ]
    assert [info.ref.name for info in provider.list_keys()] == ["key-1", "key-2", "key-3"]
    paths = [seen.path for seen in server.seen if seen.signed_in]
    assert "MDAwIQ==" in paths[1]
    assert all(path.count("api-version=") == 1 for path in paths)


def test_a_page_that_leads_elsewhere_is_not_followed(server: CannedServer, provider: AzureManagedHsm) -> None:
    with CannedServer() as thief:
        server.hsm = [Reply(body={"value": [item(1)], "nextLink": f"{thief.audience}/keys?x=1"})]
        with pytest.raises(ConfigurationError, match="another host"):
            list(provider.list_keys())
        assert thief.seen == []


def test_pages_that_go_round_are_an_error_not_a_short_list(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    link = f"{server.audience}/keys?$skiptoken=a"
    server.hsm = [Reply(body={"value": [item(1)], "nextLink": link})] * 5
    with pytest.raises(ProviderUnavailable, match="round in a circle"):
        list(provider.list_keys())


# --- Odd answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [Reply(body="<html>Welcome</html>"), Reply(body=[1]), Reply(body={}), Reply(body={"key": 1})]
)
def test_an_answer_that_cannot_be_read(
    server: CannedServer, provider: AzureManagedHsm, answer: Reply
) -> None:
    server.hsm = [answer, answer]
    with pytest.raises(ProviderUnavailable):
        provider.describe_key(KEY)
    with pytest.raises(OutcomeUnknown):
        provider.recover_key(KEY)


def test_a_redirect_is_not_followed(server: CannedServer, provider: AzureManagedHsm) -> None:
    with CannedServer() as thief:
        server.hsm = [Reply(307, "", {"Location": f"{thief.audience}/keys/invoices/"})]
        with pytest.raises(ConfigurationError, match="sends elsewhere"):
            provider.describe_key(KEY)
        assert thief.seen == []
    assert server.count("/keys/invoices", signed_in=True) == 1


def test_a_signature_of_another_key_is_not_accepted(server: CannedServer, provider: AzureManagedHsm) -> None:
    other = {"kid": f"https://localhost/keys/receipts/{VERSION}", "value": "AAAA"}
    server.hsm = [Reply(body=other)]
    with pytest.raises(ProviderUnavailable, match="not that of a Managed HSM"):
        provider.sign_digest(KEY, DIGEST, SignatureAlgorithm.RS256)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "ü", "x" * 128, "a?b", "a%2fb"])
def test_an_impossible_name_is_never_sent(server: CannedServer, provider: AzureManagedHsm, name: str) -> None:
    ref = KeyRef(name)
    for use in (
        lambda: provider.describe_key(ref),
        lambda: provider.delete_key(ref),
        lambda: provider.purge_key(ref),
        lambda: provider.create_key(KeySpec(name, KeyAlgorithm.EC_P256)),
        lambda: list(provider.list_versions(name)),
        lambda: provider.sign_digest(KeyRef("ok", name or "/"), DIGEST, SignatureAlgorithm.ES256),
    ):
        with pytest.raises(UnsupportedOperation):
            use()
    assert server.seen == []


def test_a_deleted_key_that_may_not_be_read_is_not_an_absent_one(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    server.hsm = [NOT_FOUND, refusal(403, "AccessDenied", "Not authorized to access x on y")]
    with pytest.raises(AccessDenied):
        provider.describe_key(KEY)
    server.hsm = [NOT_FOUND]
    with pytest.raises(KeyNotFound):
        provider.sign_digest(KEY, DIGEST, SignatureAlgorithm.ES256)
