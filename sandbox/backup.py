"""Backup blobs: all versions of one key, sealed with the security domain's key.

On the wire a blob is base64url of a compact JWE (RFC 7516) with ``alg`` dir and ``enc`` A256CBC-HS512
(RFC 7518, section 5.2.5), as recorded. What lies inside is the sandbox's own, padded to a real blob's size.
"""

import hashlib
import hmac
import json
import secrets

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sandbox import b64, errors
from sandbox.keystore import Key, KeyVersion, decode_attributes, encode_attributes

DOMAIN_KEY_BYTES = 64
_HEADER = b64.encode(b'{"alg":"dir","enc":"A256CBC-HS512","kid":"backup-protection-key"}')
_TAG_BYTES = 32
_BASE_BYTES, _VERSION_BYTES = 6400, 5840


def seal(key: Key, domain_key: bytes) -> str:
    """The blob that holds every version of ``key``; opaque, different at each call."""
    content = {"name": key.name, "versions": [_pack(version) for version in key.versions]}
    plain = json.dumps(content).encode().ljust(_BASE_BYTES + _VERSION_BYTES * len(key.versions))
    return b64.encode(_encrypt(plain, domain_key).encode("ascii"))


def unseal(blob: object, domain_key: bytes) -> tuple[str, tuple[KeyVersion, ...]]:
    """Key name and versions, oldest first. Raises HsmError (400 MalformedBackupBlob) for any other blob."""
    try:
        if not isinstance(blob, str):
            raise TypeError
        header, direct, iv, ciphertext, tag = b64.decode(blob).decode("ascii").split(".")
        vector, sealed, mac = b64.decode(iv), b64.decode(ciphertext), b64.decode(tag)
    except (ValueError, TypeError) as err:
        raise errors.corrupt_backup() from err
    if header != _HEADER or direct or len(vector) != 16 or len(mac) != _TAG_BYTES:
        raise errors.corrupt_backup()
    if not hmac.compare_digest(mac, _tag(domain_key, vector, sealed)):
        raise errors.foreign_backup()
    content = json.loads(_decrypt(vector, sealed, domain_key))
    return content["name"], tuple(_unpack(version) for version in content["versions"])


def _pack(version: KeyVersion) -> dict[str, object]:
    return {
        "version": version.version,
        "kty": version.kty,
        "public": version.public,
        "private": b64.encode(version.private),
        "attributes": encode_attributes(version.attributes),
    }


def _unpack(packed: dict[str, object]) -> KeyVersion:
    return KeyVersion(
        str(packed["version"]),
        str(packed["kty"]),
        dict(packed["public"]),  # type: ignore[call-overload]
        b64.decode(str(packed["private"])),
        decode_attributes(str(packed["attributes"])),
    )


def _encrypt(plain: bytes, domain_key: bytes) -> str:
    padder = padding.PKCS7(128).padder()
    iv = secrets.token_bytes(16)
    cipher = Cipher(algorithms.AES(domain_key[32:]), modes.CBC(iv)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    tag = _tag(domain_key, iv, sealed)
    return ".".join((_HEADER, "", b64.encode(iv), b64.encode(sealed), b64.encode(tag)))


def _decrypt(iv: bytes, sealed: bytes, domain_key: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(domain_key[32:]), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(cipher.update(sealed) + cipher.finalize()) + unpadder.finalize()


def _tag(domain_key: bytes, iv: bytes, sealed: bytes) -> bytes:
    """HMAC over header, iv, ciphertext and the header's bit length, halved (RFC 7518, section 5.2.2.1)."""
    header = _HEADER.encode("ascii")
    covered = header + iv + sealed + (len(header) * 8).to_bytes(8, "big")
    return hmac.digest(domain_key[:32], covered, hashlib.sha512)[:_TAG_BYTES]
