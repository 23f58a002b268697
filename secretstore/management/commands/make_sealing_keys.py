"""Make the sealing keys, add a new one, or remove the old ones."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from secretstore import keyfiles
from secretstore.errors import SecretStoreError
from secretstore.rotation import rows_to_move


class Command(BaseCommand):
    help = (
        "Make the key rings that HSM credentials and backup blobs are sealed with: public.json for every "
        "process, private.json for workers, recovery-private.json to be kept offline by people."
    )
    # These checks ask for the keys that are made here.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the key rings")
        parser.add_argument("--demo", action="store_true", help="mark the keys as the demo's")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--rotate", action="store_true", help="make a new key the active one; then run rotate_secrets"
        )
        what.add_argument(
            "--remove-old",
            action="store_true",
            help="remove all keys but the active one, once no row needs them. Database backups made "
            "before the rotation need the old private.json: keep a copy as long as you keep them",
        )

    def handle(self, *args: Any, out: Path, **options: Any) -> None:
        try:
            if options["rotate"]:
                self._rotate(out)
            elif options["remove_old"]:
                self._remove_old(out)
            else:
                self._make(out, demo=options["demo"])
        except SecretStoreError as err:
            raise CommandError(str(err)) from err
        except OSError as err:
            raise CommandError(f"{err.filename}: {err.strerror}") from err

    def _make(self, out: Path, *, demo: bool) -> None:
        ring = keyfiles.create(out, demo=demo, now=timezone.now())
        self.stdout.write(f"Active key {ring.active.key_id}, recovery key {ring.recovery.key_id} in {out}.")
        self.stdout.write(f"Give {keyfiles.PRIVATE} to workers only.")
        self.stdout.write(f"Move {keyfiles.RECOVERY} to a safe place offline, and keep it.")

    def _rotate(self, out: Path) -> None:
        ring = keyfiles.add_key(out, now=timezone.now())
        self.stdout.write(f"Active key {ring.active.key_id}. Give {keyfiles.PRIVATE} to workers first,")
        self.stdout.write(f"then {keyfiles.PUBLIC} to every process; then run rotate_secrets in a worker.")

    def _remove_old(self, out: Path) -> None:
        if left := rows_to_move(keyfiles.read_public(out)):
            raise CommandError(f"{left} sealed values still need an older key: run rotate_secrets first.")
        removed = keyfiles.remove_old_keys(out)
        self.stdout.write(f"Removed: {', '.join(removed) or 'nothing'}. Give {keyfiles.PRIVATE} to workers.")
