"""A licence, the four kinds of people, and a broker that keeps what it is given."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import Settings

from cryptosources.providers.memory import forget_memory_hsms
from cryptosources.services import connection_test, throw_away
from cryptosources.services.connections import close_connections
from licensing.services import install_licence
from licensing.tokens import Claims, sign
from tests.cryptosources.factories import ACTOR, NOW

ROLES = ("operator", "administrator", "auditor", "ops")
InstallLicence = Callable[[str], None]
SignIn = Callable[[str], Client]


@pytest.fixture
def install(db: None, tmp_path: Path, settings: Settings) -> InstallLicence:
    """Install a licence for the named features, signed by an issuer that this console knows."""
    key = Ed25519PrivateKey.generate()
    issuer = tmp_path / "issuer.pem"
    issuer.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    settings.LICENCE_ISSUER_KEYS_FILE = str(issuer)

    def install_for(*features: str) -> None:
        claims = Claims(
            licence_id="L-1",
            customer="Contoso",
            features=frozenset(features),
            not_before=NOW - timedelta(days=1),
            not_after=NOW + timedelta(days=365 * 20),
        )
        install_licence(token=sign(claims, key, now=NOW), actor=ACTOR, now=NOW)

    return install_for


@pytest.fixture
def licensed(install: InstallLicence, sealing_keys: object) -> None:
    """A licence for Azure Managed HSM, and keys to seal with."""
    install("source:azure_managed_hsm")


@pytest.fixture(autouse=True)
def _clean_memory() -> Iterator[None]:
    yield
    close_connections()
    forget_memory_hsms()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of tests and throw-away keys handed to the broker, which keeps them and delivers nothing."""
    messages: list[str] = []

    def keep(task: object, *arguments: str, expires: object = None) -> str:
        messages.extend(arguments)
        return ""

    monkeypatch.setattr(connection_test, "publish", keep)
    monkeypatch.setattr(throw_away, "publish", keep)
    return messages


def person(role: str) -> User:
    """Somebody with that role, without a password: hashing one is slow, and nobody types it here."""
    user, _new = User.objects.get_or_create(username=role, defaults={"is_staff": True})
    user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def sign_in(db: None) -> SignIn:
    """A browser's session for a person of that role."""

    def for_role(role: str) -> Client:
        client = Client()
        client.force_login(person(role))
        return client

    return for_role
