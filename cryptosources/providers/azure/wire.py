"""The service's JSON as our values, and ours as its JSON (REST reference, *KeyBundle*, *JsonWebKey*)."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cryptosources.providers.api import KeyAttributes, KeyInfo, KeyRef, KeySpec, KeyState
from cryptosources.providers.signatures import key_algorithm

_NAME: Final = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VERSION: Final = re.compile(r"[0-9a-zA-Z]{1,64}")
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-256K": ec.SECP256K1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_KEY_OPERATIONS: Final = ("sign", "verify")


def key_path(ref: KeyRef, action: str = "") -> str:
    """``keys/<name>/<version>[/<action>]``; the version may be empty. ValueError for an impossible name."""
    version = _checked(_VERSION, ref.version) if ref.version else ""
    path = f"keys/{_checked(_NAME, ref.name)}/{version}"
    return f"{path}/{action}" if action else path


def create_body(spec: KeySpec) -> dict[str, Any]:
    """The body that creates a key for signing which nobody can export."""
    dates = {"nbf": _seconds(spec.not_before), "exp": _seconds(spec.expires_at)}
    given = {name: value for name, value in dates.items() if value is not None}
    body: dict[str, Any] = {"key_ops": list(_KEY_OPERATIONS), "attributes": {"enabled": True, **given}}
    if spec.algorithm.is_rsa:
        body |= {"kty": "RSA-HSM", "key_size": spec.algorithm.rsa_bits}
    else:
        body |= {"kty": "EC-HSM", "crv": spec.algorithm.curve}
    return body | ({"tags": dict(spec.tags)} if spec.tags else {})


def update_body(attributes: KeyAttributes) -> dict[str, Any]:
    """The body that sets all attributes: null takes a date away, tags replace those there are."""
    return {
        "attributes": {
            "enabled": attributes.enabled,
            "nbf": _seconds(attributes.not_before),
            "exp": _seconds(attributes.expires_at),
        },
        "tags": dict(attributes.tags),
    }


def key_info(item: Mapping[str, Any], request_id: str = "") -> KeyInfo:
    """A KeyBundle, a KeyItem or the deleted form of either.

    KeyError, TypeError, AttributeError or ValueError when it is none.
    """
    jwk = item.get("key") or {}
    attributes = item.get("attributes") or {}
    public = _public_key(jwk)
    deleted = "recoveryId" in item or "deletedDate" in item
    level = str(attributes.get("recoveryLevel") or "")
    return KeyInfo(
        ref=key_ref(jwk.get("kid") or item["kid"]),
        state=KeyState.SOFT_DELETED if deleted else KeyState.ACTIVE,
        public_key_der=None if public is None else _der(public),
        algorithm=key_algorithm(public),
        created_at=_moment(attributes.get("created")),
        updated_at=_moment(attributes.get("updated")),
        enabled=bool(attributes.get("enabled", True)),
        not_before=_moment(attributes.get("nbf")),
        expires_at=_moment(attributes.get("exp")),
        recovery_level=level,
        purgeable=not level or "Purgeable" in level,
        deleted_at=_moment(item.get("deletedDate")),
        scheduled_purge_at=_moment(item.get("scheduledPurgeDate")),
        tags={str(name): str(value) for name, value in (item.get("tags") or {}).items()},
        request_id=request_id,
    )


def key_ref(kid: str) -> KeyRef:
    """The key that ``https://host/keys/<name>[/<version>]`` names. ValueError when it is no such text."""
    parts = kid.removeprefix("https://").split("/")
    if len(parts) < 3 or parts[1] not in {"keys", "deletedkeys"}:
        raise ValueError("the key identifier has another form")
    return KeyRef(
        _checked(_NAME, parts[2]), _checked(_VERSION, parts[3]) if len(parts) > 3 and parts[3] else None
    )


def encode(data: bytes) -> str:
    """Base64url without padding, as the service writes all binary values."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes of a base64url text with or without padding. ValueError when it is not one."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*={0,2}", text):
        raise ValueError("not base64url")
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def require_backup_form(blob: bytes) -> None:
    """ValueError unless the blob is a compact JWE (RFC 7516, 7.1) with a header and a body.

    That is as far as an outsider sees: the content opens only inside the HSM's security domain.
    """
    parts = blob.split(b".")
    if len(parts) != 5:
        raise ValueError("not a compact JWE")
    try:
        header, _, _, content, tag = (decode(part.decode("ascii")) for part in parts)
        fields = json.loads(header)
    except (binascii.Error, UnicodeDecodeError) as err:
        raise ValueError("not a compact JWE") from err
    if not isinstance(fields, dict) or not {"alg", "enc"} <= fields.keys():
        raise ValueError("its header names no encryption")
    if not content or not tag:
        raise ValueError("it is cut short")


def _checked(form: re.Pattern[str], text: str) -> str:
    if form.fullmatch(text) is None:
        raise ValueError(f"“{text}” cannot name a key or version")
    return text


def _public_key(jwk: Mapping[str, Any]) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | None:
    """The public part; None for a symmetric key, a curve we do not use, or a listing without it."""
    if "n" in jwk:
        return rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    curve = _CURVES.get(str(jwk.get("crv")))
    if curve is None or "x" not in jwk:
        return None
    return ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve).public_key()


def _number(text: str) -> int:
    return int.from_bytes(decode(text), "big")


def _der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _moment(seconds: Any) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC)
