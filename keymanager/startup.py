"""Refusing to start with settings that the system checks find wrong.

Django's commands run the checks by themselves; a WSGI server and Celery do not, so their doors call this.
"""

import sys

from django.core.checks import run_checks


def refuse_unfit_settings() -> None:
    """End the process, naming every serious finding, unless there is none."""
    serious = [message for message in run_checks() if message.is_serious() and not message.is_silenced()]
    if serious:
        findings = "\n".join(str(message) for message in serious)
        # SystemExit, because Celery's signals swallow every Exception.
        sys.exit(f"Key Manager does not start with these settings:\n{findings}")
