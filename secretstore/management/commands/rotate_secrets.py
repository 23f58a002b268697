"""Move every sealed value to the active key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.actors import Actor
from secretstore.errors import SecretStoreError
from secretstore.rings import public_ring
from secretstore.rotation import Progress, rotate, rows_to_move

# Web processes that still hold the former public ring may write while we work: look again, then give up.
PASSES = 3


class Command(BaseCommand):
    help = (
        "Seal every HSM credential and backup blob anew to the active key (KEYMANAGER_ROLE=worker). "
        "May be interrupted and run again at any time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--batch-size",
            type=int,
            default=20,
            metavar="N",
            help="values moved in one transaction (default 20)",
        )

    def handle(self, *args: Any, batch_size: int, **options: Any) -> None:
        if batch_size < 1:
            raise CommandError("--batch-size must be at least 1.")
        try:
            closed = self._rotate(batch_size)
            left = rows_to_move(public_ring())
        except SecretStoreError as err:
            raise CommandError(str(err)) from err
        if left:
            raise CommandError(_unfinished(left, closed))
        self.stdout.write("All sealed values are sealed to the active key.")

    def _rotate(self, batch_size: int) -> set[str]:
        """Run passes until one finds nothing new to move; the rows that no key here opens."""
        closed: set[str] = set()
        for _ in range(PASSES):
            moved = 0
            for step in rotate(
                actor=Actor.command("rotate_secrets"), clock=timezone.now, batch_size=batch_size
            ):
                self._show(step)
                moved += step.moved
                closed |= {f"{step.column} of {row}" for row in step.closed}
            if not moved:
                break
        return closed

    def _show(self, step: Progress) -> None:
        self.stdout.write(f"{step.column}: {step.seen} of {step.total}, {step.moved} moved in this batch")
        self.stdout.flush()


def _unfinished(left: int, closed: set[str]) -> str:
    if not closed:
        return f"{left} values were written meanwhile under an older key; run this again."
    return f"{left} values are not moved. No key here opens: {', '.join(sorted(closed))}."
