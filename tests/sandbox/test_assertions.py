"""Signing in with a certificate: Azure's own credentials, and every refusal of an assertion."""

import base64
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential, ClientAssertionCredential
from azure.keyvault.keys import KeyClient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.sandbox import sdk
from tests.sandbox.assertions import Pair, ask_with_assertion, assertion, claims, make_pair
from tests.sandbox.test_entra import assert_refused
from tests.sandbox_server import RegisteredApp, SandboxServer


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture(scope="module")
def app(server: SandboxServer, pair: Pair) -> RegisteredApp:
    made = server.add_app()
    register(server, made, pair)
    return made


def register(server: SandboxServer, app: RegisteredApp, pair: Pair) -> dict[str, Any]:
    return server.control("POST", f"apps/{app.application_id}/certificates", {"certificate": pair.public_pem})


# -- Azure's own credentials --


@pytest.mark.parametrize("form", ["pem", "pfx", "chain"])
def test_certificate_credential(
    server: SandboxServer, app: RegisteredApp, pair: Pair, form: str, name: str
) -> None:
    assert isinstance(pair.key, rsa.RSAPrivateKey)
    sealed = pkcs12.serialize_key_and_certificates(
        b"console", pair.key, pair.certificate, None, serialization.BestAvailableEncryption(b"word")
    )
    credential = CertificateCredential(
        server.tenant,
        app.application_id,
        certificate_data=sealed if form == "pfx" else pair.pem,
        password="word" if form == "pfx" else None,
        send_certificate_chain=form == "chain",
        **sdk.credential_arguments(server),
    )
    arguments = sdk.client_arguments(server, "localhost")
    with credential, KeyClient(server.address(), credential, **arguments) as client:
        assert client.create_ec_key(name, hardware_protected=True).name == name
        token = credential.get_token(f"{server.audience}/.default").token
    said = jwt.decode(token, options={"verify_signature": False})
    assert (said["appid"], said["appidacr"]) == (app.application_id, "2")


def test_client_assertion_credential(server: SandboxServer, app: RegisteredApp, pair: Pair) -> None:
    credential = ClientAssertionCredential(
        server.tenant,
        app.application_id,
        lambda: assertion(pair, claims(server, app)),
        **sdk.credential_arguments(server),
    )
    with credential:
        assert credential.get_token(f"{server.audience}/.default").token


def test_what_the_credential_says_of_an_unknown_certificate(
    server: SandboxServer, app: RegisteredApp
) -> None:
    credential = CertificateCredential(
        server.tenant,
        app.application_id,
        certificate_data=make_pair().pem,
        **sdk.credential_arguments(server),
    )
    with credential, pytest.raises(ClientAuthenticationError, match=r"AADSTS700027.*The key was not found"):
        credential.get_token(f"{server.audience}/.default")


# -- on the wire --


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
@pytest.mark.parametrize("version", [1, 2])
def test_both_endpoints_algorithms_and_thumbprints(
    server: SandboxServer, app: RegisteredApp, pair: Pair, version: int, algorithm: str
) -> None:
    endpoint = "oauth2/token" if version == 1 else "oauth2/v2.0/token"
    for headers in ({"x5t": pair.thumbprint("sha1")}, {"x5t#S256": pair.thumbprint()}):
        token = assertion(pair, claims(server, app, aud=server.token_endpoint(version)), algorithm, **headers)
        assert ask_with_assertion(server, app, token, endpoint=endpoint).status == 200


def test_an_assertion_may_be_used_again_while_it_is_valid(
    server: SandboxServer, app: RegisteredApp, pair: Pair
) -> None:
    token = assertion(pair, claims(server, app))
    assert [ask_with_assertion(server, app, token).status for _ in range(2)] == [200, 200]


def hours(count: int) -> int:
    return int((datetime.now(UTC) + timedelta(hours=count)).timestamp())


@pytest.mark.parametrize(
    ("changed", "status", "error", "code"),
    [
        ({"exp": hours(-1)}, 401, "invalid_client", 700024),
        ({"nbf": hours(1), "exp": hours(2)}, 401, "invalid_client", 700024),
        ({"exp": None}, 400, "invalid_request", 50027),
        ({"exp": 10**20}, 400, "invalid_request", 50027),
        ({"aud": "https://example.com/oauth2/token"}, 401, "invalid_client", 700023),
        ({"aud": ["a", "b"]}, 401, "invalid_client", 700023),
        ({"aud": None}, 401, "invalid_client", 700023),
        ({"sub": str(uuid.UUID(int=7))}, 401, "invalid_client", 700021),
        ({"sub": None}, 401, "invalid_client", 700021),
        ({"iss": "https://token.example.com"}, 401, "invalid_client", 700211),
        ({"iss": None}, 401, "invalid_client", 700211),
    ],
)
def test_refused_claims(
    server: SandboxServer,
    app: RegisteredApp,
    pair: Pair,
    changed: Any,
    status: int,
    error: str,
    code: int,
) -> None:
    token = assertion(pair, claims(server, app, **changed))
    assert_refused(ask_with_assertion(server, app, token), status, error, code)


