"""What the process tests run in processes of their own: ``python -m tests.secretstore.stage STEP …``.

The settings come from the environment alone. Each step prints one JSON object.
"""

import gc
import json
import sys
from collections.abc import Callable
from typing import Any

import django


def fill(rows: str) -> dict[str, Any]:
    """Make the tables, and so many sources, each with a secret and a backup of 100 kB."""
    from django.core.management import call_command
    from django.db import transaction

    from tests.secretstore.rows import sealed_backup, sealed_source

    call_command("migrate", verbosity=0)
    with transaction.atomic():
        for number in range(int(rows)):
            source = sealed_source(f"Source {number}", f"secret {number}")
            sealed_backup(source, f"key-{number}", number.to_bytes(4, "big") * 25_000)
    return {"id": str(source.pk)}


def verify() -> dict[str, Any]:
    """How many secrets and blobs are right, how many still wait to be moved."""
    from audit.models import AuditRecord
    from cryptosources.models import CryptoSource
    from keys.models import KeyBackup
    from secretstore.rings import public_ring
    from secretstore.rotation import rows_to_move
    from secretstore.services import open_from

    secrets = sum(
        open_from(source, "sealed_secret").reveal_text() == source.friendly_name.replace("Source", "secret")
        for source in CryptoSource.objects.all()
    )
    blobs = sum(
        open_from(backup, "sealed_blob").reveal()
        == int(backup.key.name.removeprefix("key-")).to_bytes(4, "big") * 25_000
        for backup in KeyBackup.objects.select_related("key")
    )
    recorded = sum(record.details["values"] for record in AuditRecord.objects.filter(action="secrets.moved"))
    return {"secrets": secrets, "blobs": blobs, "left": rows_to_move(public_ring()), "recorded": recorded}


def pry() -> dict[str, Any]:
    """Try to open a stored secret in every way this process has; and seal a new one."""
    from django.conf import settings

    from cryptosources.models import CryptoSource
    from secretstore.core import PrivateKey, PrivateRing
    from secretstore.secret import Secret
    from secretstore.services import open_from, seal_into

    source = CryptoSource.objects.first()
    assert source is not None
    asked = _outcome(lambda: open_from(source, "sealed_secret"))
    settings.ROLE = "worker"
    pretended = _outcome(lambda: open_from(source, "sealed_secret"))
    settings.ROLE = "web"
    seal_into(source, "sealed_secret", Secret("typed into the form"))
    source.save()
    held = sum(isinstance(thing, PrivateRing | PrivateKey) for thing in gc.get_objects())
    return {"role": asked, "pretended": pretended, "private keys in memory": held}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        return repr(attempt())
    except Exception as err:  # noqa: BLE001  (the kind of failure is the answer)
        return type(err).__name__


if __name__ == "__main__":
    django.setup()
    step, *words = sys.argv[1:]
    steps: dict[str, Callable[..., dict[str, Any]]] = {"fill": fill, "verify": verify, "pry": pry}
    sys.stdout.write(json.dumps(steps[step](*words)) + "\n")
