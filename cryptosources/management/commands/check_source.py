"""The connection test from the command line, carried out by a worker as the page's is."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.services import Actor
from cryptosources.errors import CycleRefused
from cryptosources.models import ConnectionTest, CryptoSource
from cryptosources.services import connection_test, rights, sources
from cryptosources.services.rights import Repair, RightsReport
from licensing.services import FeatureNotLicensed

FAILED: Final = 1
NOT_TESTED: Final = 2
PACE_SECONDS: Final = 0.25
_MARKS: Final = {"passed": "ok  ", "failed": "FAIL", "warning": "warn", "skipped": "skip"}


class Command(BaseCommand):
    help = (
        "Test a crypto source's connection in a worker and print the steps as they come, and what repairs "
        "missing rights. "
        f"Exit code 0: healthy; {FAILED}: a step failed; {NOT_TESTED}: no such source, or no worker carried "
        "out the test in time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("friendly_name", help="the source's Friendly Name; case makes no difference")
        parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
        parser.add_argument(
            "--full-cycle",
            action="store_true",
            help="also run a throw-away key through its whole life: create, sign, back up, delete, purge, "
            "restore, sign, delete, purge",
        )
        parser.add_argument(
            "--worker-within",
            type=float,
            default=connection_test.TAKEN_UP_WITHIN.total_seconds(),
            metavar="SECONDS",
            help="how long a worker may take to begin (default %(default)g)",
        )

    def handle(self, *args: Any, friendly_name: str, **options: Any) -> None:
        source = _find(friendly_name)
        show = _silent if options["json"] else self._show_step
        try:
            test = _request(source, full_cycle=options["full_cycle"])
            test = _Follower(test, options["worker_within"]).follow(show)
        except _NoResult as reason:
            raise CommandError(str(reason), returncode=NOT_TESTED) from reason
        report = rights.rights_report(source=source, test=test)
        if options["json"]:
            self.stdout.write(json.dumps(_document(source, test, report), indent=2))
        elif report.repair:
            self._show_repair(report.repair)
        if test.state != ConnectionTest.State.FINISHED:
            raise CommandError(test.problem or connection_test.WORKER_STOPPED, returncode=NOT_TESTED)
        if not test.healthy:
            raise CommandError(f"The connection of “{source}” failed its test.", returncode=FAILED)

    def _show_step(self, step: dict[str, Any]) -> None:
        code = f" [{step['code']}]" if step["code"] else ""
        self.stdout.write(f"{_MARKS[step['outcome']]}  {step['label']}{code}: {step['detail']}")
        if step["remedy"]:
            self.stdout.write(f"      What to do: {step['remedy']}")

    def _show_repair(self, repair: Repair) -> None:
        self.stdout.write(
            f"\nTo give the application what it lacks, an administrator of the HSM saves this as "
            f"{rights.ROLE_FILE}:\n\n{repair.role_json}\n\nand runs:\n"
        )
        lines = (repair.define_line, repair.object_id_line, repair.assign_line)
        self.stdout.write("\n".join(line for line in lines if line))


class _NoResult(Exception):
    """There is nothing to report; the text says why."""


def _find(friendly_name: str) -> CryptoSource:
    source = sources.find_by_name(friendly_name=friendly_name)
    if source is None:
        names = ", ".join(
            f"“{name}”" for name in CryptoSource.objects.values_list("friendly_name", flat=True)
        )
        raise CommandError(
            f"There is no crypto source “{friendly_name}”. There is: {names or 'none'}.",
            returncode=NOT_TESTED,
        )
    return source


def _request(source: CryptoSource, *, full_cycle: bool) -> ConnectionTest:
    try:
        return connection_test.request_test(
            source=source,
            actor=Actor.command("check_source"),
            now=timezone.now(),
            full_cycle=full_cycle,
        )
    except FeatureNotLicensed as refused:
        raise _NoResult(refused.reason) from refused
    except CycleRefused as refused:
        raise _NoResult(str(refused)) from refused


@dataclass
class _Follower:
    """Reads the test's row until the test is over, and tells of each new step once."""

    test: ConnectionTest
    worker_within: float

    def follow(self, show: Callable[[dict[str, Any]], None]) -> ConnectionTest:
        begin_by = time.monotonic() + self.worker_within
        end_by = begin_by + settings.CLAIM_SECONDS
        shown = 0
        while True:
            self.test.refresh_from_db()
            for step in self.test.steps[shown:]:
                show(step)
                end_by = time.monotonic() + settings.CLAIM_SECONDS
            shown = len(self.test.steps)
            if connection_test.is_over(test=self.test, now=timezone.now()):
                return self.test
            self._require_time(begin_by, end_by)
            time.sleep(PACE_SECONDS)

    def _require_time(self, begin_by: float, end_by: float) -> None:
        waiting = self.test.state == ConnectionTest.State.PENDING
        if waiting and time.monotonic() > begin_by:
            raise _NoResult(self.test.problem or connection_test.NO_WORKER)
        if time.monotonic() > end_by:
            raise _NoResult("The test did not come to its end in time.")


def _silent(step: dict[str, Any]) -> None:
    """The JSON document holds the steps."""


def _document(source: CryptoSource, test: ConnectionTest, report: RightsReport) -> dict[str, Any]:
    return {
        "source": source.friendly_name,
        "state": test.state,
        "healthy": test.healthy,
        "problem": test.problem,
        "steps": test.steps,
        "missing_rights": [row.action for row in report.missing],
    }
