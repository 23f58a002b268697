"""Signatures checked with another implementation, and what does not fit."""

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from tests.sandbox.wire import Wire, b64, unb64

HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
CURVES: dict[str, tuple[str, ec.EllipticCurve]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES256K": ("P-256K", ec.SECP256K1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}
MESSAGE = b"what is signed"


def digest_for(algorithm: str) -> bytes:
    return hashlib.new(f"sha{algorithm[2:5]}", MESSAGE).digest()


def public_number(key: dict[str, str], member: str) -> int:
    return int.from_bytes(unb64(key[member]), "big")


def sign(wire: Wire, name: str, algorithm: str, digest: bytes) -> bytes:
    return unb64(wire.ok("POST", f"/keys/{name}/sign", {"alg": algorithm, "value": b64(digest)})["value"])


def is_valid(wire: Wire, name: str, algorithm: str, digest: bytes, signature: bytes) -> Any:
    body = {"alg": algorithm, "digest": b64(digest), "value": b64(signature)}
    return wire.ok("POST", f"/keys/{name}/verify", body)["value"]


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_rsa(wire: Wire, name: str, size: int) -> None:
    key = wire.create(name, "RSA-HSM", key_size=size)["key"]
    public = rsa.RSAPublicNumbers(public_number(key, "e"), public_number(key, "n")).public_key()
    for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        digest, hashed = digest_for(algorithm), HASHES[algorithm[2:]]
        signature = sign(wire, name, algorithm, digest)
        assert len(signature) == size // 8
        pss = padding.PSS(padding.MGF1(hashed), hashed.digest_size)
        scheme = pss if algorithm.startswith("PS") else padding.PKCS1v15()
        public.verify(signature, digest, scheme, Prehashed(hashed))
        assert is_valid(wire, name, algorithm, digest, signature) is True
        assert is_valid(wire, name, algorithm, bytes(len(digest)), signature) is False


def test_rsnull_signs_what_it_gets(wire: Wire, name: str) -> None:
    key = wire.create(name, "RSA-HSM")["key"]
    public = rsa.RSAPublicNumbers(public_number(key, "e"), public_number(key, "n")).public_key()
    signature = sign(wire, name, "RSNULL", MESSAGE)
    assert public.recover_data_from_signature(signature, padding.PKCS1v15(), None) == MESSAGE
    assert is_valid(wire, name, "RSNULL", MESSAGE, signature) is True
    assert is_valid(wire, name, "RSNULL", b"else", signature) is False
    too_long = {"alg": "RSNULL", "value": b64(bytes(250))}
    assert wire.call("POST", f"/keys/{name}/sign", too_long).error == (400, "BadParameter")


@pytest.mark.parametrize("algorithm", sorted(CURVES))
def test_ecdsa_is_raw(wire: Wire, name: str, algorithm: str) -> None:
    crv, curve = CURVES[algorithm]
    key = wire.create(name, crv=crv)["key"]
    public = ec.EllipticCurvePublicNumbers(
        public_number(key, "x"), public_number(key, "y"), curve
    ).public_key()
    digest, length = digest_for(algorithm), (curve.key_size + 7) // 8
    signature = sign(wire, name, algorithm, digest)
    assert len(signature) == 2 * length
    r, s = (int.from_bytes(half, "big") for half in (signature[:length], signature[length:]))
    public.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(HASHES[algorithm[2:5]])))
    assert is_valid(wire, name, algorithm, digest, signature) is True
    assert is_valid(wire, name, algorithm, bytes(len(digest)), signature) is False
    assert is_valid(wire, name, algorithm, digest, encode_dss_signature(r, s)) is False


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_hmac(wire: Wire, name: str, algorithm: str) -> None:
    secret = bytes(range(32))
    wire.ok("PUT", f"/keys/{name}", {"key": {"kty": "oct", "k": b64(secret)}})
    digest = digest_for(algorithm)
    signature = sign(wire, name, algorithm, digest)
    assert signature == hmac.digest(secret, digest, f"sha{algorithm[2:]}")
    assert is_valid(wire, name, algorithm, digest, signature) is True
    assert is_valid(wire, name, algorithm, digest, b"") is False


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        ({"kty": "RSA"}, ["ES256", "HS256", "EdDSA", "rs256", None, ["RS256"]]),
        ({"kty": "EC"}, ["ES256K", "ES384", "RS256", "HS256"]),
        ({"kty": "EC", "crv": "P-256K"}, ["ES256"]),
        ({"kty": "oct"}, ["RS256", "ES256"]),
    ],
)
def test_algorithm_must_fit_the_key(
    wire: Wire, name: str, key: dict[str, str], algorithms: list[Any]
) -> None:
    wire.create(name, **key)
    for algorithm in algorithms:
        body = {"alg": algorithm, "value": b64(bytes(32)), "digest": b64(bytes(32))}
        for operation in ("sign", "verify"):
            assert wire.call("POST", f"/keys/{name}/{operation}", body).error == (400, "BadParameter")


@pytest.mark.parametrize("length", [0, 20, 31, 33, 48])
def test_digest_length_must_fit(wire: Wire, name: str, length: int) -> None:
    wire.create(name)
    body = {"alg": "ES256", "value": b64(bytes(length))}
    assert wire.call("POST", f"/keys/{name}/sign", body).error == (400, "BadParameter")


@pytest.mark.parametrize("value", [None, 5, "a", "%%%", "ä"])
def test_value_must_be_base64url(wire: Wire, name: str, value: Any) -> None:
    wire.create(name)
    body = {"alg": "ES256", "value": value}
    assert wire.call("POST", f"/keys/{name}/sign", body).error == (400, "BadParameter")


def test_restored_key_signs_as_before(wire: Wire, name: str) -> None:
    wire.create(name)
    digest = digest_for("ES256")
    signature = sign(wire, name, "ES256", digest)
    blob = wire.ok("POST", f"/keys/{name}/backup")
    wire.delete(name)
    wire.purge(name)
    wire.ok("POST", "/keys/restore", blob)
    assert is_valid(wire, name, "ES256", digest, signature) is True
