"""Sealing: whoever holds the public ring can seal, only the private ring can open. Pure Python.

Each value is encrypted with AES-256-GCM under a fresh content key, and the content key is sealed with
HPKE (RFC 9180, base mode) to each recipient: the workers' active key and, where asked for, the offline
recovery key. The KEM is the hybrid of X25519 and ML-KEM-768, so a value copied today stays closed
unless both are broken. Table, column and row key go into HPKE's ``info``: a sealed value moved to
another place does not open there.

A sealed value, version 1::

    "KMS" | 0x01 | recipients (1 byte) | per recipient: key id (8) + sealed content key (1168)
    | nonce (12) | ciphertext and tag

The bytes before the nonce, together with ``info``, are the additional data of the AES-256-GCM layer.
"""

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secretstore.errors import BadRing, CannotOpen
from secretstore.secret import Secret

_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_MAGIC: Final = b"KMS\x01"
_ID_SIZE: Final = 8
_CONTENT_KEY_SIZE: Final = 32
_TAG_SIZE: Final = 16
_NONCE_SIZE: Final = 12
_SEALED_KEY_SIZE: Final = hpke.KEM.MLKEM768_X25519.enc_length() + _CONTENT_KEY_SIZE + _TAG_SIZE
_MLKEM_SEED_SIZE: Final = 64
_MLKEM_PUBLIC_SIZE: Final = 1184


