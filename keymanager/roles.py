"""The four groups of people and what each may do, as permissions and in words.

``sync_roles`` runs after every migrate, so the groups always hold exactly these permissions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

#: The role that manages people; one active person at least always has it.
ADMINISTRATOR_ROLE: Final = "administrator"

OPERATOR = frozenset(
    {
        "cryptosources.view_cryptosource",
        "cryptosources.add_cryptosource",
        "cryptosources.change_cryptosource",
        "cryptosources.delete_cryptosource",
        "cryptosources.test_cryptosource",
        "keys.view_managedkey",
        "keys.operate_managedkey",
        "keys.view_keyoperation",
        "licensing.view_licence",
    }
)
READER = frozenset(
    {
        "cryptosources.view_cryptosource",
        "keys.view_managedkey",
        "keys.view_keyoperation",
        "licensing.view_licence",
        "audit.view_auditrecord",
    }
)
ADMINISTRATOR = (
    OPERATOR
    | READER
    | {
        "cryptosources.toggle_cryptosource",
        "licensing.add_licence",
        "auth.view_user",
        "auth.add_user",
        "auth.change_user",
    }
)

ROLES: dict[str, frozenset[str]] = {
    "operator": OPERATOR,
    ADMINISTRATOR_ROLE: ADMINISTRATOR,
    "auditor": READER,
    "ops": READER,
}
PURPOSES: Final = {
    "operator": "Creates and edits crypto sources, tests connections, generates keys and works with them.",
    ADMINISTRATOR_ROLE: "All that operators and auditors may. Alone activates and deactivates crypto "
    "sources, installs the licence and manages people.",
    "auditor": "Reads everything, the audit record included. Changes nothing.",
    "ops": "On duty: sees what expires, what failed and what to do. Changes nothing.",
}
#: What each permission lets a person do, in the order of the console's rooms.
RIGHTS: Final = {
    "cryptosources.view_cryptosource": "See crypto sources",
    "cryptosources.add_cryptosource": "Create crypto sources",
    "cryptosources.change_cryptosource": "Edit crypto sources, their Key included",
    "cryptosources.delete_cryptosource": "Delete crypto sources without keys",
    "cryptosources.test_cryptosource": "Test connections",
    "cryptosources.toggle_cryptosource": "Activate and deactivate crypto sources",
    "keys.view_managedkey": "See keys",
    "keys.operate_managedkey": "Generate, sign, back up, rotate, change validity and tags, delete, "
    "recover, purge and restore keys",
    "keys.view_keyoperation": "See operations",
    "audit.view_auditrecord": "Search and export the audit record",
    "licensing.view_licence": "See the licence",
    "licensing.add_licence": "Install a licence",
    "auth.view_user": "See people",
    "auth.add_user": "Add people",
    "auth.change_user": "Change people: their roles, passwords, whether they may sign in",
}


@dataclass(frozen=True, slots=True)
class Right:
    """One line of the table of rights: what may be done, and for each role in turn whether it may."""

    words: str
    held: tuple[bool, ...]


def rights_by_role() -> Iterator[Right]:
    """The table of rights, its columns in the order of ``ROLES``."""
    for code, words in RIGHTS.items():
        yield Right(words, tuple(code in codes for codes in ROLES.values()))


def sync_roles(**_: Any) -> None:
    """Make the four groups hold exactly the permissions above (idempotent)."""
    from django.contrib.auth.models import Group, Permission

    for name, codes in ROLES.items():
        group, _created = Group.objects.get_or_create(name=name)
        wanted = [
            permission
            for permission in Permission.objects.select_related("content_type")
            if f"{permission.content_type.app_label}.{permission.codename}" in codes
        ]
        group.permissions.set(wanted)
