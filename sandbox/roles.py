"""Local RBAC: the built-in roles with their data actions, as the service lists them (api-version 7.4)."""

from dataclasses import dataclass

PREFIX = "Microsoft.KeyVault/managedHsm"
CUSTOM = "CustomRole"
DEFINITION_PATH = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions"


def data_action(short: str) -> str:
    """``keys/sign/action`` or ``/keys/sign/action`` as its full name; a full name is left alone."""
    return short if short.startswith(PREFIX) else f"{PREFIX}/{short.strip('/')}"


@dataclass(frozen=True)
class RoleDefinition:
    """A role by its GUID ``name``. ``actions`` less ``excluded`` are the full names of what it grants."""

    name: str
    role_name: str
    actions: frozenset[str]
    kind: str = "AKVBuiltInRole"
    description: str = ""
    excluded: frozenset[str] = frozenset()

    @property
    def granted(self) -> frozenset[str]:
        return self.actions - self.excluded

    @property
    def resource_id(self) -> str:
        return f"{DEFINITION_PATH}/{self.name}"


def _role(name: str, role_name: str, *actions: str) -> RoleDefinition:
    return RoleDefinition(name, role_name, frozenset(data_action(action) for action in actions))


_READ_ROLES = ("roleAssignments/read/action", "roleDefinitions/read/action")
_MANAGE_ROLES = (
    *_READ_ROLES,
    "roleAssignments/write/action",
    "roleAssignments/delete/action",
    "roleDefinitions/write/action",
    "roleDefinitions/delete/action",
)

ADMINISTRATOR = _role(
    "a290e904-7015-4bba-90c8-60543313cdb4",
    "Managed HSM Administrator",
    *_MANAGE_ROLES,
    "securitydomain/download/action",
    "securitydomain/download/read",
    "securitydomain/upload/action",
    "securitydomain/upload/read",
    "securitydomain/transferkey/read",
    "backup/start/action",
    "backup/status/action",
    "restore/start/action",
    "restore/status/action",
    "settings/read/action",
    "settings/write/action",
)
CRYPTO_OFFICER = _role(
    "515eb02d-2335-4d2d-92f2-b1cbdf9c3778",
    "Managed HSM Crypto Officer",
    *_MANAGE_ROLES,
    "keys/deletedKeys/read/action",
    "keys/deletedKeys/delete",
    "keys/deletedKeys/recover/action",
    "keys/export/action",
)
CRYPTO_USER = _role(
    "21dbd100-6940-42c2-9190-5d6cb909625b",
    "Managed HSM Crypto User",
    *_READ_ROLES,
    "keys/read/action",
    "keys/write/action",
    "keys/delete",
    "keys/create",
    "keys/rotate/action",
    "keys/import/action",
    "keys/release/action",
    "keys/backup/action",
    "keys/restore/action",
    "keys/encrypt/action",
    "keys/decrypt/action",
    "keys/wrap/action",
    "keys/unwrap/action",
    "keys/sign/action",
    "keys/verify/action",
    "keys/derive/action",
    "rng/action",
)
POLICY_ADMINISTRATOR = _role(
    "4bd23610-cdcf-4971-bdee-bdc562cc28e4", "Managed HSM Policy Administrator", *_MANAGE_ROLES
)
CRYPTO_AUDITOR = _role(
    "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3",
    "Managed HSM Crypto Auditor",
    *_READ_ROLES,
    "keys/read/action",
    "keys/deletedKeys/read/action",
)
ENCRYPTION_USER = _role(
    "33413926-3206-4cdd-b39a-83574fe37a17",
    "Managed HSM Crypto Service Encryption User",
    "keys/read/action",
    "keys/wrap/action",
    "keys/unwrap/action",
)
RELEASE_USER = _role(
    "21dbd100-6940-42c2-9190-5d6cb909625c", "Managed HSM Crypto Service Release User", "keys/release/action"
)
BACKUP_USER = _role(
    "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8",
    "Managed HSM Backup User",
    "backup/start/action",
    "backup/status/action",
    "keys/backup/action",
)
RESTORE_USER = _role(
    "6efe6056-5259-49d2-8b3d-d3d73544b20b",
    "Managed HSM Restore User",
    "restore/start/action",
    "restore/status/action",
    "keys/restore/action",
)

BUILT_IN = {
    role.name: role
    for role in (
        BACKUP_USER,
        RESTORE_USER,
        ENCRYPTION_USER,
        RELEASE_USER,
        CRYPTO_AUDITOR,
        POLICY_ADMINISTRATOR,
        CRYPTO_USER,
        CRYPTO_OFFICER,
        ADMINISTRATOR,
    )
}


DATA_ACTIONS = frozenset().union(*(role.actions for role in BUILT_IN.values()))
_BY_LOWER_CASE = {action.lower(): action for action in DATA_ACTIONS}


def known_data_action(name: str) -> str | None:
    """The data action of this full name in whatever case; None for an unknown one."""
    return _BY_LOWER_CASE.get(name.lower())


def built_in(name: str) -> RoleDefinition | None:
    """The built-in role called ``name``: its GUID, or its title with or without the words *Managed HSM*."""
    titles = {name.casefold(), f"managed hsm {name}".casefold()}
    for role in BUILT_IN.values():
        if role.name == name or role.role_name.casefold() in titles:
            return role
    return None
