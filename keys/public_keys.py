"""The public halves of keys, in the forms that people take away: PEM and JWK. Pure."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


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
