"""Keys of the in-memory HSM: versions with private keys, and the backup blob that holds them."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import Right
from cryptosources.providers.errors import KeyNotFound
from cryptosources.providers.signatures import prehashed, rsa_padding

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


@dataclass(frozen=True, slots=True)
class StoredKey:
    name: str
    algorithm: KeyAlgorithm
    versions: tuple[Version, ...]
    updated_at: datetime
    tags: dict[str, str]
    deleted_at: datetime | None = None


def new_version(algorithm: KeyAlgorithm, now: datetime) -> Version:
    """A new key pair."""
    key: PrivateKey
    if algorithm.is_rsa:
        key = rsa.generate_private_key(public_exponent=65537, key_size=algorithm.rsa_bits)
    else:
        key = ec.generate_private_key(_CURVES[algorithm.curve])
    return Version(secrets.token_hex(16), key, now)


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
        "algorithm": key.algorithm.value,
        "tags": key.tags,
        "updated": key.updated_at.timestamp(),
        "versions": [
            [version.identifier, version.created_at.timestamp(), _private_text(version.private_key)]
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
        Version(identifier, _private_key(text), datetime.fromtimestamp(created, UTC))
        for identifier, created, text in content["versions"]
    )
    key = StoredKey(
        content["name"],
        KeyAlgorithm(content["algorithm"]),
        versions,
        datetime.fromtimestamp(content["updated"], UTC),
        dict(content["tags"]),
    )
    return content["domain"], key


def _private_key(text: str) -> PrivateKey:
    key = serialization.load_der_private_key(base64.b64decode(text), password=None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise TypeError("a key of another type")
    return key
