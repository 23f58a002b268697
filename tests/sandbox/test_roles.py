"""Roles as resources: definitions and assignments, on the wire and with Azure's own client."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.administration import (
    KeyVaultAccessControlClient,
    KeyVaultDataAction,
    KeyVaultPermission,
    KeyVaultRoleScope,
)

from sandbox.database import Database
from sandbox.directory import Directory
from sandbox.role_assignments import MAX_AT_HSM, MAX_AT_KEY
from sandbox.role_definitions import MAX_CUSTOM
from sandbox.roles import BUILT_IN, CRYPTO_OFFICER, CRYPTO_USER, DATA_ACTIONS, PREFIX
from tests.sandbox import sdk
from tests.sandbox.wire import Wire
from tests.sandbox_server import RegisteredApp, SandboxServer

PROVIDER = "providers/Microsoft.Authorization"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """One of its own: the number of roles and of assignments is limited."""
    with SandboxServer() as running:
        yield running


@pytest.fixture(scope="module")
def wire(server: SandboxServer) -> Wire:
    return Wire(server)


@pytest.fixture(scope="module")
def roles(server: SandboxServer) -> Iterator[KeyVaultAccessControlClient]:
    with sdk.access_client(server) as client:
        yield client


@pytest.fixture
def app(server: SandboxServer) -> RegisteredApp:
    """Somebody without any right."""
    return server.add_app(grants=[])


def client_of(server: SandboxServer, app: RegisteredApp) -> Wire:
    return Wire(server, application_id=app.application_id, secret=app.secret.value)


def definition(*actions: str, **more: Any) -> dict[str, Any]:
    permission = {"dataActions": [f"{PREFIX}/{action}" for action in actions]}
    return {"properties": {"roleName": "Test", "permissions": [permission], **more}}


def assignment(role_id: str, principal: str) -> dict[str, Any]:
    return {"properties": {"roleDefinitionId": role_id, "principalId": principal}}


def path(kind: str, name: str = "", scope: str = "") -> str:
    return f"{scope}/{PROVIDER}/{kind}/{name or uuid.uuid4()}"


# -- definitions --


def test_the_sdk_knows_the_same_data_actions() -> None:
    assert {item.value for item in KeyVaultDataAction} <= DATA_ACTIONS


def test_custom_role_with_the_sdk(
    server: SandboxServer, roles: KeyVaultAccessControlClient, app: RegisteredApp, name: str
) -> None:
    making = [KeyVaultDataAction.CREATE_HSM_KEY, KeyVaultDataAction.READ_HSM_KEY]
    permission = KeyVaultPermission(data_actions=making)
    made = roles.set_role_definition(
        KeyVaultRoleScope.GLOBAL, role_name="Maker", description="makes keys", permissions=[permission]
    )
    assert (made.role_name, made.role_type, made.assignable_scopes) == ("Maker", "CustomRole", ["/"])
    given = roles.create_role_assignment(KeyVaultRoleScope.GLOBAL, str(made.id), app.object_id)
    client = client_of(server, app)
    client.create(name)
    assert client.call("DELETE", f"/keys/{name}").status == 403

    without = KeyVaultPermission(
        data_actions=[*making, KeyVaultDataAction.DELETE_HSM_KEY],
        not_data_actions=[KeyVaultDataAction.CREATE_HSM_KEY],
    )
    changed = roles.set_role_definition(
        KeyVaultRoleScope.GLOBAL, name=made.name, role_name="Remover", permissions=[without]
    )
    assert (changed.id, changed.role_name, changed.description) == (made.id, "Remover", "")
    assert changed.permissions is not None
    assert changed.permissions[0].not_data_actions == [KeyVaultDataAction.CREATE_HSM_KEY.value]
    fetched = roles.get_role_definition(KeyVaultRoleScope.GLOBAL, str(made.name))
    assert fetched.role_name == "Remover"
    assert client.call("POST", f"/keys/{name}/create", {"kty": "EC"}).status == 403, "in force at once"
    client.delete(name)

    listed = {item.name for item in roles.list_role_definitions(KeyVaultRoleScope.KEYS)}
    assert listed > set(BUILT_IN)
    assert made.name in listed
    roles.delete_role_definition(KeyVaultRoleScope.GLOBAL, str(made.name))
    with pytest.raises(ResourceNotFoundError):
        roles.get_role_definition(KeyVaultRoleScope.GLOBAL, str(made.name))
    left = roles.get_role_assignment(KeyVaultRoleScope.GLOBAL, str(given.name))
    assert left.properties is not None
    assert left.properties.role_definition_id == made.id
    assert client.call("GET", f"/deletedkeys/{name}").status == 403, "what is left grants nothing"
    roles.delete_role_assignment(KeyVaultRoleScope.GLOBAL, str(given.name))


def test_custom_role_on_the_wire(wire: Wire) -> None:
    where = path("roleDefinitions")
    made = wire.call("PUT", where, definition("keys/read/action", type="CustomRole"))
    assert made.status == 201
    name = where.rpartition("/")[2]
    permission = {
        "actions": [],
        "dataActions": [f"{PREFIX}/keys/read/action"],
        "notActions": [],
        "notDataActions": [],
    }
    assert made.body == {
        "id": f"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{name}",
        "name": name,
        "properties": {
            "assignableScopes": ["/"],
            "description": "",
            "permissions": [permission],
            "roleName": "Test",
            "type": "CustomRole",
        },
        "type": "Microsoft.Authorization/roleDefinitions",
    }
    assert wire.ok("GET", where) == made.body
    assert wire.ok("DELETE", where) == made.body
    assert wire.call("GET", where).status == 404
    assert wire.call("DELETE", where).status == 404


def test_data_actions_are_known_in_any_case(wire: Wire) -> None:
    where = path("roleDefinitions")
    asked = {"permissions": [{"dataActions": ["Microsoft.KeyVault/managedHSM/keys/sign/action"]}]}
    made = wire.ok("PUT", where, {"properties": asked})
    assert made["properties"]["permissions"][0]["dataActions"] == [f"{PREFIX}/keys/sign/action"]
    wire.ok("DELETE", where)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("not-a-guid", definition("keys/read/action")),
        ("", {}),
        ("", definition("keys/fly/action")),
        ("", definition("keys/read/action", type="AKVBuiltInRole")),
        ("", definition("keys/read/action", assignableScopes=["/keys/a"])),
        ("", {"properties": {"permissions": [{}, {}]}}),
        ("", {"properties": {"permissions": {"dataActions": []}}}),
        ("", {"properties": {"permissions": [{"dataActions": "x"}]}}),
        ("", {"properties": {"permissions": [{"dataActions": [7]}]}}),
        ("", {"properties": {"permissions": [{"notDataActions": [f"{PREFIX}/keys/*"]}]}}),
        ("", {"properties": {"permissions": [{"actions": ["*"]}]}}),
    ],
)
def test_refused_definitions(wire: Wire, name: str, body: Any) -> None:
    assert wire.call("PUT", path("roleDefinitions", name), body).error == (400, "BadParameter")


def test_roles_are_defined_for_the_whole_hsm(wire: Wire) -> None:
    refused = wire.call("PUT", path("roleDefinitions", scope="/keys"), definition("keys/read/action"))
    assert refused.error == (400, "BadParameter")


def test_built_in_roles_cannot_be_changed(wire: Wire) -> None:
    listed = {item["name"]: item for item in wire.ok("GET", f"/{PROVIDER}/roleDefinitions")["value"]}
    for role in BUILT_IN.values():
        shown = listed[role.name]["properties"]
        assert (shown["type"], shown["roleName"]) == ("AKVBuiltInRole", role.role_name)
        where = path("roleDefinitions", role.name)
        assert wire.ok("GET", where) == listed[role.name]
        assert wire.call("PUT", where, definition("keys/read/action")).error == (400, "BadParameter")
        assert wire.call("DELETE", where).error == (400, "BadParameter")
        assert wire.ok("GET", where) == listed[role.name]


def test_fifty_custom_roles(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    made = [path("roleDefinitions") for _ in range(MAX_CUSTOM)]
    for where in made:
        wire.ok("PUT", where, definition("keys/read/action"))
    one_more = path("roleDefinitions")
    assert wire.call("PUT", one_more, definition("keys/read/action")).error == (403, "Forbidden")
    wire.ok("PUT", made[0], definition("keys/create"))
    wire.ok("DELETE", made[0])
    wire.ok("PUT", one_more, definition("keys/read/action"))


# -- assignments --


def test_assignments_with_the_sdk(
    server: SandboxServer, roles: KeyVaultAccessControlClient, app: RegisteredApp
) -> None:
    client = client_of(server, app)
    role = CRYPTO_USER.resource_id
    made = roles.create_role_assignment(KeyVaultRoleScope.KEYS, role, app.object_id)
    assert made.properties is not None
    assert (made.properties.principal_id, made.properties.scope) == (app.object_id, "/keys")
    assert client.call("GET", "/keys").status == 200
    with pytest.raises(ResourceExistsError):
        roles.create_role_assignment(KeyVaultRoleScope.KEYS, role, app.object_id)
    unknown = f"Microsoft.KeyVault/{PROVIDER}/roleDefinitions/{uuid.uuid4()}"
    with pytest.raises(ResourceNotFoundError):
        roles.create_role_assignment(KeyVaultRoleScope.KEYS, unknown, app.object_id)
    assert roles.get_role_assignment(KeyVaultRoleScope.KEYS, str(made.name)).name == made.name
    roles.delete_role_assignment(KeyVaultRoleScope.KEYS, str(made.name))
    roles.delete_role_assignment(KeyVaultRoleScope.KEYS, str(made.name))
    assert client.call("GET", "/keys").status == 403, "in force at once, for a token already given"


def test_filters(roles: KeyVaultAccessControlClient, app: RegisteredApp) -> None:
    def listed(scope: str, **query: str) -> set[str]:
        found = roles.list_role_assignments(scope, **query)
        ours = [item for item in found if item.properties and item.properties.principal_id == app.object_id]
        return {(item.properties.scope or "").lower() for item in ours if item.properties}

    made = {
        scope: roles.create_role_assignment(scope, CRYPTO_OFFICER.resource_id, app.object_id)
        for scope in ("/", "/keys/a", "/keys/b")
    }
    mine = f"principalId eq '{app.object_id}'"
    assert listed("/") == listed("/keys") == {"/"}
    assert listed("/keys/a") == {"/keys/a"}
    assert listed("/keys/a", filter="atScope()") == {"/", "/keys/a"}
    assert listed("/", filter="atScope()") == {"/"}
    assert listed("/", filter=mine) == set(made)
    assert listed("/keys/b", filter=mine.replace("'", "")) == {"/", "/keys/b"}
    assert listed("/", filter=f"principalId eq '{uuid.uuid4()}'") == set()
    with pytest.raises(HttpResponseError, match="Invalid filter"):
        listed("/", filter="roleName eq 'x'")
    for scope, item in made.items():
        roles.delete_role_assignment(scope, str(item.name))


def test_role_on_one_key(wire: Wire, server: SandboxServer, app: RegisteredApp, names: Any) -> None:
    client, mine, other = client_of(server, app), names(), names()
    wire.create(mine)
    wire.create(other)
    where = path("roleAssignments", scope=f"/keys/{mine}")
    made = wire.call("PUT", where, assignment(CRYPTO_USER.resource_id, app.object_id))
    assert (made.status, made.body["properties"]["scope"]) == (201, f"/keys/{mine}")
    assert client.call("GET", f"/keys/{mine}").status == 200
    assert client.call("GET", f"/keys/{other}").status == 403
    assert client.call("GET", "/keys").status == 403
    assert wire.ok("DELETE", where) == made.body
    assert client.call("GET", f"/keys/{mine}").status == 403


def test_who_manages_one_key_cannot_reach_beyond_it(
    wire: Wire, server: SandboxServer, app: RegisteredApp
) -> None:
    """An assignment is found only at its own scope, which is where the right was checked."""
    body = assignment(CRYPTO_OFFICER.resource_id, app.object_id)
    own, whole = path("roleAssignments", scope="/keys/a"), path("roleAssignments", scope="/keys")
    wire.ok("PUT", own, body)
    wire.ok("PUT", whole, assignment(CRYPTO_USER.resource_id, str(uuid.uuid4())))
    client, name = client_of(server, app), whole.rpartition("/")[2]
    assert client.call("DELETE", path("roleAssignments", name, "/keys/a")).status == 404
    assert client.call("GET", path("roleAssignments", name, "/keys/a")).status == 404
    assert client.call("DELETE", whole).error == (403, "AccessDenied")
    wire.ok("DELETE", path("roleAssignments", name))
    assert client.call("DELETE", own).status == 200


def test_assignments_on_the_wire(wire: Wire) -> None:
    principal = str(uuid.uuid4())
    where = path("roleAssignments", scope="/keys")
    body = assignment(CRYPTO_OFFICER.resource_id, principal)
    made = wire.call("PUT", where, body)
    assert made.status == 201
    name = where.rpartition("/")[2]
    assert made.body == {
        "id": f"/providers/Microsoft.Authorization/roleAssignments/{name}",
        "name": name,
        "properties": {
            "principalId": principal,
            "roleDefinitionId": CRYPTO_OFFICER.resource_id,
            "scope": "/keys",
        },
        "type": "Microsoft.Authorization/roleAssignments",
    }
    assert wire.ok("GET", where) == made.body
    assert made.body in wire.ok("GET", f"//{PROVIDER}/roleAssignments")["value"]
    assert wire.call("PUT", where, body).status == 409
    assert wire.call("PUT", path("roleAssignments", scope="/keys"), body).status == 409
    wire.ok("DELETE", where)
    assert wire.call("GET", where).status == 404
    assert wire.call("DELETE", where).status == 404


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("not-a-guid", assignment(CRYPTO_USER.resource_id, str(uuid.UUID(int=1)))),
        ("", {}),
        ("", {"properties": {"principalId": str(uuid.UUID(int=1))}}),
        ("", assignment(CRYPTO_USER.resource_id, "me")),
        ("", assignment("Crypto User", str(uuid.UUID(int=1)))),
    ],
)
def test_refused_assignments(wire: Wire, name: str, body: Any) -> None:
    assert wire.call("PUT", path("roleAssignments", name), body).error == (400, "BadParameter")


@pytest.mark.parametrize("scope", ["/secrets", "/keys/a/b", "/keys/a_b"])
def test_unknown_scopes(wire: Wire, scope: str) -> None:
    body = assignment(CRYPTO_USER.resource_id, str(uuid.uuid4()))
    assert wire.call("PUT", path("roleAssignments", scope=scope), body).error == (400, "Invalidkeyidentifier")
    assert wire.call("GET", f"{scope}/{PROVIDER}/roleDefinitions").status == 400


def test_fifty_assignments_for_the_hsm_and_ten_for_a_key(own_server: SandboxServer) -> None:
    wire = Wire(own_server)

    def assign(scope: str) -> Any:
        body = assignment(CRYPTO_USER.resource_id, str(uuid.uuid4()))
        return wire.call("PUT", path("roleAssignments", scope=scope), body)

    there = len(wire.ok("GET", f"/{PROVIDER}/roleAssignments")["value"])
    for scope, limit, room in (
        ("/keys", MAX_AT_HSM, MAX_AT_HSM - there),
        ("/keys/a", MAX_AT_KEY, MAX_AT_KEY),
    ):
        assert [assign(scope).status for _ in range(room)] == [201] * room
        refused = assign(scope)
        assert refused.error == (403, "Forbidden")
        assert str(limit) in refused.message
    assert assign("/").status == 403
    assert assign("/keys/b").status == 201


def test_a_data_directory_of_before_gets_the_new_columns(tmp_path: Any) -> None:
    file = tmp_path / "sandbox.sqlite3"
    database = Database(file)
    database.write("INSERT INTO security_domain VALUES ('d', x'00')")
    database.write("INSERT INTO hsm VALUES ('localhost', 'd', 90, 0)")
    database.write("ALTER TABLE role_definition DROP COLUMN excluded")
    database.write("ALTER TABLE secret DROP COLUMN display_name")
    database.write("INSERT INTO role_definition VALUES ('localhost', 'n', 'Old', '', '[\"x\"]')")
    database.write("INSERT INTO app VALUES ('a', 'o', 'App')")
    database.write("INSERT INTO secret VALUES ('k', 'a', 'value', 1, 2)")
    database.close()
    database = Database(file)
    old = Directory(database).roles("localhost")["n"]
    assert (old.role_name, set(old.granted)) == ("Old", {"x"})
    assert [secret.display_name for secret in Directory(database).secrets("a")] == [""]
    database.close()
    Database(file).close()