def test_missing_not_before_counts_from_1970(server: SandboxServer, app: RegisteredApp, pair: Pair) -> None:
    assert ask_with_assertion(server, app, assertion(pair, claims(server, app, nbf=None))).status == 200
    late = ask_with_assertion(server, app, assertion(pair, claims(server, app, nbf=None, exp=hours(-1))))
    assert "assertion valid from 1970-01-01T00:00:00.0000000Z" in late.body["error_description"]


def test_clocks_may_differ_by_five_minutes(server: SandboxServer, app: RegisteredApp, pair: Pair) -> None:
    now = int(datetime.now(UTC).timestamp())
    ahead = assertion(pair, claims(server, app, nbf=now + 240))
    behind = assertion(pair, claims(server, app, exp=now - 240))
    assert [ask_with_assertion(server, app, token).status for token in (ahead, behind)] == [200, 200]


def test_refused_signatures(server: SandboxServer, app: RegisteredApp, pair: Pair) -> None:
    other = make_pair()
    unknown = ask_with_assertion(server, app, assertion(other, claims(server, app)))
    assert_refused(unknown, 401, "invalid_client", 700027)
    assert "Reason - The key was not found." in unknown.body["error_description"]
    shown = base64.urlsafe_b64decode(other.thumbprint() + "=").hex().upper()
    assert f"'{shown}'" in unknown.body["error_description"]
    forged = assertion(other, claims(server, app), **{"x5t#S256": pair.thumbprint()})
    wrong = ask_with_assertion(server, app, forged)
    assert_refused(wrong, 401, "invalid_client", 700027)
    assert "did not match the expected signature" in wrong.body["error_description"]
    assert "Found key 'Start=" in wrong.body["error_description"]


@pytest.mark.parametrize(("begins", "ends"), [(-9, -1), (1, 9)])
def test_certificate_outside_its_time(server: SandboxServer, begins: int, ends: int) -> None:
    app, ended = server.add_app(), make_pair(timedelta(days=begins), timedelta(days=ends))
    register(server, app, ended)
    answer = ask_with_assertion(server, app, assertion(ended, claims(server, app)))
    assert_refused(answer, 401, "invalid_client", 700027)
    assert "Reason - The key used is expired." in answer.body["error_description"]


@pytest.mark.parametrize("token", ["garbage", "a.b.c", ".."])
def test_no_token_at_all(server: SandboxServer, app: RegisteredApp, token: str) -> None:
    assert_refused(ask_with_assertion(server, app, token), 400, "invalid_request", 50027)


def test_refused_headers(server: SandboxServer, app: RegisteredApp, pair: Pair) -> None:
    content = claims(server, app)
    unsigned = jwt.encode(content, "", "none", headers={"x5t#S256": pair.thumbprint()})
    shared = jwt.encode(content, pair.public_pem[30:90], "HS256", headers={"x5t#S256": pair.thumbprint()})
    nameless = assertion(pair, content, typ="JWT")
    for token in (unsigned, shared, nameless, assertion(pair, content, x5t="§")):
        assert_refused(ask_with_assertion(server, app, token), 400, "invalid_request", 50027)


def test_the_assertion_needs_its_type(server: SandboxServer, app: RegisteredApp, pair: Pair) -> None:
    token = assertion(pair, claims(server, app))
    missing = ask_with_assertion(server, app, token, client_assertion_type="")
    assert_refused(missing, 400, "invalid_request", 900144)
    saml = ask_with_assertion(server, app, token, client_assertion_type="urn:ietf:params:oauth:saml2-bearer")
    assert_refused(saml, 400, "invalid_request", 70003)


def test_a_certificate_is_good_for_its_application_only(
    server: SandboxServer, app: RegisteredApp, pair: Pair
) -> None:
    other = server.add_app()
    answer = ask_with_assertion(server, other, assertion(pair, claims(server, other)))
    assert_refused(answer, 401, "invalid_client", 700027)


# -- registering --


@pytest.fixture
def registered(server: SandboxServer, pair: Pair) -> Iterator[tuple[RegisteredApp, dict[str, Any]]]:
    app = server.add_app()
    yield app, register(server, app, pair)
    server.remove_app(app.application_id)


def test_registering_and_removing(
    server: SandboxServer, pair: Pair, registered: tuple[RegisteredApp, dict[str, Any]]
) -> None:
    app, made = registered
    where = f"apps/{app.application_id}/certificates"
    assert made["display_name"] == "CN=Console"
    assert made["thumbprint"] == base64.urlsafe_b64decode(pair.thumbprint("sha1") + "=").hex().upper()
    assert datetime.fromisoformat(made["end"]) == pair.certificate.not_valid_after_utc
    assert server.control("GET", where) == {"certificates": [made]}
    token = assertion(pair, claims(server, app))
    assert ask_with_assertion(server, app, token).status == 200
    assert server.control("DELETE", f"{where}/{made['key_id']}") == {"removed": True}
    assert server.control("GET", where) == {"certificates": []}
    assert_refused(ask_with_assertion(server, app, token), 401, "invalid_client", 700027)


def test_what_is_no_rsa_certificate_is_refused(server: SandboxServer, app: RegisteredApp) -> None:
    elliptic = make_pair(key=ec.generate_private_key(ec.SECP256R1()))
    for pem in (elliptic.public_pem, "nonsense"):
        body = {"certificate": pem}
        with pytest.raises(RuntimeError, match=" 400 "):
            server.control("POST", f"apps/{app.application_id}/certificates", body)
