"""The signed licence: a compact JWS (RFC 7515) signed with Ed25519 (EdDSA, RFC 8037).

Its payload is a JWT (RFC 7519): ``jti`` the licence's number, ``sub`` the customer, ``nbf`` and ``exp``
the first and the last moment, ``features`` the names it enables, ``aud`` always ``key-manager``.
``kid`` in the header is the issuer key's RFC 7638 thumbprint. Claims not named here are kept for later
versions and ignored. Pure Python.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

AUDIENCE: Final = "key-manager"
ALGORITHM: Final = "EdDSA"
_CHECKED_BY_US: Final = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
_PEM_END: Final = "-----END PUBLIC KEY-----"


class LicenceError(Exception):
    """A licence that cannot be used; the text is for people."""


class BadIssuerKeys(LicenceError):
    """The file with the issuer's public keys is missing or not understood."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a licence says. ``not_after`` is the first moment at which it is over."""

    licence_id: str
    customer: str
    features: frozenset[str]
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """The public keys whose signature on a licence counts, by key id."""

    keys: Mapping[str, Ed25519PublicKey] = field(hash=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From a JSON Web Key Set or from PEM; BadIssuerKeys when neither, or when it holds no key."""
        try:
            keys = _from_pem(text) if "-----BEGIN" in text else _from_jwks(text)
        except (ValueError, TypeError, KeyError, UnsupportedAlgorithm, jwt.PyJWTError):
            raise BadIssuerKeys("The licence issuer's keys are not Ed25519 public keys.") from None
        if not keys:
            raise BadIssuerKeys("The file of the licence issuer's keys holds no key.")
        return cls({thumbprint(key): key for key in keys})


def thumbprint(key: Ed25519PublicKey) -> str:
    """The key id: the RFC 7638 thumbprint (SHA-256) of the key as a JSON Web Key."""
    canonical = json.dumps(public_jwk(key), separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The required members of the JSON Web Key (RFC 8037, section 2)."""
    return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}


def sign(claims: Claims, key: Ed25519PrivateKey, *, now: datetime) -> str:
    """The token of a licence; what the issuer does."""
    payload = {
        "aud": AUDIENCE,
        "jti": claims.licence_id,
        "sub": claims.customer,
        "features": sorted(claims.features),
        "iat": now,
        "nbf": claims.not_before,
        "exp": claims.not_after,
    }
    headers = {"typ": "key-manager-licence+jwt", "kid": thumbprint(key.public_key())}
    return jwt.encode(payload, key, algorithm=ALGORITHM, headers=headers)


def verify(token: str, issuers: IssuerKeys) -> Claims:
    """The claims of a well-formed licence with a good signature, whatever its dates; LicenceError."""
    try:
        key = issuers.keys[jwt.get_unverified_header(token)["kid"]]
    except (jwt.PyJWTError, KeyError, TypeError):
        raise LicenceError("This is not a licence, or its issuer is not known here.") from None
    try:
        payload = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options=_CHECKED_BY_US,  # type: ignore[arg-type]
        )
    except jwt.InvalidSignatureError:
        raise LicenceError("The licence's signature is not valid: it was altered.") from None
    except jwt.PyJWTError:
        raise LicenceError("This signed token is not a licence for Key Manager.") from None
    return _claims(payload)


def _claims(payload: Mapping[str, Any]) -> Claims:
    try:
        claims = Claims(
            licence_id=_text(payload["jti"]),
            customer=_text(payload["sub"]),
            features=frozenset(_text(name) for name in payload["features"]),
            not_before=datetime.fromtimestamp(payload["nbf"], UTC),
            not_after=datetime.fromtimestamp(payload["exp"], UTC),
        )
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise LicenceError("The licence lacks something, or holds a value of the wrong kind.") from None
    if claims.not_after <= claims.not_before:
        raise LicenceError("The licence ends before it starts.")
    return claims


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError("not text")
    return value


def _from_jwks(text: str) -> list[Ed25519PublicKey]:
    return [_ed25519(jwt.PyJWK(entry, algorithm=ALGORITHM).key) for entry in json.loads(text)["keys"]]


def _from_pem(text: str) -> list[Ed25519PublicKey]:
    blocks = [block for block in text.split(_PEM_END) if block.strip()]
    return [_ed25519(load_pem_public_key((block + _PEM_END).encode())) for block in blocks]


def _ed25519(key: object) -> Ed25519PublicKey:
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("not an Ed25519 public key")
    return key


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
