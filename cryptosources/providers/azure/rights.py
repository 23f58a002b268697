"""A Managed HSM's own access control: which data action each operation needs, and who has it.

Data actions and built-in roles are those of the vendor's page *Managed HSM local RBAC built-in roles*,
compared with the role definitions that the service returns.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from cryptosources.providers.api import Right

_PREFIX: Final = "Microsoft.KeyVault/managedHsm/"
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
    Right.ROTATE: "keys/rotate/action",
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
    Right.ROTATE: "rotate keys",
    Right.UPDATE: "change validity and tags",
}
_ALL_KEYS: Final = frozenset({"/", "/keys"})


def full_action(right: Right) -> str:
    """The data action as the vendor writes it in roles and in refusals."""
    return _PREFIX + DATA_ACTIONS[right]


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


def how_to_grant(action: str, hsm_name: str, application_id: str) -> str:
    """The next thing to do about a missing data action."""
    officer = "/deletedkeys/" in action.lower()
    role = "Managed HSM Crypto Officer" if officer else "Managed HSM Crypto User"
    command = (
        f'az keyvault role assignment create --hsm-name {hsm_name} --role "{role}" '
        f"--assignee {application_id} --scope /"
    )
    advice = (
        " A Crypto Officer may also assign roles; a custom role with this data action is the safer choice."
        if officer
        else ""
    )
    return f"Give the application the data action {action}, for example: {command}.{advice}"


def _allows(permission: Mapping[str, Any], right: Right) -> bool:
    action = full_action(right).lower()

    def covers(patterns: Iterable[str] | None) -> bool:
        return any(fnmatchcase(action, pattern.lower()) for pattern in patterns or ())

    return covers(permission.get("dataActions")) and not covers(permission.get("notDataActions"))
