"""A licence is what its issuer signed, and nothing else is."""

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from licensing.tokens import (
    BadIssuerKeys,
    Claims,
    IssuerKeys,
    LicenceError,
    public_jwk,
    sign,
    thumbprint,
    verify,
)
from tests.licensing.conftest import FEATURE, NOW, pem

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
ISSUERS = IssuerKeys.parse(pem(KEY))
CLAIMS = Claims("L-1", "Contoso", frozenset({FEATURE, "source:pkcs11"}), NOW, NOW + timedelta(days=1))
TOKEN = sign(CLAIMS, KEY, now=NOW)
PAYLOAD = {
    "aud": "key-manager",
    "jti": "L-1",
    "sub": "Contoso",
    "features": [FEATURE],
    "nbf": 1_700_000_000,
    "exp": 1_800_000_000,
}


def signed(payload: dict[str, Any], *, key: Any = KEY, algorithm: str = "EdDSA", **headers: Any) -> str:
    return jwt.encode(
        payload, key, algorithm=algorithm, headers={"kid": thumbprint(KEY.public_key()), **headers}
    )


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_licence_says_what_was_signed() -> None:
    said = verify(TOKEN, ISSUERS)
    assert (said.licence_id, said.customer, said.features) == ("L-1", "Contoso", CLAIMS.features)
    assert said.not_before == NOW.replace(microsecond=0)
    assert said.not_after == (NOW + timedelta(days=1)).replace(microsecond=0)


def test_further_claims_are_left_for_later_versions() -> None:
    assert verify(signed({**PAYLOAD, "limits": {"keys": 5}}), ISSUERS).customer == "Contoso"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_altered_licence_is_refused(part: int) -> None:
    parts = TOKEN.split(".")
    middle = len(parts[part]) // 2
    parts[part] = (
        parts[part][:middle] + ("A" if parts[part][middle] != "A" else "B") + parts[part][middle + 1 :]
    )
    with pytest.raises(LicenceError):
        verify(".".join(parts), ISSUERS)


def test_a_longer_end_needs_a_new_signature() -> None:
    header, _payload, signature = signed(PAYLOAD).split(".")
    with pytest.raises(LicenceError, match="altered"):
        verify(f"{header}.{encoded({**PAYLOAD, 'exp': 1_900_000_000})}.{signature}", ISSUERS)


def test_another_issuer_is_refused_under_its_own_and_under_our_key_id() -> None:
    with pytest.raises(LicenceError, match="issuer is not known"):
        verify(sign(CLAIMS, OTHER, now=NOW), ISSUERS)
    with pytest.raises(LicenceError, match="altered"):
        verify(signed(PAYLOAD, key=OTHER), ISSUERS)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_no_weaker_algorithm_is_accepted(algorithm: str) -> None:
    """Neither an unsigned token nor one whose "shared key" is the public key's text."""
    header = encoded({"alg": algorithm, "kid": thumbprint(KEY.public_key())})
    unsigned = f"{header}.{encoded(PAYLOAD)}."
    if algorithm == "HS256":
        mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        body = unsigned.rstrip(".").encode()
        tag = mac.sign(body, pem(KEY).encode())
        unsigned += base64.urlsafe_b64encode(tag).rstrip(b"=").decode()
    with pytest.raises(LicenceError):
        verify(unsigned, ISSUERS)


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "another product"},
        {"aud": None},
        {"sub": 7},
        {"sub": " "},
        {"jti": None},
        {"features": None},
        {"features": [1]},
        {"features": {"a": 1}.get("b")},
        {"nbf": "soon"},
        {"exp": None},
        {"exp": 10**30},
        {"exp": 1_700_000_000},
    ],
)
def test_a_genuine_signature_over_something_else_is_refused(change: dict[str, Any]) -> None:
    payload = {name: value for name, value in {**PAYLOAD, **change}.items() if value is not None}
    with pytest.raises(LicenceError):
        verify(signed(payload), ISSUERS)


@pytest.mark.parametrize("rubbish", ["", "licence", "a.b.c", "....", "{}", "é" * 30])
def test_rubbish_is_refused(rubbish: str) -> None:
    with pytest.raises(LicenceError):
        verify(rubbish, ISSUERS)


def test_a_licence_without_key_id_is_refused() -> None:
    with pytest.raises(LicenceError):
        verify(jwt.encode(PAYLOAD, KEY, algorithm="EdDSA"), ISSUERS)


# --- Issuer keys ----------------------------------------------------------------------------------


def test_issuer_keys_come_as_pem_or_as_a_key_set() -> None:
    key_set = json.dumps({"keys": [public_jwk(KEY.public_key()), public_jwk(OTHER.public_key())]})
    for text in (key_set, pem(KEY) + pem(OTHER)):
        issuers = IssuerKeys.parse(text)
        assert verify(TOKEN, issuers).customer == "Contoso"
        assert verify(sign(CLAIMS, OTHER, now=NOW), issuers).customer == "Contoso"


def test_the_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    """The example key of RFC 8037, appendix A.3."""
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    assert (
        thumbprint(Ed25519PublicKey.from_public_bytes(raw)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    )


def _spki(key: Any) -> str:
    public: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        _spki(rsa.generate_private_key(65537, 2048)),
        _spki(ec.generate_private_key(ec.SECP256R1())),
        _spki(KEY) + _spki(ec.generate_private_key(ec.SECP256R1())),
    ],
)
def test_other_keys_are_refused(text: str) -> None:
    with pytest.raises(BadIssuerKeys):
        IssuerKeys.parse(text)
