"""A Managed HSM's own access control: which data action each operation needs, and who has it.

Data actions and built-in roles are those of the vendor's page *Managed HSM local RBAC built-in roles*,
compared with the role definitions that the service returns.
"""

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from cryptosources.providers.api import Right

PREFIX: Final = "Microsoft.KeyVault/managedHsm/"
DATA_ACTIONS: Final = {
    Right.CREATE: "keys/create",
    Right.READ: "keys/read/action",
    Right.SIGN: "keys/sign/action",
    Right.BACKUP: "keys/backup/action",
    Right.RESTORE: "keys/restore/action",
    Right.DELETE: "keys/delete",
    Right.PURGE: "keys/deletedKeys/delete",
    Right.READ_DELETED: "keys/deletedKeys/read/action",
    Right.RECOVER: "keys/deletedKeys/recover/action",
    Right.UPDATE: "keys/write/action",
}
LABELS: Final = {
    Right.CREATE: "create keys",
    Right.READ: "read keys",
    Right.SIGN: "sign",
    Right.BACKUP: "back up keys",
    Right.RESTORE: "restore keys",
    Right.DELETE: "delete keys",
    Right.PURGE: "purge deleted keys",
    Right.READ_DELETED: "read deleted keys",
    Right.RECOVER: "recover deleted keys",
    Right.UPDATE: "change validity and tags",
}
WHAT_FOR: Final = {
    Right.CREATE: "generating keys",
    Right.READ: "looking at keys, before and after every operation",
    Right.SIGN: "signing",
    Right.BACKUP: "taking a backup of every key",
    Right.RESTORE: "bringing a key back from its backup",
    Right.DELETE: "deleting keys",
    Right.PURGE: "removing deleted keys for good, which frees their names",
    Right.READ_DELETED: "looking at deleted keys",
    Right.RECOVER: "undoing a deletion",
    Right.UPDATE: "changing a key's validity dates and tags",
}
USER: Final = "Managed HSM Crypto User"
OFFICER: Final = "Managed HSM Crypto Officer"
OBJECT_ID_UNKNOWN: Final = "OBJECT-ID"
_ALL_KEYS: Final = frozenset({"/", "/keys"})
_READ_ROLES: Final = ("roleAssignments/read/action", "roleDefinitions/read/action")
_PLAIN: Final = re.compile(r"[\w@%+=:,./-]+")


def full_action(right: Right) -> str:
    """The data action as the vendor writes it in roles and in refusals."""
    return PREFIX + DATA_ACTIONS[right]


def granted_rights(
    principal: str, assignments: Iterable[Mapping[str, Any]], definitions: Iterable[Mapping[str, Any]]
) -> frozenset[Right]:
    """The rights that roles assigned to this very principal give on all keys.

    Groups of the directory are not looked into, nor roles on single keys: a right that is missing here
    may still be there. KeyError, TypeError or AttributeError when the lists have another form.
    """
    roles = {
        each["properties"]["roleDefinitionId"].lower().rpartition("/")[2]
        for each in assignments
        if each["properties"]["principalId"].lower() == principal.lower()
        and each["properties"]["scope"] in _ALL_KEYS
    }
    permissions = [
        permission
        for each in definitions
        if each["name"].lower() in roles
        for permission in each["properties"]["permissions"]
    ]
    return frozenset(right for right in Right if any(_allows(each, right) for each in permissions))


def how_to_grant(action: str, application_id: str) -> str:
    """The next thing to do about a missing data action."""
    role = built_in_role(action)
    officer = " (which may also assign roles, to itself as well)" if role == OFFICER else ""
    return (
        f"Give the application {application_id} the data action {action} on this HSM, by a custom role "
        f"with exactly the rights it needs or by the built-in role {role}{officer}. "
        "A role that was just assigned takes some minutes to arrive."
    )


def built_in_role(action: str) -> str:
    """The least of the built-in roles that holds a data action."""
    return OFFICER if "/deletedkeys/" in action.lower() else USER


# --- Repairing what is missing ------------------------------------------------------------------


def data_actions(rights: Iterable[Right]) -> tuple[str, ...]:
    """What a role for these rights allows: their data actions in a fixed order, and reading the roles."""
    wanted = set(rights)
    return (
        *(full_action(right) for right in Right if right in wanted),
        *(PREFIX + action for action in _READ_ROLES),
    )


def role_name(rights: Iterable[Right]) -> str:
    """A name that tells this set of rights from any other.

    ``az`` finds a role by its name and takes the first; a second role of an old name would never be the
    one that is assigned.
    """
    mark = hashlib.sha256("\n".join(data_actions(rights)).encode()).hexdigest()[:6]
    return f"Key Manager {mark}"


def role_definition(rights: Iterable[Right], *, name: str) -> dict[str, Any]:
    """A custom role with these rights and no more, as ``az keyvault role definition create`` reads it."""
    return {
        "roleName": name,
        "description": "What Key Manager does with its keys.",
        "actions": [],
        "notActions": [],
        "dataActions": list(data_actions(rights)),
        "notDataActions": [],
        "assignableScopes": ["/"],
    }


def define_command(*, hsm_name: str, file_name: str) -> str:
    """The line that makes the role from a saved file; an administrator of the HSM runs it."""
    words = ("az", "keyvault", "role", "definition", "create", "--hsm-name", hsm_name)
    return _quoted((*words, "--role-definition", f"@{file_name}"))


def assign_command(*, hsm_name: str, role: str, object_id: str) -> str:
    """The line that gives a role to a service principal, by its object id.

    Not by ``--assignee``: that takes every GUID for an object id, so a role would be assigned to the
    Application ID, under which nobody ever signs in. ``object_id`` is a UUID; empty: the line says
    ``OBJECT-ID`` there, to be replaced by what :func:`object_id_command` shows.
    """
    assigned = ("az", "keyvault", "role", "assignment", "create", "--hsm-name", hsm_name, "--role", role)
    return (
        f"{_quoted(assigned)} --assignee-object-id {object_id or OBJECT_ID_UNKNOWN} "
        "--assignee-principal-type ServicePrincipal --scope /"
    )


def object_id_or_nothing(told: object) -> str:
    """An object id in its usual form; empty for anything that is no UUID and has no place in a line."""
    try:
        return str(uuid.UUID(str(told)))
    except ValueError:
        return ""


def object_id_command(application_id: str) -> str:
    """The line that shows the object id of an application's service principal."""
    return _quoted(("az", "ad", "sp", "show", "--id", application_id, "--query", "id", "--output", "tsv"))


def _quoted(words: Iterable[str]) -> str:
    """For every shell: double quotes, which cmd.exe knows as well."""
    return " ".join(word if _PLAIN.fullmatch(word) else f'"{word}"' for word in words)


def _allows(permission: Mapping[str, Any], right: Right) -> bool:
    action = full_action(right).lower()

    def covers(patterns: Iterable[str] | None) -> bool:
        return any(fnmatchcase(action, pattern.lower()) for pattern in patterns or ())

    return covers(permission.get("dataActions")) and not covers(permission.get("notDataActions"))
