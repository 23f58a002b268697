"""Signatures outside the HSM: the two ECDSA forms, and verification with a public key."""

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm, require_digest

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_COORDINATE_BYTES: Final = {
    SignatureAlgorithm.ES256: 32,
    SignatureAlgorithm.ES256K: 32,
    SignatureAlgorithm.ES384: 48,
    SignatureAlgorithm.ES512: 66,
}
_CURVES: Final = {
    "secp256r1": KeyAlgorithm.EC_P256,
    "secp256k1": KeyAlgorithm.EC_P256K,
    "secp384r1": KeyAlgorithm.EC_P384,
    "secp521r1": KeyAlgorithm.EC_P521,
}


def prehashed(algorithm: SignatureAlgorithm) -> Prehashed:
    """The algorithm's hash, told that the digest is already computed."""
    return Prehashed(_HASHES[algorithm.hash_name])


def rsa_padding(algorithm: SignatureAlgorithm) -> padding.AsymmetricPadding:
    """PKCS#1 v1.5 for RS*, PSS with a salt of the digest's length for PS* (RFC 7518, 3.3 and 3.5)."""
    if algorithm.value.startswith("RS"):
        return padding.PKCS1v15()
    return padding.PSS(mgf=padding.MGF1(_HASHES[algorithm.hash_name]), salt_length=algorithm.digest_size)


def raw_to_der(signature: bytes, algorithm: SignatureAlgorithm) -> bytes:
    """Turn r‖s (RFC 7518, 3.4) into DER (RFC 3279, 2.2.3). ValueError when the length does not fit."""
    size = _COORDINATE_BYTES[algorithm]
    if len(signature) != 2 * size:
        raise ValueError(f"{algorithm} has {2 * size} bytes as r‖s; this signature has {len(signature)}.")
    return encode_dss_signature(
        int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    )


def der_to_raw(signature: bytes, algorithm: SignatureAlgorithm) -> bytes:
    """Turn a DER signature into r‖s of fixed length. ValueError when it is not one for this algorithm."""
    size = _COORDINATE_BYTES[algorithm]
    r, s = decode_dss_signature(signature)
    try:
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    except OverflowError as err:
        raise ValueError(f"The signature is too long for {algorithm}.") from err


def key_algorithm(public_key: object) -> KeyAlgorithm | None:
    """The key's type with its size or curve; None for one we do not use."""
    if isinstance(public_key, rsa.RSAPublicKey):
        value = f"RSA-{public_key.key_size}"
        return KeyAlgorithm(value) if value in set(KeyAlgorithm) else None
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _CURVES.get(public_key.curve.name)
    return None


def signature_is_valid(
    *, public_key_der: bytes, digest: bytes, signature: bytes, algorithm: SignatureAlgorithm
) -> bool:
    """Whether the signature (DER for ECDSA) over the digest verifies under a SubjectPublicKeyInfo.

    A key that does not fit the algorithm gives False. :class:`~.algorithms.DigestMismatch` when the
    digest's length does not fit; ValueError when the public key cannot be read.
    """
    require_digest(algorithm, digest)
    key = serialization.load_der_public_key(public_key_der)
    try:
        if isinstance(key, rsa.RSAPublicKey) and not algorithm.is_ecdsa:
            key.verify(signature, digest, rsa_padding(algorithm), prehashed(algorithm))
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm.is_ecdsa:
            key.verify(signature, digest, ec.ECDSA(prehashed(algorithm)))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
