"""What an administrator of the tenant and of the HSMs can do, as plain functions over the directory.

They work on a live sandbox's data from any process: what they commit holds from the next request on.
"""

import uuid
from datetime import datetime

from sandbox import roles
from sandbox.directory import App, ClientSecret, Directory
from sandbox.estate import SECRET_LIFETIME
from sandbox.graph_rights import PERMISSIONS, WRITE_OWNED

_OWN_ROLES = uuid.UUID("6a1c2f60-3f5a-4f0e-9a55-0d3d2d6f1b7e")


def register_app(
    directory: Directory, hsms: list[str], display_name: str, grants: list[str], now: datetime
) -> tuple[App, ClientSecret]:
    """A new application with a secret good for two years and the given roles or data actions on each HSM."""
    app = directory.add_app(display_name)
    secret = directory.add_secret(app.application_id, now, now + SECRET_LIFETIME)
    for hsm in hsms:
        for what in grants:
            grant(directory, hsm, app.object_id, what)
    return app, secret


def grant(directory: Directory, hsm: str, principal_id: str, what: str) -> None:
    """Give a built-in role, by title or GUID, or a single data action (``keys/sign/action``) on a whole HSM.

    Single actions gather in a custom role of the principal's own, so that who lists roles sees the truth.
    Permissions of the directory (``Application.Read.All``) belong to no HSM; who may write what it owns
    comes to own itself. Raises ValueError for a name that is none of these.
    """
    if what in PERMISSIONS:
        directory.graph_rights.grant(principal_id, what)
        if what == WRITE_OWNED:
            _own_itself(directory, principal_id)
        return
    role = roles.built_in(what)
    if role is None:
        _check_action(what)
        _set_own_actions(
            directory,
            hsm,
            principal_id,
            _own_actions(directory, hsm, principal_id) | {roles.data_action(what)},
        )
    elif not _assigned(directory, hsm, principal_id, role.name):
        directory.assign(hsm, principal_id, role.name)


def revoke(directory: Directory, hsm: str, principal_id: str, what: str) -> None:
    """Take a role or a single data action away.

    Taking an action turns all the principal's roles into one of its own with what is left; roles on single
    keys go with it.
    """
    if what in PERMISSIONS:
        directory.graph_rights.revoke(principal_id, what)
        return
    role = roles.built_in(what)
    if role is not None:
        _unassign(directory, hsm, principal_id, role.name)
        return
    held = [actions for scope, actions in directory.permissions(hsm, principal_id) if scope in {"/", "/keys"}]
    left = frozenset().union(*held) - {roles.data_action(what)}
    _unassign(directory, hsm, principal_id, None)
    _set_own_actions(directory, hsm, principal_id, left)


def _own_itself(directory: Directory, principal_id: str) -> None:
    for app in directory.apps():
        if app.object_id == principal_id:
            directory.graph_rights.add_owner(app.application_id, principal_id)


def _check_action(what: str) -> None:
    if roles.known_data_action(roles.data_action(what)) is None:
        raise ValueError(f"{what} is neither a role, nor a data action, nor a permission of the directory")


def _own_role(principal_id: str) -> str:
    return str(uuid.uuid5(_OWN_ROLES, principal_id))


def _own_actions(directory: Directory, hsm: str, principal_id: str) -> frozenset[str]:
    if not _assigned(directory, hsm, principal_id, _own_role(principal_id)):
        return frozenset()
    return directory.roles(hsm)[_own_role(principal_id)].actions


def _set_own_actions(directory: Directory, hsm: str, principal_id: str, actions: frozenset[str]) -> None:
    name = _own_role(principal_id)
    directory.put_role(
        hsm, roles.RoleDefinition(name, f"Rights of {principal_id}", actions, kind="CustomRole")
    )
    if not _assigned(directory, hsm, principal_id, name):
        directory.assign(hsm, principal_id, name)


def _assigned(directory: Directory, hsm: str, principal_id: str, definition: str) -> bool:
    return any(
        (item.principal_id, item.definition, item.scope) == (principal_id, definition, "/")
        for item in directory.assignments(hsm)
    )


def _unassign(directory: Directory, hsm: str, principal_id: str, definition: str | None) -> None:
    for item in directory.assignments(hsm):
        if item.principal_id == principal_id and definition in {None, item.definition}:
            directory.unassign(hsm, item.name)
