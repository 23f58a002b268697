"""Certificates, and the assertions that clients make with their keys."""

import base64
import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.sandbox.wire import Answer, Wire
from tests.sandbox_server import RegisteredApp, SandboxServer

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True)
class Pair:
    """A key and its certificate."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def public_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def pem(self) -> bytes:
        private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private + self.public_pem.encode()

    def thumbprint(self, name: str = "sha256") -> str:
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return base64.urlsafe_b64encode(hashlib.new(name, der).digest()).decode().rstrip("=")


def make_pair(
    begins: timedelta = timedelta(days=-2), ends: timedelta = timedelta(days=9), key: Any = None
) -> Pair:
    key = key or rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Console")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.not_valid_before(now + begins).not_valid_after(now + ends)
    return Pair(key, builder.serial_number(x509.random_serial_number()).sign(key, hashes.SHA256()))


def claims(server: SandboxServer, app: RegisteredApp, **changed: Any) -> dict[str, Any]:
    """The claims of a good assertion; those changed to None are left out."""
    now = int(datetime.now(UTC).timestamp())
    found = {
        "aud": server.token_endpoint(),
        "iss": app.application_id,
        "sub": app.application_id,
        "jti": str(uuid.uuid4()),
        "nbf": now,
        "iat": now,
        "exp": now + 300,
    } | changed
    return {name: value for name, value in found.items() if value is not None}


def assertion(pair: Pair, content: dict[str, Any], algorithm: str = "PS256", **headers: Any) -> str:
    headers = headers or {"x5t#S256": pair.thumbprint()}
    return jwt.encode(content, pair.key, algorithm, headers=headers)


def ask_with_assertion(server: SandboxServer, app: RegisteredApp, token: str, **changed: str) -> Answer:
    form = {
        "client_id": app.application_id,
        "client_assertion": token,
        "client_assertion_type": ASSERTION_TYPE,
        "scope": f"{server.audience}/.default",
        "resource": server.audience,
    }
    return Wire(server).ask_for_token(**form | changed)
