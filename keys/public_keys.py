"""Public keys and signatures outside the HSM: PEM, JWK, verification, DER and raw ECDSA. Pure."""

from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cryptosources.providers.algorithms import SignatureAlgorithm

_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def to_pem(public_key_der: bytes) -> str:
    """SubjectPublicKeyInfo as PEM text (RFC 7468)."""
    key = load_der_public_key(public_key_der)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def to_jwk(public_key_der: bytes, *, key_id: str) -> dict[str, Any]:
    """The public key as a JSON Web Key (RFC 7517), with ``kid`` and ``use``."""
    key = load_der_public_key(public_key_der)
    if isinstance(key, rsa.RSAPublicKey):
        jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        jwk = ECAlgorithm.to_jwk(key, as_dict=True)
    else:
        raise TypeError(f"{type(key).__name__} has no JWK form here")
    members = {name: value for name, value in jwk.items() if name != "key_ops"}
    return {"kid": key_id, "use": "sig", **members}


def verifies(
    public_key_der: bytes, *, digest: bytes, signature: bytes, algorithm: SignatureAlgorithm
) -> bool:
    """Whether ``signature`` (ECDSA as DER) is ``public_key_der``'s over ``digest``.

    False as well when the algorithm does not fit the key. PSS salts have the digest's length, as
    RFC 7518 section 3.5 demands.
    """
    key = load_der_public_key(public_key_der)
    prehashed = Prehashed(_HASHES[algorithm.hash_name]())
    try:
        if isinstance(key, rsa.RSAPublicKey) and not algorithm.is_ecdsa:
            key.verify(signature, digest, _rsa_padding(algorithm), prehashed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm.is_ecdsa:
            key.verify(signature, digest, ec.ECDSA(prehashed))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def der_to_raw(signature: bytes, public_key_der: bytes) -> bytes:
    """An ECDSA signature as fixed-width ``r || s`` (RFC 7518 section 3.4); ValueError when it is not DER."""
    r, s = decode_dss_signature(signature)
    width = _coordinate_bytes(public_key_der)
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def raw_to_der(signature: bytes, public_key_der: bytes) -> bytes:
    """Fixed-width ``r || s`` as DER; ValueError when the length does not fit the curve."""
    width = _coordinate_bytes(public_key_der)
    if len(signature) != 2 * width:
        raise ValueError(f"A raw signature of this curve has {2 * width} bytes, this one {len(signature)}.")
    return encode_dss_signature(
        int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
    )


def _coordinate_bytes(public_key_der: bytes) -> int:
    key = load_der_public_key(public_key_der)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("Only elliptic-curve signatures have a raw form.")
    return (key.curve.key_size + 7) // 8


def _rsa_padding(algorithm: SignatureAlgorithm) -> padding.AsymmetricPadding:
    if algorithm.value.startswith("RS"):
        return padding.PKCS1v15()
    digest = _HASHES[algorithm.hash_name]()
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.DIGEST_LENGTH)
