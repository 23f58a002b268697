"""Role assignments as clients see, make and remove them."""

import re

from sandbox import errors, scopes
from sandbox.data_plane import Reply
from sandbox.directory import RoleAssignment
from sandbox.role_call import RoleCall, guid
from sandbox.roles import DEFINITION_PATH

Json = dict[str, object]
MAX_AT_HSM, MAX_AT_KEY = 50, 10
_PRINCIPAL = re.compile(r"principalId eq '?([0-9a-fA-F-]+)'?")


def list_all(call: RoleCall) -> Reply:
    """Assignments at the scope; with ``atScope()`` those above too, of one principal also those below.

    So the list for the whole HSM leaves out those on single keys, as documented. Raises HsmError 400 for
    another filter.
    """
    scopes.check(call.route.scope)
    found = call.directory.assignments(call.hsm)
    return Reply({"value": [_show(item) for item in found if _is_asked_for(call, item)]})


def _is_asked_for(call: RoleCall, item: RoleAssignment) -> bool:
    scope, principal = call.route.scope, _PRINCIPAL.fullmatch(call.filter)
    if principal is not None:
        related = scopes.covers(item.scope, scope) or scopes.covers(scope, item.scope)
        return related and item.principal_id == principal[1].lower()
    if call.filter == "atScope()":
        return scopes.covers(item.scope, scope)
    if call.filter:
        raise errors.bad_parameter(f"Invalid filter: {call.filter}")
    return scopes.is_same(item.scope, scope)


def read(call: RoleCall) -> Reply:
    return Reply(_show(_find(call)))


def write(call: RoleCall) -> Reply:
    """Assign a role. Raises HsmError 400, 404 for an unknown role, 409 for what exists."""
    scope, name = call.route.scope, call.name
    scopes.check(scope)
    principal = guid(call.properties.get("principalId"), "principalId")
    role = call.role(guid(_last_part(call.properties.get("roleDefinitionId")), "roleDefinitionId"))
    existing = call.directory.assignments(call.hsm)
    wanted = RoleAssignment(name, principal, role.name, scope)
    if any(item.name == name or _means_the_same(item, wanted) for item in existing):
        raise errors.role_assignment_exists()
    _check_room(existing, scope)
    call.directory.assign(call.hsm, principal, role.name, scope, name)
    return Reply(_show(wanted), 201)


def delete(call: RoleCall) -> Reply:
    found = _find(call)
    call.directory.unassign(call.hsm, found.name)
    return Reply(_show(found))


def _find(call: RoleCall) -> RoleAssignment:
    """The assignment named, at the scope where the right to touch it was checked. Raises HsmError 404."""
    for item in call.directory.assignments(call.hsm):
        if item.name == call.name and scopes.is_same(item.scope, call.route.scope):
            return item
    raise errors.role_object_not_found("assignment", call.name)


def _means_the_same(item: RoleAssignment, wanted: RoleAssignment) -> bool:
    same = (item.principal_id, item.definition) == (wanted.principal_id, wanted.definition)
    return same and item.scope == wanted.scope


def _check_room(existing: list[RoleAssignment], scope: str) -> None:
    """Raises HsmError where the HSM, or the key, has as many assignments as it can have."""
    limit = MAX_AT_HSM if scope in scopes.WHOLE else MAX_AT_KEY
    if sum(scopes.is_same(item.scope, scope) for item in existing) >= limit:
        raise errors.too_many(f"role assignments at {scope}", limit)


def _last_part(value: object) -> object:
    return value.rpartition("/")[2] if isinstance(value, str) else value


def _show(item: RoleAssignment) -> Json:
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
