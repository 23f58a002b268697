"""What the HSM does with a key: sign and verify, encrypt and decrypt, wrap and unwrap."""

import hmac
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    NoDigestInfo,
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox import errors
from sandbox.algorithms import AES_ENCRYPTION, AES_WRAPPING, RSA_ENCRYPTION, Signing
from sandbox.material import PrivateKey

_GCM_TAG = 16
_BLOCK = 16


def sign(key: PrivateKey, algorithm: Signing, digest: bytes) -> bytes:
    """The signature over a digest that fits the algorithm. ECDSA: r and s side by side, each field-sized."""
    if isinstance(key, bytes):
        return hmac.digest(key, digest, algorithm.hash.name)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(algorithm.hash))))
        length = (key.curve.key_size + 7) // 8
        return r.to_bytes(length, "big") + s.to_bytes(length, "big")
    try:
        scheme = NoDigestInfo() if algorithm.raw else Prehashed(algorithm.hash)
        return key.sign(digest, _rsa_padding(algorithm), scheme)
    except ValueError as err:
        raise errors.bad_parameter("Invalid length of the value to sign") from err


def verify(key: PrivateKey, algorithm: Signing, digest: bytes, signature: bytes) -> bool:
    """Whether the signature is this key's over this digest. A signature of the wrong form is simply wrong."""
    try:
        if isinstance(key, bytes):
            return hmac.compare_digest(sign(key, algorithm, digest), signature)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            key.public_key().verify(_to_der(key, signature), digest, ec.ECDSA(Prehashed(algorithm.hash)))
        elif algorithm.raw:
            recovered = key.public_key().recover_data_from_signature(signature, padding.PKCS1v15(), None)
            return hmac.compare_digest(recovered, digest)
        else:
            scheme = Prehashed(algorithm.hash)
            key.public_key().verify(signature, digest, _rsa_padding(algorithm), scheme)
    except (InvalidSignature, ValueError):
        return False
    return True


def _to_der(key: ec.EllipticCurvePrivateKey, signature: bytes) -> bytes:
    length = (key.curve.key_size + 7) // 8
    if len(signature) != 2 * length:
        raise InvalidSignature
    r, s = signature[:length], signature[length:]
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


def _rsa_padding(algorithm: Signing) -> padding.PSS | padding.PKCS1v15:
    if algorithm.pss:
        return padding.PSS(padding.MGF1(algorithm.hash), algorithm.hash.digest_size)
    return padding.PKCS1v15()


@dataclass(frozen=True)
class Sealed:
    """The outcome of an encryption: ``iv`` for AES, ``tag`` and ``aad`` for AES-GCM."""

    value: bytes
    iv: bytes | None = None
    tag: bytes | None = None
    aad: bytes | None = None


def encrypt(key: PrivateKey, algorithm: str, value: bytes, iv: bytes | None, aad: bytes | None) -> Sealed:
    """Encrypt ``value``. AES-GCM makes its own iv, as the service does; AES-CBC takes the client's."""
    if isinstance(key, rsa.RSAPrivateKey):
        return Sealed(_rsa_encrypt(key, algorithm, value))
    mode, secret = _aes_key(key, algorithm)
    if mode == "GCM":
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(secret).encrypt(nonce, value, aad)
        return Sealed(sealed[:-_GCM_TAG], nonce, sealed[-_GCM_TAG:], aad)
    vector = _check_iv(iv or secrets.token_bytes(_BLOCK))
    cipher = Cipher(algorithms.AES(secret), modes.CBC(vector)).encryptor()
    return Sealed(cipher.update(_pad(value, mode)) + cipher.finalize(), vector)


def decrypt(key: PrivateKey, algorithm: str, sealed: Sealed) -> bytes:
    """The plain value. Raises HsmError (400) where ``sealed`` was not made with this key."""
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            return key.decrypt(sealed.value, _rsa_encryption(algorithm))
        mode, secret = _aes_key(key, algorithm)
        if mode == "GCM":
            return AESGCM(secret).decrypt(sealed.iv or b"", sealed.value + (sealed.tag or b""), sealed.aad)
        cipher = Cipher(algorithms.AES(secret), modes.CBC(_check_iv(sealed.iv or b""))).decryptor()
        return _unpad(cipher.update(sealed.value) + cipher.finalize(), mode)
    except (ValueError, InvalidTag) as err:
        raise errors.bad_parameter("The value could not be decrypted with this key") from err


def wrap(key: PrivateKey, algorithm: str, value: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return _rsa_encrypt(key, algorithm, value)
    try:
        return keywrap.aes_key_wrap(_wrapping_key(key, algorithm), value)
    except ValueError as err:
        raise errors.bad_parameter("Invalid length of the key to wrap") from err


def unwrap(key: PrivateKey, algorithm: str, value: bytes) -> bytes:
    """The wrapped key. Raises HsmError (400) where it was not wrapped with this key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return decrypt(key, algorithm, Sealed(value))
    try:
        return keywrap.aes_key_unwrap(_wrapping_key(key, algorithm), value)
    except (ValueError, keywrap.InvalidUnwrap) as err:
        raise errors.bad_parameter("The value could not be unwrapped with this key") from err


def _rsa_encryption(algorithm: str) -> padding.AsymmetricPadding:
    scheme = RSA_ENCRYPTION.get(algorithm)
    if scheme is None:
        raise errors.bad_parameter(f"Key and encryption algorithm {algorithm} are incompatible")
    return scheme


def _rsa_encrypt(key: rsa.RSAPrivateKey, algorithm: str, value: bytes) -> bytes:
    try:
        return key.public_key().encrypt(value, _rsa_encryption(algorithm))
    except ValueError as err:
        raise errors.bad_parameter("The value is too long for this key") from err


def _aes_key(key: PrivateKey, algorithm: str) -> tuple[str, bytes]:
    mode, size = AES_ENCRYPTION.get(algorithm, ("", 0))
    if not isinstance(key, bytes) or len(key) * 8 != size:
        raise errors.bad_parameter(f"Key and encryption algorithm {algorithm} are incompatible")
    return mode, key


def _wrapping_key(key: PrivateKey, algorithm: str) -> bytes:
    size = AES_WRAPPING.get(algorithm)
    if not isinstance(key, bytes) or size is None or (size and len(key) * 8 != size):
        raise errors.bad_parameter(f"Key and wrapping algorithm {algorithm} are incompatible")
    return key


def _check_iv(iv: bytes) -> bytes:
    if len(iv) != _BLOCK:
        raise errors.bad_parameter(f"Invalid length of iv: {len(iv)} bytes, not {_BLOCK}")
    return iv


def _pad(value: bytes, mode: str) -> bytes:
    """PKCS#7 for CBCPAD; zeros for CBC, which stay in the decrypted value, as recorded."""
    if mode == "CBCPAD":
        padder = block_padding.PKCS7(_BLOCK * 8).padder()
        return padder.update(value) + padder.finalize()
    return value + bytes(-len(value) % _BLOCK)


def _unpad(value: bytes, mode: str) -> bytes:
    if mode != "CBCPAD":
        return value
    unpadder = block_padding.PKCS7(_BLOCK * 8).unpadder()
    return unpadder.update(value) + unpadder.finalize()
