"""An issuer of licences, known to the installation."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pytest_django import Settings

from licensing.tokens import Claims, sign

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
FEATURE = "source:azure_managed_hsm"
Issue = Callable[..., str]


def pem(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def issuer_key(tmp_path: Path, settings: Settings) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "issuers.pem"
    path.write_text(pem(key))
    settings.LICENCE_ISSUER_KEYS_FILE = str(path)
    return key


@pytest.fixture
def issue(issuer_key: Ed25519PrivateKey) -> Issue:
    """Sign a licence, by default one that began an hour before NOW and lasts 30 days."""

    def signed(
        features: Iterable[str] = (FEATURE,),
        *,
        customer: str = "Contoso",
        starts: datetime = NOW - timedelta(hours=1),
        lasts: timedelta = timedelta(days=30),
        key: Ed25519PrivateKey = issuer_key,
    ) -> str:
        claims = Claims("L-1", customer, frozenset(features), starts, starts + lasts)
        return sign(claims, key, now=NOW)

    return signed
