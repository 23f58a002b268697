"""``manage.py sandbox``: the stand-in HSM. A thin door; everything is in ``sandbox.cli``."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sandbox import cli
from sandbox.estate import SandboxError


class Command(BaseCommand):
    help = "Serve a stand-in for Azure Managed HSM and Entra ID, or print credentials for it."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        cli.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            cli.run(argparse.Namespace(**options), self._write)
        except SandboxError as err:
            raise CommandError(str(err)) from err

    def _write(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
