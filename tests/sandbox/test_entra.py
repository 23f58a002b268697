"""The directory: tokens, discovery, and the AADSTS refusals."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from tests.sandbox.wire import Answer, Wire
from tests.sandbox_server import SandboxServer

GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ERROR_FIELDS = {
    "error",
    "error_description",
    "error_codes",
    "timestamp",
    "trace_id",
    "correlation_id",
    "error_uri",
}
COMMON_HEADERS = {
    "content-length",
    "content-type",
    "date",
    "p3p",
    "strict-transport-security",
    "x-content-type-options",
    "x-ms-ests-server",
    "x-ms-request-id",
}
TOKEN_HEADERS = COMMON_HEADERS | {"cache-control", "expires", "pragma"}
DISCOVERY_HEADERS = COMMON_HEADERS | {
    "cache-control",
    "access-control-allow-methods",
    "access-control-allow-origin",
}


def assert_refused(answer: Answer, status: int, error: str, code: int) -> None:
    """Status, fields and value forms of a refusal."""
    assert (answer.status, answer.body["error"], answer.body["error_codes"]) == (status, error, [code])
    assert set(answer.body) == ERROR_FIELDS
    assert set(answer.headers) >= COMMON_HEADERS
    lines = answer.body["error_description"].split("\r\n")
    assert lines[0].startswith(f"AADSTS{code}: ")
    assert re.fullmatch(f"Trace ID: {GUID}", lines[1])
    assert re.fullmatch(f"Correlation ID: {GUID}", lines[2])
    assert re.fullmatch(r"Timestamp: \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", lines[3])
    assert answer.body["trace_id"] == answer.headers["x-ms-request-id"]
    assert answer.body["error_uri"].endswith(f"/error?code={code}")


@pytest.fixture
def good(wire: Wire) -> dict[str, str]:
    """The fields of a request that succeeds."""
    server = wire.server
    return {
        "client_id": server.application_id,
        "client_secret": server.secret,
        "scope": f"{server.audience}/.default",
    }


def test_v2_token(wire: Wire, good: dict[str, str]) -> None:
    answer = wire.ask_for_token(**good)
    assert answer.status == 200
    assert set(answer.headers) == TOKEN_HEADERS
    assert answer.headers["cache-control"] == "no-store, no-cache"
    assert answer.body.pop("access_token").count(".") == 2
    assert answer.body == {"token_type": "Bearer", "expires_in": 86399, "ext_expires_in": 86399}


def test_v1_token(wire: Wire, good: dict[str, str]) -> None:
    form = good | {"scope": "", "resource": wire.server.audience}
    answer = wire.ask_for_token(endpoint="oauth2/token", **form)
    assert answer.status == 200
    claims = jwt.decode(answer.body["access_token"], options={"verify_signature": False})
    assert answer.body.pop("access_token")
    assert answer.body == {
        "token_type": "Bearer",
        "expires_in": "86399",
        "ext_expires_in": "86399",
        "expires_on": str(claims["exp"]),
        "not_before": str(claims["nbf"]),
        "resource": wire.server.audience,
    }


def test_claims_and_signature(wire: Wire, good: dict[str, str]) -> None:
    token = wire.ask_for_token(**good).body["access_token"]
    configuration = wire.send("GET", f"/{wire.server.tenant}/v2.0/.well-known/openid-configuration").body
    keys = wire.send("GET", configuration["jwks_uri"].removeprefix(wire.server.authority)).body["keys"]
    header = jwt.get_unverified_header(token)
    key = next(jwt.PyJWK(item) for item in keys if item["kid"] == header["kid"])
    claims = jwt.decode(token, key.key, ["RS256"], audience=wire.server.audience, leeway=3600)
    assert header["alg"] == "RS256"
    assert claims["tid"] == wire.server.tenant
    assert claims["iss"] == f"https://sts.windows.net/{wire.server.tenant}/"
    assert claims["appid"] == wire.server.application_id
    assert claims["exp"] - claims["iat"] == 86399
    assert re.fullmatch(GUID, claims["oid"])
    assert claims["oid"] == claims["sub"]


def test_secret_in_a_basic_header(wire: Wire, good: dict[str, str]) -> None:
    server = wire.server
    encoded = base64.b64encode(f"{server.application_id}:{server.secret}".encode()).decode()
    path = f"/{server.tenant}/oauth2/v2.0/token"
    body = f"grant_type=client_credentials&scope={server.audience}/.default".encode()
    headers = {"Authorization": f"Basic {encoded}", "Content-Type": "application/x-www-form-urlencoded"}
    assert wire.send("POST", path, body, headers).status == 200
    assert wire.send("POST", path, body, headers | {"Authorization": "Basic %%"}).status == 400


@pytest.mark.parametrize("endpoint", ["oauth2/token", "oauth2/v2.0/token"])
def test_refusals(wire: Wire, good: dict[str, str], endpoint: str) -> None:
    def ask(**changed: str) -> Answer:
        return wire.ask_for_token(endpoint=endpoint, **good | {"resource": wire.server.audience} | changed)

    unknown = "00000000-0000-0000-0000-000000000000"
    assert_refused(ask(client_secret="wrong"), 401, "invalid_client", 7000215)
    assert_refused(ask(client_id=unknown), 400, "unauthorized_client", 700016)
    assert_refused(ask(tenant=unknown), 400, "invalid_request", 90002)
    assert_refused(ask(client_secret=""), 401, "invalid_client", 7000218)
    assert_refused(ask(client_id=""), 400, "invalid_request", 900144)
    assert_refused(ask(grant_type="password"), 400, "unsupported_grant_type", 70003)
    foreign = {"resource": "https://example.com", "scope": "https://example.com/.default"}
    assert_refused(ask(**foreign), 400, "invalid_resource", 500011)


def test_texts_name_what_is_wrong(wire: Wire, good: dict[str, str]) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    texts = (
        wire.ask_for_token(**good | {"client_id": unknown}).body["error_description"],
        wire.ask_for_token(tenant=unknown, **good).body["error_description"],
    )
    assert all(unknown in text for text in texts)


def test_v2_scope_must_be_default(wire: Wire, good: dict[str, str]) -> None:
    bad = wire.ask_for_token(**good | {"scope": f"{wire.server.audience}/read"})
    assert_refused(bad, 400, "invalid_scope", 1002012)


def test_client_request_id_is_the_correlation_id(wire: Wire) -> None:
    mine = "11111111-2222-3333-4444-555555555555"
    path = f"/{wire.server.tenant}/oauth2/v2.0/token"
    answer = wire.send("POST", path, b"", {"client-request-id": mine})
    assert answer.body["correlation_id"] == mine


def test_expired_and_future_secrets(wire: Wire, good: dict[str, str]) -> None:
    server, now = wire.server, datetime.now(UTC)
    app = server.add_app()
    form = good | {"client_id": app.application_id}

    def try_secret(value: str) -> Answer:
        return wire.ask_for_token(**form | {"client_secret": value})

    old = server.add_secret(
        now - timedelta(days=9), now - timedelta(days=1), application_id=app.application_id
    )
    future = server.add_secret(now + timedelta(days=1), application_id=app.application_id)
    assert try_secret(app.secret.value).status == 200
    assert_refused(try_secret(old.value), 401, "invalid_client", 7000222)
    assert app.application_id in try_secret(old.value).body["error_description"]
    assert_refused(try_secret(future.value), 401, "invalid_client", 7000215)
    server.end_secret(app.secret.key_id)
    assert_refused(try_secret(app.secret.value), 401, "invalid_client", 7000222)
    replacement = server.add_secret(application_id=app.application_id)
    assert try_secret(replacement.value).status == 200


def test_two_secrets_work_side_by_side_and_only_for_their_app(wire: Wire, good: dict[str, str]) -> None:
    server = wire.server
    app = server.add_app()
    second = server.add_secret(application_id=app.application_id)
    for value in (app.secret.value, second.value):
        form = good | {"client_id": app.application_id, "client_secret": value}
        assert wire.ask_for_token(**form).status == 200
        assert_refused(wire.ask_for_token(**good | {"client_secret": value}), 401, "invalid_client", 7000215)


def test_secret_ends_with_the_clock(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    assert wire.fetch_token(own_server.audience).status == 200
    own_server.advance_clock(timedelta(days=731).total_seconds())
    assert_refused(wire.fetch_token(own_server.audience), 401, "invalid_client", 7000222)


def test_removed_app_is_unknown(wire: Wire, good: dict[str, str]) -> None:
    app = wire.server.add_app()
    wire.server.remove_app(app.application_id)
    form = good | {"client_id": app.application_id, "client_secret": app.secret.value}
    assert_refused(wire.ask_for_token(**form), 400, "unauthorized_client", 700016)


@pytest.mark.parametrize("version", ["/v2.0", ""])
def test_openid_configuration(wire: Wire, version: str) -> None:
    server = wire.server
    answer = wire.send("GET", f"/{server.tenant}{version}/.well-known/openid-configuration")
    assert answer.status == 200
    assert set(answer.headers) == DISCOVERY_HEADERS
    tenant = f"{server.authority}/{server.tenant}"
    assert answer.body["token_endpoint"] == f"{tenant}/oauth2{version}/token"
    assert answer.body["authorization_endpoint"] == f"{tenant}/oauth2{version}/authorize"
    assert answer.body["issuer"] == (
        f"{tenant}/v2.0" if version else f"https://sts.windows.net/{server.tenant}/"
    )
    assert answer.body["jwks_uri"].startswith(f"{tenant}/discovery")
    by_domain = wire.send("GET", f"/sandbox.onmicrosoft.com{version}/.well-known/openid-configuration")
    assert by_domain.body == answer.body
    by_upper_case = wire.send("GET", f"/{server.tenant.upper()}{version}/.well-known/openid-configuration")
    assert by_upper_case.body == answer.body


def test_openid_configuration_of_an_unknown_tenant(wire: Wire) -> None:
    answer = wire.send("GET", "/nobody/v2.0/.well-known/openid-configuration")
    assert_refused(answer, 400, "invalid_tenant", 90002)


def test_instance_discovery(wire: Wire) -> None:
    server = wire.server
    asked = f"{server.authority}/{server.tenant}/oauth2/v2.0/authorize"
    answer = wire.send("GET", f"/common/discovery/instance?api-version=1.1&authorization_endpoint={asked}")
    assert answer.status == 200
    assert set(answer.headers) == DISCOVERY_HEADERS
    assert set(answer.body) == {"tenant_discovery_endpoint", "api-version", "metadata"}
    host = server.authority.removeprefix("https://")
    assert answer.body["metadata"] == [
        {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
    ]
    discovered = answer.body["tenant_discovery_endpoint"].removeprefix(server.authority)
    assert wire.send("GET", discovered).status == 200


def test_token_lifetime_is_configurable(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    own_server.set_token_lifetime(600)
    assert wire.fetch_token(own_server.audience).body["expires_in"] == 600


def test_token_lifetime_from_the_command_line() -> None:
    with SandboxServer(token_lifetime=5) as server:
        answer: Any = Wire(server).fetch_token(server.audience).body
        assert answer["expires_in"] == 5
