"""Local RBAC on the wire: who may do what, and the role assignments and definitions that clients see."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sandbox import errors
from sandbox.data_plane import Reply
from sandbox.directory import Directory, RoleAssignment
from sandbox.roles import BUILT_IN, DEFINITION_PATH, RoleDefinition, data_action
from sandbox.routes import Route

Json = dict[str, object]
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PRINCIPAL_FILTER = re.compile(r"principalId eq '([^']*)'")


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
        if not any(wanted in actions and _covers(held, scope) for held, actions in granted):
            raise errors.access_denied(wanted, scope)


def _covers(held: str, scope: str) -> bool:
    """``/`` and ``/keys`` are the same: the whole HSM."""
    return held in {"/", "/keys"} or held.lower() == scope.lower()


@dataclass(frozen=True)
class RoleCall:
    """One authorised request on the roles of an HSM."""

    directory: Directory
    hsm: str
    route: Route
    query: dict[str, str]
    body: dict[str, Any]


def list_assignments(call: RoleCall) -> Reply:
    """Assignments at or below the scope, of one principal where the filter names one."""
    found = [item for item in call.directory.assignments(call.hsm) if _covers(call.route.scope, item.scope)]
    principal = _PRINCIPAL_FILTER.search(call.query.get("$filter", ""))
    shown = [item for item in found if principal is None or item.principal_id == principal[1]]
    return Reply({"value": [_assignment(item) for item in shown]})


def read_assignment(call: RoleCall) -> Reply:
    return Reply(_assignment(_find_assignment(call)))


def write_assignment(call: RoleCall) -> Reply:
    properties = _properties(call.body)
    definition, principal = properties.get("roleDefinitionId"), properties.get("principalId")
    if (
        not isinstance(definition, str)
        or not isinstance(principal, str)
        or not _GUID.fullmatch(call.route.name)
    ):
        raise errors.bad_parameter("Invalid role assignment")
    role = _find_role(call, definition.rpartition("/")[2])
    wanted = RoleAssignment(call.route.name, principal, role.name, call.route.scope)
    for item in call.directory.assignments(call.hsm):
        if item.name == wanted.name or replace(item, name=wanted.name) == wanted:
            raise errors.role_assignment_exists()
    made = call.directory.assign(call.hsm, principal, role.name, wanted.scope, wanted.name)
    return Reply(_assignment(made), 201)


def delete_assignment(call: RoleCall) -> Reply:
    found = _find_assignment(call)
    call.directory.unassign(call.hsm, found.name)
    return Reply(_assignment(found))


def list_definitions(call: RoleCall) -> Reply:
    return Reply({"value": [_definition(role) for role in call.directory.roles(call.hsm).values()]})


def read_definition(call: RoleCall) -> Reply:
    return Reply(_definition(_find_role(call, call.route.name)))


def write_definition(call: RoleCall) -> Reply:
    """Make or change a custom role."""
    properties = _properties(call.body)
    if call.route.name in BUILT_IN or not _GUID.fullmatch(call.route.name):
        raise errors.bad_parameter("Invalid role definition name")
    try:
        named = [action for item in properties["permissions"] for action in item.get("dataActions", [])]
    except (KeyError, TypeError, AttributeError) as err:
        raise errors.bad_parameter("Invalid role definition") from err
    role = RoleDefinition(
        call.route.name,
        str(properties.get("roleName") or call.route.name),
        frozenset(data_action(str(action)) for action in named),
        kind="CustomRole",
        description=str(properties.get("description") or ""),
    )
    call.directory.put_role(call.hsm, role)
    return Reply(_definition(role), 201)


def delete_definition(call: RoleCall) -> Reply:
    role = _find_role(call, call.route.name)
    if role.name in BUILT_IN:
        raise errors.bad_parameter("A built-in role cannot be deleted")
    if any(item.definition == role.name for item in call.directory.assignments(call.hsm)):
        raise errors.role_definition_in_use()
    call.directory.remove_role(call.hsm, role.name)
    return Reply(_definition(role))


OPERATIONS: dict[str, Callable[[RoleCall], Reply]] = {
    "list roleAssignments": list_assignments,
    "read roleAssignments": read_assignment,
    "write roleAssignments": write_assignment,
    "delete roleAssignments": delete_assignment,
    "list roleDefinitions": list_definitions,
    "read roleDefinitions": read_definition,
    "write roleDefinitions": write_definition,
    "delete roleDefinitions": delete_definition,
}


def _find_assignment(call: RoleCall) -> RoleAssignment:
    for item in call.directory.assignments(call.hsm):
        if item.name == call.route.name:
            return item
    raise errors.role_object_not_found("assignment", call.route.name)


def _find_role(call: RoleCall, name: str) -> RoleDefinition:
    found = call.directory.roles(call.hsm).get(name)
    if found is None:
        raise errors.role_object_not_found("definition", name)
    return found


def _properties(body: dict[str, Any]) -> dict[str, Any]:
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise errors.bad_parameter("Property properties has invalid value")
    return properties


def _assignment(item: RoleAssignment) -> Json:
    return {
        "id": f"/providers/Microsoft.Authorization/roleAssignments/{item.name}",
        "name": item.name,
        "properties": {
            "principalId": item.principal_id,
            "roleDefinitionId": f"{DEFINITION_PATH}/{item.definition}",
            "scope": item.scope,
        },
        "type": "Microsoft.Authorization/roleAssignments",
    }


def _definition(role: RoleDefinition) -> Json:
    permission = {"actions": [], "dataActions": sorted(role.actions), "notActions": [], "notDataActions": []}
    return {
        "id": role.resource_id,
        "name": role.name,
        "properties": {
            "assignableScopes": ["/"],
            "description": role.description,
            "permissions": [permission],
            "roleName": role.role_name,
            "type": role.kind,
        },
        "type": "Microsoft.Authorization/roleDefinitions",
    }
