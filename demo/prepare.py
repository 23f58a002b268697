"""Make an installation ready to start: ``python -m demo.prepare --home DIR``. May be run again and again.

One process with Django does it all (each ``manage.py`` call would cost a second): sealing keys marked as
the demo's, the database's tables, a licence with an issuer of its own, an account for each role.
Prints one JSON object: the passwords of the accounts it made, by user name.
"""

import argparse
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

ROLES = ("operator", "administrator", "auditor", "ops")
LICENCE_DAYS = 365
#: The accounts of the walk itself, and what the list of people calls them.
WALK_ACCOUNTS = ("walk-operator", "walk-administrator")
WALK_NAME = "Demo walk"


def passwords(output: str) -> dict[str, str]:
    """The passwords out of what this program printed."""
    found: dict[str, str] = json.loads(output.splitlines()[-1])["passwords"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--renew", nargs="*", default=[], help="accounts that get a new password")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keymanager.settings")
    import django

    (options.home / "data" / "static").mkdir(parents=True, exist_ok=True)
    django.setup()
    made = prepare(options.home, renew=options.renew)
    sys.stdout.write(json.dumps({"passwords": made}) + "\n")


def prepare(home: Path, *, renew: list[str]) -> dict[str, str]:
    """Keys, tables, licence, accounts; returns the passwords of new and renewed accounts."""
    sealing_keys(home / "sealing-keys")
    call("migrate", interactive=False)
    licence(home / "licence")
    return accounts(renew=renew)


def call(command: str, *words: str, **options: Any) -> None:
    """Run a management command; what it says goes to standard error."""
    from django.core.management import call_command

    call_command(command, *words, stdout=sys.stderr, verbosity=0, **options)


def sealing_keys(folder: Path) -> None:
    if not (folder / "public.json").exists():
        call("make_sealing_keys", "--out", str(folder), "--demo")


def licence(folder: Path) -> None:
    if (folder / "licence.jws").exists():
        return
    call("make_licence", "--out", str(folder))
    call("install_licence", str(folder / "licence.jws"))


def accounts(*, renew: list[str]) -> dict[str, str]:
    """One account a role, named like it; the names in ``renew`` (ROLE or PREFIX-ROLE) get a new password."""
    made = {}
    for name in dict.fromkeys([*ROLES, *renew]):
        if password := account(name, renew=name in renew):
            made[name] = password
    return made


def account(name: str, *, renew: bool) -> str:
    """Make the account unless it is there; its new password, empty when it keeps the old one."""
    from django.contrib.auth.models import Group, User

    user, created = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    if not (created or renew):
        return ""
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    if name in WALK_ACCOUNTS:
        user.first_name = WALK_NAME
    user.save()
    user.groups.set(Group.objects.filter(name=name.rpartition("-")[2]))
    return password


if __name__ == "__main__":
    main()
