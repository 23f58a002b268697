"""Put a licence in force."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.actors import Actor
from licensing.services import LicenceError, install_licence


class Command(BaseCommand):
    help = "Install a signed licence file; it replaces the one in force."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="the licence, licence.jws")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            token = file.read_text(encoding="ascii")
            licence = install_licence(token=token, actor=Actor.command("install_licence"), now=timezone.now())
        except LicenceError as err:
            raise CommandError(str(err)) from err
        except (OSError, UnicodeDecodeError) as err:
            raise CommandError(f"{file} cannot be read as a licence.") from err
        self.stdout.write(f"Licence for {licence.customer} installed, ends {licence.not_after:%Y-%m-%d}.")
