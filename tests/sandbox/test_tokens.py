"""What the HSM thinks of a token: signature, audience, tenant, times."""

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.sandbox.wire import Wire
from tests.sandbox_server import SandboxServer


def status_with(wire: Wire, token: str, scheme: str = "Bearer") -> int:
    return wire.send("GET", "/keys?api-version=7.4", headers={"Authorization": f"{scheme} {token}"}).status


@pytest.fixture
def token(wire: Wire) -> str:
    return str(wire.fetch_token(wire.server.audience).body["access_token"])


def test_good_token(wire: Wire, token: str) -> None:
    assert status_with(wire, token) == 200
    assert status_with(wire, token, "bearer") == 200


@pytest.mark.parametrize("bad", ["", "x", "a.b.c", "e30.e30.e30"])
def test_no_token(wire: Wire, bad: str) -> None:
    assert status_with(wire, bad) == 401


def test_other_scheme(wire: Wire, token: str) -> None:
    assert status_with(wire, token, "Basic") == 401


def test_changed_signature(wire: Wire, token: str) -> None:
    head, body, signature = token.split(".")
    changed = signature[:-10] + ("A" if signature[-10] != "A" else "B") + signature[-9:]
    assert status_with(wire, f"{head}.{body}.{changed}") == 401


def test_claims_signed_by_somebody_else(wire: Wire, token: str) -> None:
    claims = jwt.decode(token, options={"verify_signature": False})
    forged = jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256")
    assert status_with(wire, forged) == 401
    assert status_with(wire, jwt.encode(claims, "", "none")) == 401


@pytest.mark.parametrize("resource", ["https://vault.azure.net", "https://graph.microsoft.com"])
def test_token_for_another_audience(wire: Wire, resource: str) -> None:
    answer = wire.fetch_token(resource)
    assert answer.status == 200
    assert status_with(wire, answer.body["access_token"]) == 401


def test_token_of_another_tenant(wire: Wire, own_server: SandboxServer) -> None:
    foreign: Any = Wire(own_server).fetch_token(wire.server.audience).body
    assert status_with(wire, foreign["access_token"]) == 401


def test_token_is_good_until_it_expires(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    own_server.set_token_lifetime(100)
    token = wire.fetch_token(own_server.audience).body["access_token"]
    own_server.advance_clock(90)
    assert status_with(wire, token) == 200
    own_server.advance_clock(10)
    assert status_with(wire, token) == 401


def test_token_outlives_its_secret(wire: Wire) -> None:
    app = wire.server.add_app(grants=["Crypto User"])
    mine = Wire(wire.server, application_id=app.application_id, secret=app.secret.value)
    assert mine.call("GET", "/keys").status == 200
    wire.server.end_secret(app.secret.key_id)
    assert mine.call("GET", "/keys").status == 200


def test_token_outlives_a_restart(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    token = wire.fetch_token(own_server.audience).body["access_token"]
    own_server.restart()
    assert status_with(wire, token) == 200


def test_challenge_comes_before_everything_else(wire: Wire) -> None:
    for path in ("/keys", "/keys/a%20b/create", "/nothing", "/keys?api-version=1"):
        assert wire.send("POST", path, b"{").status == 401
