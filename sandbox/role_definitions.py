"""Role definitions as clients see them, and custom ones as clients make, change and remove them."""

from typing import Any

from sandbox import errors, scopes
from sandbox.data_plane import Reply
from sandbox.role_call import RoleCall
from sandbox.roles import BUILT_IN, CUSTOM, RoleDefinition, known_data_action

Json = dict[str, object]
MAX_CUSTOM = 50
_SCOPE_FILTERS = frozenset(("", "atScope()", "atScopeAndBelow()"))


def list_all(call: RoleCall) -> Reply:
    """Every role: all are defined for the whole HSM, wherever it is asked. Raises HsmError 400."""
    scopes.check(call.route.scope)
    if call.filter not in _SCOPE_FILTERS:
        raise errors.bad_parameter(f"Invalid filter: {call.filter}")
    return Reply({"value": [_show(role) for role in call.directory.roles(call.hsm).values()]})


def read(call: RoleCall) -> Reply:
    return Reply(_show(call.role(call.name)))


def write(call: RoleCall) -> Reply:
    """Make a custom role or change it whole; who holds it has its rights at once. Raises HsmError."""
    if call.route.scope != "/":
        raise errors.bad_role("a role is defined at the scope /")
    role = _parse(call.name, call.properties)
    if role.name in BUILT_IN:
        raise errors.bad_role("a built-in role cannot be changed")
    custom = {item.name for item in call.directory.custom_roles(call.hsm)}
    if role.name not in custom and len(custom) >= MAX_CUSTOM:
        raise errors.too_many("custom roles", MAX_CUSTOM)
    call.directory.put_role(call.hsm, role)
    return Reply(_show(role), 201)


def delete(call: RoleCall) -> Reply:
    """Remove a custom role. Its assignments stay and grant nothing, as documented."""
    role = call.role(call.name)
    if role.name in BUILT_IN:
        raise errors.bad_role("a built-in role cannot be deleted")
    call.directory.remove_role(call.hsm, role.name)
    return Reply(_show(role))


def _parse(name: str, properties: dict[str, Any]) -> RoleDefinition:
    if properties.get("type") not in {None, "", CUSTOM}:
        raise errors.bad_role(f"type must be {CUSTOM}")
    if any(scope != "/" for scope in _strings(properties, "assignableScopes")):
        raise errors.bad_role("assignableScopes can be / only")
    permissions = properties.get("permissions") or []
    if not isinstance(permissions, list) or not all(isinstance(item, dict) for item in permissions):
        raise errors.bad_role("permissions has invalid value")
    if len(permissions) > 1:
        raise errors.bad_role("more than one permission")
    permission = permissions[0] if permissions else {}
    if _strings(permission, "actions") or _strings(permission, "notActions"):
        raise errors.bad_role("a role holds data actions only")
    return RoleDefinition(
        name,
        str(properties.get("roleName") or ""),
        _data_actions(permission, "dataActions"),
        CUSTOM,
        str(properties.get("description") or ""),
        _data_actions(permission, "notDataActions"),
    )


def _data_actions(permission: dict[str, Any], member: str) -> frozenset[str]:
    return frozenset(map(_data_action, _strings(permission, member)))


def _data_action(name: str) -> str:
    found = known_data_action(name)
    if found is None:
        raise errors.bad_role(f"unknown data action {name}")
    return found


def _strings(values: dict[str, Any], member: str) -> list[str]:
    value = values.get(member) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise errors.bad_role(f"{member} has invalid value")
    return value


def _show(role: RoleDefinition) -> Json:
    permission = {
        "actions": [],
        "dataActions": sorted(role.actions),
        "notActions": [],
        "notDataActions": sorted(role.excluded),
    }
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
