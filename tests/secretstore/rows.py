"""Rows with sealed values: crypto sources (a credential) and key backups (a blob)."""

from datetime import UTC, datetime

from cryptosources.models import CryptoSource
from keys.models import KeyBackup, ManagedKey
from secretstore.secret import Secret
from secretstore.services import seal_into

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


def sealed_source(name: str, secret: str) -> CryptoSource:
    source = CryptoSource(friendly_name=name, kind="memory", created_at=NOW, updated_at=NOW)
    seal_into(source, "sealed_secret", Secret(secret))
    source.save()
    return source


def sealed_backup(source: CryptoSource, name: str, blob: bytes) -> KeyBackup:
    key = ManagedKey.objects.create(
        source=source, name=name, algorithm="EC-P-256", created_by="tests", created_at=NOW, updated_at=NOW
    )
    backup = KeyBackup(
        key=key, origin="https://contoso.managedhsm.azure.net", size=len(blob), sha256="", taken_at=NOW
    )
    seal_into(backup, "sealed_blob", Secret(blob))
    backup.save()
    return backup
