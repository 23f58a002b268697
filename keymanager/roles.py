"""The four groups of people and what each may do.

``sync_roles`` runs after every migrate, so the groups always hold exactly these permissions.
"""

from typing import Any

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
    "administrator": ADMINISTRATOR,
    "auditor": READER,
    "ops": READER,
}


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
