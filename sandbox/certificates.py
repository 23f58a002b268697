"""Certificates by which applications prove who they are, instead of by a secret."""

import uuid
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.algorithms import SHA1
from sandbox.database import Database


@dataclass(frozen=True)
class Certificate:
    """A registered certificate; ``der`` holds its public part only."""

    key_id: str
    application_id: str
    display_name: str
    der: bytes

    @cached_property
    def x509(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @property
    def start_at(self) -> int:
        """Seconds since 1970, as ``end_at``, up to and including which it is good."""
        return int(self.x509.not_valid_before_utc.timestamp())

    @property
    def end_at(self) -> int:
        return int(self.x509.not_valid_after_utc.timestamp())

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        key = self.x509.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise TypeError("certificate key is not RSA")
        return key

    def thumbprint(self, algorithm: hashes.HashAlgorithm = SHA1) -> bytes:
        """The hash of the whole certificate; SHA-1 is how portals and clients name it."""
        return self.x509.fingerprint(algorithm)


class Certificates:
    """The certificates of all applications."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, application_id: str, pem: str, display_name: str = "") -> Certificate:
        """Register a certificate. Raises ValueError for what is none, TypeError for a key that is not RSA."""
        parsed = x509.load_pem_x509_certificate(pem.encode())
        if not isinstance(parsed.public_key(), rsa.RSAPublicKey):
            raise TypeError("the certificate's key is not RSA")
        name = display_name or parsed.subject.rfc4514_string()
        der = parsed.public_bytes(serialization.Encoding.DER)
        made = Certificate(str(uuid.uuid4()), application_id, name, der)
        self._db.write("INSERT INTO certificate VALUES (?, ?, ?, ?)", made.key_id, application_id, name, der)
        return made

    def of(self, application_id: str) -> list[Certificate]:
        rows = self._db.rows(
            "SELECT key_id, application_id, display_name, der FROM certificate "
            "WHERE application_id = ? ORDER BY rowid",
            application_id,
        )
        return [Certificate(*row) for row in rows]

    def remove(self, key_id: str) -> bool:
        return self._db.write("DELETE FROM certificate WHERE key_id = ?", key_id) == 1
