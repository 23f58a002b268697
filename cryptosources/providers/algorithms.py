"""Key types and signature algorithms, under their JOSE names (RFC 7518, RFC 8812)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class KeyAlgorithm(StrEnum):
    """A key type with its size or curve: what a person chooses when generating a key."""

    RSA_2048 = "RSA-2048"
    RSA_3072 = "RSA-3072"
    RSA_4096 = "RSA-4096"
    EC_P256 = "EC-P-256"
    EC_P256K = "EC-P-256K"
    EC_P384 = "EC-P-384"
    EC_P521 = "EC-P-521"

    @property
    def is_rsa(self) -> bool:
        return self.value.startswith("RSA")

    @property
    def rsa_bits(self) -> int:
        """Modulus size in bits; ValueError for an elliptic-curve key."""
        if not self.is_rsa:
            raise ValueError(f"{self} has no modulus")
        return int(self.value.removeprefix("RSA-"))

    @property
    def curve(self) -> str:
        """The JOSE-style curve name (``P-256K`` for secp256k1); ValueError for an RSA key."""
        if self.is_rsa:
            raise ValueError(f"{self} has no curve")
        return self.value.removeprefix("EC-")


class SignatureAlgorithm(StrEnum):
    """A JOSE signature algorithm; every one signs a digest, never the data."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES256K = "ES256K"
    ES384 = "ES384"
    ES512 = "ES512"

    @property
    def hash_name(self) -> str:
        """``sha256``, ``sha384`` or ``sha512``, as :mod:`hashlib` spells them."""
        return "sha" + self.value[2:5]

    @property
    def digest_size(self) -> int:
        """Length in bytes of the digest that this algorithm signs."""
        return int(self.value[2:5]) // 8

    @property
    def is_ecdsa(self) -> bool:
        return self.value.startswith("ES")


_RSA: Final = (
    SignatureAlgorithm.PS256,
    SignatureAlgorithm.PS384,
    SignatureAlgorithm.PS512,
    SignatureAlgorithm.RS256,
    SignatureAlgorithm.RS384,
    SignatureAlgorithm.RS512,
)
_EC: Final = {
    KeyAlgorithm.EC_P256: SignatureAlgorithm.ES256,
    KeyAlgorithm.EC_P256K: SignatureAlgorithm.ES256K,
    KeyAlgorithm.EC_P384: SignatureAlgorithm.ES384,
    KeyAlgorithm.EC_P521: SignatureAlgorithm.ES512,
}


def signature_algorithms(key: KeyAlgorithm) -> tuple[SignatureAlgorithm, ...]:
    """The algorithms that fit a key type, the recommended one first."""
    return _RSA if key.is_rsa else (_EC[key],)


@dataclass(frozen=True, slots=True)
class DigestMismatch(ValueError):
    """The digest's length does not fit the algorithm."""

    algorithm: SignatureAlgorithm
    length: int

    def __str__(self) -> str:
        return (
            f"{self.algorithm} signs a digest of {self.algorithm.digest_size} bytes; "
            f"this one has {self.length}."
        )


def require_digest(algorithm: SignatureAlgorithm, digest: bytes) -> None:
    """Raise :class:`DigestMismatch` when the digest's length does not fit."""
    if len(digest) != algorithm.digest_size:
        raise DigestMismatch(algorithm, len(digest))