class Purpose(StrEnum):
    """Who holds a private ring."""

    WORKERS = "workers"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Binding:
    """The one place where a sealed value opens: database table, column, primary key as text."""

    table: str
    column: str
    row_id: str

    def info(self) -> bytes:
        """HPKE's ``info``: a JSON list, so that no two places share one spelling."""
        return b"key-manager/sealed/1\x00" + json.dumps([self.table, self.column, self.row_id]).encode()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A hybrid public key. ``raw`` is the ML-KEM-768 key (1184 bytes) and then the X25519 key (32)."""

    raw: bytes = field(repr=False)
    created_at: datetime

    @property
    def key_id(self) -> str:
        """The first 8 bytes of the key's SHA-256, as 16 hexadecimal digits."""
        return hashlib.sha256(self.raw).digest()[:_ID_SIZE].hex()

    def seal(self, content_key: bytes, info: bytes) -> bytes:
        key = hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.raw[:_MLKEM_PUBLIC_SIZE]),
            X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC_SIZE:]),
        )
        return _SUITE.encrypt(content_key, key, info=info)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A hybrid private key: the ML-KEM-768 seed (64 bytes) and then the X25519 key (32)."""

    seed: Secret
    created_at: datetime

    @classmethod
    def generate(cls, *, now: datetime) -> Self:
        return cls(Secret(secrets.token_bytes(_MLKEM_SEED_SIZE + 32)), now)

    def _parts(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        raw = self.seed.reveal()
        return (
            MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED_SIZE]),
            X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED_SIZE:]),
        )

    @property
    def public(self) -> PublicKey:
        lattice, curve = (part.public_key().public_bytes_raw() for part in self._parts())
        return PublicKey(lattice + curve, self.created_at)

    def open(self, sealed_key: bytes, info: bytes) -> bytes:
        """The content key; InvalidTag when it was not sealed to this key with this info."""
        return _SUITE.decrypt(sealed_key, hpke.MLKEM768X25519PrivateKey(*self._parts()), info=info)


@dataclass(frozen=True, slots=True)
class PublicRing:
    """What seals: the workers' active key and the offline recovery key. Safe for everybody to read."""

    active: PublicKey
    recovery: PublicKey
    demo: bool = False

    def recipients(self, *, recovery: bool = False) -> tuple[str, ...]:
        """The ids of the keys that a value sealed now would open with."""
        return tuple(key.key_id for key in self._keys(recovery=recovery))

    def _keys(self, *, recovery: bool) -> tuple[PublicKey, ...]:
        return (self.active, self.recovery) if recovery else (self.active,)

    def seal(self, secret: Secret, binding: Binding, *, recovery: bool = False) -> bytes:
        """Seal for the workers and, with ``recovery``, for the offline recovery key as well."""
        info = binding.info()
        content_key = AESGCM.generate_key(bit_length=256)
        keys = self._keys(recovery=recovery)
        header = _MAGIC + bytes([len(keys)])
        header += b"".join(bytes.fromhex(key.key_id) + key.seal(content_key, info) for key in keys)
        nonce = secrets.token_bytes(_NONCE_SIZE)
        return header + nonce + AESGCM(content_key).encrypt(nonce, secret.reveal(), header + info)

    def to_json(self) -> str:
        return _dump(
            {
                "ring": "public",
                "demo": self.demo,
                "active": _public_entry(self.active),
                "recovery": _public_entry(self.recovery),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """BadRing when the text is not a public ring."""
        ring = _load(text, "public")
        try:
            return cls(_public_key(ring["active"]), _public_key(ring["recovery"]), bool(ring["demo"]))
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise BadRing("This is not a complete public key ring.") from None


@dataclass(frozen=True, slots=True)
class PrivateRing:
    """What opens: the active key and the older ones that rows may still be sealed to."""

    keys: tuple[PrivateKey, ...]
    purpose: Purpose = Purpose.WORKERS
    demo: bool = False
    _by_id: dict[str, PrivateKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {key.public.key_id: key for key in self.keys})

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(self._by_id)

    def open(self, sealed: bytes, binding: Binding) -> Secret:
        """CannotOpen: none of our keys, altered, cut short, or sealed for another place."""
        header, sealed_keys, body = _split(sealed)
        info = binding.info()
        for key_id, sealed_key in sealed_keys.items():
            if key := self._by_id.get(key_id):
                return _open_body(key, sealed_key, header, body, info)
        raise CannotOpen(f"The value is sealed to {', '.join(sealed_keys)}; no such key is in the ring.")

    def with_key(self, key: PrivateKey) -> Self:
        return replace(self, keys=(*self.keys, key))

    def without(self, key_ids: Sequence[str]) -> Self:
        return replace(self, keys=tuple(k for k in self.keys if k.public.key_id not in key_ids))

    def to_json(self) -> str:
        return _dump(
            {
                "ring": "private",
                "purpose": self.purpose.value,
                "demo": self.demo,
                "keys": [_private_entry(key) for key in self.keys],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """BadRing when the text is not a private ring."""
        ring = _load(text, "private")
        try:
            keys = tuple(_private_key(entry) for entry in ring["keys"])
            made = cls(keys, Purpose(ring["purpose"]), bool(ring["demo"]))
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise BadRing("This is not a complete private key ring.") from None
        if not keys:
            raise BadRing("This private key ring is empty.")
        return made


def recipients(sealed: bytes) -> tuple[str, ...]:
    """The ids of the keys that a sealed value opens with; CannotOpen when it is not one."""
    return tuple(_split(sealed)[1])


def marks(key_ids: Sequence[str]) -> dict[int, bytes]:
    """The bytes, by offset, that a value sealed to exactly these keys in this order always carries."""
    found = {0: _MAGIC + bytes([len(key_ids)])}
    for index, key_id in enumerate(key_ids):
        found[len(_MAGIC) + 1 + index * (_ID_SIZE + _SEALED_KEY_SIZE)] = bytes.fromhex(key_id)
    return found


def _open_body(key: PrivateKey, sealed_key: bytes, header: bytes, body: bytes, info: bytes) -> Secret:
    try:
        content_key = key.open(sealed_key, info)
        plain = AESGCM(content_key).decrypt(body[:_NONCE_SIZE], body[_NONCE_SIZE:], header + info)
    except InvalidTag:
        raise CannotOpen("The sealed value was altered, or it belongs to another row or column.") from None
    return Secret(plain)


def _split(sealed: bytes) -> tuple[bytes, dict[str, bytes], bytes]:
    """Header, sealed content keys by key id, and the rest; CannotOpen when the form is wrong."""
    start = len(_MAGIC) + 1
    if len(sealed) < start or not sealed.startswith(_MAGIC):
        raise CannotOpen("This is not a sealed value.")
    size = _ID_SIZE + _SEALED_KEY_SIZE
    end = start + sealed[start - 1] * size
    if len(sealed) < end + _NONCE_SIZE + _TAG_SIZE:
        raise CannotOpen("The sealed value is cut short.")
    entries = [sealed[at : at + size] for at in range(start, end, size)]
    return sealed[:end], {entry[:_ID_SIZE].hex(): entry[_ID_SIZE:] for entry in entries}, sealed[end:]


def _dump(ring: Mapping[str, object]) -> str:
    return json.dumps({"format": "key-manager", "version": 1, **ring}, indent=2) + "\n"


def _load(text: str, ring: str) -> Mapping[str, Any]:
    """The parsed ring. The parser's own error is dropped: it would quote the text."""
    try:
        parsed = json.loads(text)
    except ValueError:
        raise BadRing("The key ring is not JSON.") from None
    if not isinstance(parsed, dict) or (parsed.get("format"), parsed.get("version")) != ("key-manager", 1):
        raise BadRing("This is not a key ring of a version known here.")
    if parsed.get("ring") != ring:
        raise BadRing(f"This is not a {ring} key ring.")
    return parsed


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str, size: int) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if len(raw) != size:
        raise ValueError("wrong key length")
    return raw


def _public_entry(key: PublicKey) -> dict[str, str]:
    return {"id": key.key_id, "created_at": key.created_at.isoformat(), "public": _encode(key.raw)}


def _private_entry(key: PrivateKey) -> dict[str, str]:
    created = key.created_at.isoformat()
    return {"id": key.public.key_id, "created_at": created, "seed": _encode(key.seed.reveal())}


def _public_key(entry: Mapping[str, str]) -> PublicKey:
    raw = _decode(entry["public"], _MLKEM_PUBLIC_SIZE + 32)
    key = PublicKey(raw, datetime.fromisoformat(entry["created_at"]))
    if key.key_id != entry["id"]:
        raise ValueError("key id and key differ")
    return key


def _private_key(entry: Mapping[str, str]) -> PrivateKey:
    seed = Secret(_decode(entry["seed"], _MLKEM_SEED_SIZE + 32))
    key = PrivateKey(seed, datetime.fromisoformat(entry["created_at"]))
    if key.public.key_id != entry["id"]:
        raise ValueError("key id and key differ")
    return key
