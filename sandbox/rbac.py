"""Local RBAC: who may do what on an HSM, and the operations on its roles."""

from collections.abc import Callable

from sandbox import errors, role_assignments, role_definitions, scopes
from sandbox.data_plane import Reply
from sandbox.directory import Directory
from sandbox.role_call import RoleCall
from sandbox.roles import data_action

__all__ = ["OPERATIONS", "AccessControl", "RoleCall"]


class AccessControl:
    """Decides by the role assignments of an HSM. What it read is remembered until ``forget``."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._memory: dict[tuple[str, str], list[tuple[str, frozenset[str]]]] = {}

    def forget(self) -> None:
        self._memory.clear()

    def check(self, hsm: str, principal_id: str, action: str, scope: str) -> None:
        """Raises HsmError 403, naming the missing action, unless a role grants it at ``scope`` or above."""
        wanted = data_action(action)
        granted = self._memory.get((hsm, principal_id))
        if granted is None:
            granted = self._memory[hsm, principal_id] = self._directory.permissions(hsm, principal_id)
        if not any(wanted in actions and scopes.covers(held, scope) for held, actions in granted):
            raise errors.access_denied(wanted, scope)


OPERATIONS: dict[str, Callable[[RoleCall], Reply]] = {
    "list roleAssignments": role_assignments.list_all,
    "read roleAssignments": role_assignments.read,
    "write roleAssignments": role_assignments.write,
    "delete roleAssignments": role_assignments.delete,
    "list roleDefinitions": role_definitions.list_all,
    "read roleDefinitions": role_definitions.read,
    "write roleDefinitions": role_definitions.write,
    "delete roleDefinitions": role_definitions.delete,
}
