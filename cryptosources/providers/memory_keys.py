"""Keys of the in-memory HSM: versions with private keys, and the backup blob that holds them."""

import base64
import json
import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes, Right
from cryptosources.providers.errors import KeyNotFound, UnsupportedOperation
from cryptosources.providers.signatures import key_algorithm, prehashed, rsa_padding

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_MAGIC: Final = b"memory-hsm-backup."
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-256K": ec.SECP256K1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}


@dataclass(frozen=True, slots=True)
class Version:
    identifier: str
    private_key: PrivateKey = field(repr=False)
    created_at: datetime
    attributes: KeyAttributes

    @property
    def algorithm(self) -> KeyAlgorithm:
        """Versions of one key may be of different types: the HSM takes what it is told."""
        found = key_algorithm(self.private_key.public_key())
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class StoredKey:
    name: str
    versions: tuple[Version, ...]
    updated_at: datetime
    deleted_at: datetime | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The newest version's, as a listing shows them."""
        return self.versions[-1].attributes.tags


def new_version(algorithm: KeyAlgorithm, attributes: KeyAttributes, now: datetime) -> Version:
    """A new key pair."""
    key: PrivateKey
    if algorithm.is_rsa:
        key = rsa.generate_private_key(public_exponent=65537, key_size=algorithm.rsa_bits)
    else:
        key = ec.generate_private_key(_CURVES[algorithm.curve])
    return Version(secrets.token_hex(16), key, now, whole_seconds(attributes))


def whole_seconds(attributes: KeyAttributes) -> KeyAttributes:
    """As an HSM keeps them: a copy, its dates without fractions of a second."""
    start, end = attributes.not_before, attributes.expires_at
    return KeyAttributes(
        attributes.enabled,
        start.replace(microsecond=0) if start else None,
        end.replace(microsecond=0) if end else None,
        dict(attributes.tags),
    )


def with_attributes(key: StoredKey, version: Version, attributes: KeyAttributes, now: datetime) -> StoredKey:
    """The key with that version's attributes replaced."""
    changed = replace(version, attributes=whole_seconds(attributes))
    versions = tuple(changed if each is version else each for each in key.versions)
    return replace(key, versions=versions, updated_at=now)


def find_version(key: StoredKey, identifier: str | None, operation: Right) -> Version:
    """The version of that identifier, the newest without one. KeyNotFound."""
    if identifier is None:
        return key.versions[-1]
    for version in key.versions:
        if version.identifier == identifier:
            return version
    raise KeyNotFound(
        f"The key {key.name} has no version {identifier}.",
        operation=operation,
        key=key.name,
        code="KeyNotFound",
    )


def require_usable(key: StoredKey, version: Version, now: datetime) -> None:
    """UnsupportedOperation unless the version is enabled and inside its dates."""
    held = version.attributes
    if not held.enabled:
        state = "a disabled"
    elif held.not_before is not None and now < held.not_before:
        state = "a not yet valid"
    elif held.expires_at is not None and now >= held.expires_at:
        state = "an expired"
    else:
        return
    raise UnsupportedOperation(
        f"Operation sign is not allowed on {state} key.",
        operation=Right.SIGN,
        key=key.name,
        code="Forbidden",
    )


def public_der(key: PrivateKey) -> bytes:
    """The public half as SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def sign(key: PrivateKey, digest: bytes, algorithm: SignatureAlgorithm) -> bytes:
    """The signature over a digest: DER for ECDSA."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, rsa_padding(algorithm), prehashed(algorithm))
    return key.sign(digest, ec.ECDSA(prehashed(algorithm)))


def dump(key: StoredKey, domain: str) -> bytes:
    """The backup blob: every version, and the security domain it belongs to."""
    content = {
        "domain": domain,
        "name": key.name,
        "updated": key.updated_at.timestamp(),
        "versions": [
            [
                version.identifier,
                version.created_at.timestamp(),
                _private_text(version.private_key),
                _attributes_out(version.attributes),
            ]
            for version in key.versions
        ],
    }
    return _MAGIC + base64.b64encode(json.dumps(content).encode())


def _private_text(key: PrivateKey) -> str:
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return base64.b64encode(der).decode()


def parse(blob: bytes) -> tuple[str, StoredKey]:
    """The security domain and the key in a blob. ValueError, KeyError or TypeError when it is none."""
    if not blob.startswith(_MAGIC):
        raise ValueError("not a backup of the in-memory HSM")
    content = json.loads(base64.b64decode(blob.removeprefix(_MAGIC), validate=True))
    versions = tuple(
        Version(identifier, _private_key(text), datetime.fromtimestamp(created, UTC), _attributes_in(held))
        for identifier, created, text, held in content["versions"]
    )
    key = StoredKey(
        content["name"],
        versions,
        datetime.fromtimestamp(content["updated"], UTC),
    )
    return content["domain"], key


def _attributes_out(held: KeyAttributes) -> list[Any]:
    dates = [at.timestamp() if at else None for at in (held.not_before, held.expires_at)]
    return [held.enabled, *dates, held.tags]


def _attributes_in(held: list[Any]) -> KeyAttributes:
    enabled, *dates, tags = held
    start, end = (None if at is None else datetime.fromtimestamp(at, UTC) for at in dates)
    return KeyAttributes(bool(enabled), start, end, dict(tags))


def _private_key(text: str) -> PrivateKey:
    key = serialization.load_der_private_key(base64.b64decode(text), password=None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError("a key of another type")
    return key
