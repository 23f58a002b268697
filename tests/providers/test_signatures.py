"""The two forms of an ECDSA signature, and verification outside the HSM."""

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from cryptosources.providers.algorithms import (
    DigestMismatch,
    KeyAlgorithm,
    SignatureAlgorithm,
    require_digest,
    signature_algorithms,
)
from cryptosources.providers.signatures import der_to_raw, key_algorithm, raw_to_der, signature_is_valid

ECDSA = {
    SignatureAlgorithm.ES256: 64,
    SignatureAlgorithm.ES256K: 64,
    SignatureAlgorithm.ES384: 96,
    SignatureAlgorithm.ES512: 132,
}


@given(st.sampled_from(list(ECDSA)), st.data())
def test_raw_and_der_are_the_same_signature(algorithm: SignatureAlgorithm, data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=ECDSA[algorithm], max_size=ECDSA[algorithm]))
    assert der_to_raw(raw_to_der(raw, algorithm), algorithm) == raw


@pytest.mark.parametrize("length", [0, 63, 65, 132])
def test_a_raw_signature_of_the_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        raw_to_der(bytes(length), SignatureAlgorithm.ES256)


def test_a_der_signature_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        der_to_raw(encode_dss_signature(2**300, 1), SignatureAlgorithm.ES256)
    with pytest.raises(ValueError, match=r"."):
        der_to_raw(b"not DER", SignatureAlgorithm.ES256)


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_a_signature_under_a_key_of_another_kind_is_not_valid() -> None:
    digest = hashlib.sha256(b"x").digest()
    elliptic = ec.generate_private_key(ec.SECP256R1())
    for algorithm in (SignatureAlgorithm.RS256, SignatureAlgorithm.ES256):
        assert not signature_is_valid(
            public_key_der=spki(elliptic), digest=digest, signature=b"no", algorithm=algorithm
        )


def test_a_digest_must_fit_the_algorithm() -> None:
    for algorithm in SignatureAlgorithm:
        require_digest(algorithm, bytes(algorithm.digest_size))
        with pytest.raises(DigestMismatch, match=str(algorithm.digest_size)):
            require_digest(algorithm, bytes(20))


def test_every_key_type_has_algorithms_and_is_recognised() -> None:
    assert key_algorithm(ec.generate_private_key(ec.SECP256K1()).public_key()) is KeyAlgorithm.EC_P256K
    assert key_algorithm(ec.generate_private_key(ec.BrainpoolP256R1()).public_key()) is None
    assert key_algorithm(rsa.generate_private_key(65537, 1024).public_key()) is None
    assert key_algorithm(ed25519.Ed25519PrivateKey.generate().public_key()) is None
    assert key_algorithm(None) is None
    assert all(signature_algorithms(key) for key in KeyAlgorithm)
