"""PEM and JWK, held against ``cryptography`` and PyJWT's own readers."""

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from keys import public_keys


def _der(key: Any) -> bytes:
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


@pytest.mark.parametrize(
    ("private", "reader"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), RSAAlgorithm),
        (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
        (ec.generate_private_key(ec.SECP256K1()), ECAlgorithm),
        (ec.generate_private_key(ec.SECP384R1()), ECAlgorithm),
        (ec.generate_private_key(ec.SECP521R1()), ECAlgorithm),
    ],
)
def test_pem_and_jwk_hold_the_same_public_key_and_nothing_private(private: Any, reader: Any) -> None:
    public = _der(private.public_key())
    jwk = public_keys.to_jwk(public, key_id="abc")
    assert jwk["kid"] == "abc"
    assert not {"d", "p", "q", "key_ops"} & jwk.keys()
    assert _der(reader.from_jwk(jwk)) == public
    pem = public_keys.to_pem(public)
    assert _der(serialization.load_pem_public_key(pem.encode())) == public


def test_a_key_of_another_kind_is_refused() -> None:
    public = _der(ed25519.Ed25519PrivateKey.generate().public_key())
    with pytest.raises(TypeError):
        public_keys.to_jwk(public, key_id="abc")
