"""The licence issuer's tool: an issuer key, and licences signed with it."""

import os
import secrets
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from licensing.tokens import Claims, sign

PRIVATE: Final = "issuer-private.pem"
PUBLIC: Final = "issuer-public.pem"
LICENCE: Final = "licence.jws"
DEFAULT_FEATURES: Final = ("source:azure_managed_hsm",)


class Command(BaseCommand):
    help = (
        f"Sign a licence into DIR/{LICENCE}. The issuer's key is DIR/{PRIVATE}, made when it is not there; "
        f"KEYMANAGER_LICENCE_ISSUER_KEYS_FILE of an installation names a copy of DIR/{PUBLIC}."
    )
    # The issuer's host has no installation.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="folder of the issuer's key"
        )
        parser.add_argument(
            "--customer", default="Demo", metavar="NAME", help="whom it is for (default: %(default)s)"
        )
        parser.add_argument(
            "--feature",
            action="append",
            dest="features",
            metavar="NAME",
            help=f"what it enables; may be repeated (default: {', '.join(DEFAULT_FEATURES)})",
        )
        parser.add_argument(
            "--starts", type=_moment, metavar="DATE", help="when it begins: ISO 8601, UTC (default: now)"
        )
        parser.add_argument("--days", type=int, default=365, help="how long it lasts (default 365)")

    def handle(self, *args: Any, out: Path, **options: Any) -> None:
        now = timezone.now()
        if options["days"] < 1:
            raise CommandError("--days must be at least 1.")
        out.mkdir(parents=True, exist_ok=True)
        claims = _claims(options, now)
        token = sign(claims, self._issuer_key(out), now=now)
        (out / LICENCE).write_text(token + "\n", encoding="ascii")
        ends = f"{claims.not_after:%Y-%m-%d}"
        self.stdout.write(f"{out / LICENCE}: {claims.licence_id} for {claims.customer}, ends {ends}.")

    def _issuer_key(self, out: Path) -> Ed25519PrivateKey:
        """The issuer's key, made at first use. The public file is written each time, from the private one."""
        path = out / PRIVATE
        if not path.exists():
            _write_private(path, Ed25519PrivateKey.generate())
            self.stdout.write(f"New issuer key {path}: keep it secret.")
        key = _read_private(path)
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (out / PUBLIC).write_bytes(pem)
        return key


def _claims(options: dict[str, Any], now: datetime) -> Claims:
    starts = options["starts"] or now
    return Claims(
        licence_id=f"L-{secrets.token_hex(6)}",
        customer=options["customer"],
        features=frozenset(options["features"] or DEFAULT_FEATURES),
        not_before=starts,
        not_after=starts + timedelta(days=options["days"]),
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _write_private(path: Path, key: Ed25519PrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def _read_private(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        raise CommandError(f"{path} is not a private key.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CommandError(f"{path} is not an Ed25519 private key.")
    return key
