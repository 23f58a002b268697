"""Local RBAC: each operation needs its data action, and its refusal names it."""

from typing import Any

import pytest

from sandbox.roles import PREFIX
from tests.sandbox.wire import Wire, b64
from tests.sandbox_server import SandboxServer

PROVIDER = "providers/Microsoft.Authorization"
SIGN = {"alg": "ES256", "value": b64(bytes(32))}
VERIFY = {"alg": "ES256", "digest": b64(bytes(32)), "value": b64(bytes(64))}
SEAL = {"alg": "A256GCM", "value": "eA"}
# Method, path, body, the data action needed and the scope at which it is asked for.
NEEDS: list[tuple[str, str, Any, str, str]] = [
    ("GET", "/keys", None, "keys/read/action", "/keys"),
    ("GET", "/keys/{name}", None, "keys/read/action", "/keys/{name}"),
    ("GET", "/keys/{name}/versions", None, "keys/read/action", "/keys/{name}"),
    ("GET", "/keys/{name}/rotationpolicy", None, "keys/read/action", "/keys/{name}"),
    ("POST", "/keys/{name}/create", {"kty": "EC"}, "keys/create", "/keys/{name}"),
    ("PUT", "/keys/{name}", {}, "keys/import/action", "/keys/{name}"),
    ("PATCH", "/keys/{name}/", {}, "keys/write/action", "/keys/{name}"),
    ("PUT", "/keys/{name}/rotationpolicy", {}, "keys/write/action", "/keys/{name}"),
    ("POST", "/keys/{name}/rotate", None, "keys/rotate/action", "/keys/{name}"),
    ("DELETE", "/keys/{name}", None, "keys/delete", "/keys/{name}"),
    ("POST", "/keys/{name}/backup", None, "keys/backup/action", "/keys/{name}"),
    ("POST", "/keys/restore", {}, "keys/restore/action", "/keys"),
    ("POST", "/keys/{name}/sign", SIGN, "keys/sign/action", "/keys/{name}"),
    ("POST", "/keys/{name}/verify", VERIFY, "keys/verify/action", "/keys/{name}"),
    ("POST", "/keys/{name}/encrypt", SEAL, "keys/encrypt/action", "/keys/{name}"),
    ("POST", "/keys/{name}/decrypt", SEAL, "keys/decrypt/action", "/keys/{name}"),
    ("POST", "/keys/{name}/wrapkey", SEAL, "keys/wrap/action", "/keys/{name}"),
    ("POST", "/keys/{name}/unwrapkey", SEAL, "keys/unwrap/action", "/keys/{name}"),
    ("GET", "/deletedkeys", None, "keys/deletedKeys/read/action", "/keys"),
    ("GET", "/deletedkeys/{name}", None, "keys/deletedKeys/read/action", "/keys/{name}"),
    ("POST", "/deletedkeys/{name}/recover", None, "keys/deletedKeys/recover/action", "/keys/{name}"),
    ("DELETE", "/deletedkeys/{name}", None, "keys/deletedKeys/delete", "/keys/{name}"),
    ("POST", "/rng", {"count": 1}, "rng/action", "/"),
    ("GET", f"/{PROVIDER}/roleAssignments", None, "roleAssignments/read/action", "/"),
    ("GET", f"/keys/{PROVIDER}/roleDefinitions", None, "roleDefinitions/read/action", "/keys"),
    ("PUT", f"/{PROVIDER}/roleAssignments/a", {}, "roleAssignments/write/action", "/"),
    ("DELETE", f"/{PROVIDER}/roleAssignments/a", None, "roleAssignments/delete/action", "/"),
    ("PUT", f"/{PROVIDER}/roleDefinitions/a", {}, "roleDefinitions/write/action", "/"),
    ("DELETE", f"/{PROVIDER}/roleDefinitions/a", None, "roleDefinitions/delete/action", "/"),
]


def as_app(server: SandboxServer, *grants: str) -> Wire:
    """A client that holds these roles or data actions only."""
    app = server.add_app(grants=grants)
    return Wire(server, application_id=app.application_id, secret=app.secret.value)


@pytest.fixture(scope="module")
def nobody(server: SandboxServer) -> Wire:
    return as_app(server)


@pytest.mark.parametrize(("method", "path", "body", "action", "scope"), NEEDS)
def test_missing_action_is_named(
    nobody: Wire, method: str, path: str, body: Any, action: str, scope: str
) -> None:
    answer = nobody.call(method, path.format(name="some"), body)
    assert answer.error == (403, "AccessDenied")
    assert answer.message == f"Not authorized to access {PREFIX}/{action} on {scope.format(name='some')}"


@pytest.mark.parametrize(("method", "path", "body", "action", "scope"), NEEDS)
def test_the_action_alone_is_enough(
    server: SandboxServer, method: str, path: str, body: Any, action: str, scope: str
) -> None:
    answer = as_app(server, action).call(method, path.format(name="some"), body)
    assert answer.status not in {401, 403}


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        ("Crypto User", ["keys/create", "keys/backup/action", "keys/delete"], ["keys/deletedKeys/delete"]),
        (
            "Crypto Officer",
            ["keys/deletedKeys/delete", "keys/deletedKeys/recover/action"],
            ["keys/read/action"],
        ),
        ("Crypto Auditor", ["keys/deletedKeys/read/action", "keys/read/action"], ["keys/deletedKeys/delete"]),
        ("Backup User", ["keys/backup/action"], ["keys/restore/action", "keys/read/action"]),
        ("Restore User", ["keys/restore/action"], ["keys/backup/action"]),
        ("Crypto Service Encryption User", ["keys/wrap/action"], ["keys/sign/action"]),
        ("Policy Administrator", ["roleAssignments/write/action"], ["keys/read/action"]),
        ("Administrator", ["roleAssignments/write/action"], ["keys/read/action", "keys/create"]),
    ],
)
def test_built_in_roles(server: SandboxServer, role: str, allowed: list[str], refused: list[str]) -> None:
    client = as_app(server, role)
    for method, path, body, action, _ in NEEDS:
        if action in {*allowed, *refused}:
            answer = client.call(method, path.format(name="some"), body)
            denied = answer.status == 403 and answer.body["error"]["code"] == "AccessDenied"
            assert denied is (action in refused), action


def test_changes_hold_at_once_and_for_a_token_already_given(server: SandboxServer, name: str) -> None:
    client = as_app(server, "Crypto User", "Crypto Officer")
    app = client.application_id
    client.create(name)
    client.delete(name)
    server.revoke("keys/deletedKeys/delete", application_id=app)
    assert client.call("DELETE", f"/deletedkeys/{name}").error == (403, "AccessDenied")
    assert client.call("GET", f"/deletedkeys/{name}").status == 200
    server.grant("keys/deletedKeys/delete", application_id=app)
    assert client.call("DELETE", f"/deletedkeys/{name}").status == 204
    server.revoke("Crypto User", application_id=app)
    assert client.call("GET", "/keys").status == 200, "taking an action turned the roles into single actions"
    server.revoke("keys/read/action", application_id=app)
    assert client.call("GET", "/keys").status == 403


def test_role_given_and_taken(server: SandboxServer) -> None:
    client = as_app(server)
    server.grant("Crypto User", application_id=client.application_id)
    server.grant("Crypto User", application_id=client.application_id)
    assert client.call("GET", "/keys").status == 200
    server.revoke("Managed HSM Crypto User", application_id=client.application_id)
    assert client.call("GET", "/keys").status == 403


def test_a_revoked_action_shows_in_the_roles_that_clients_read(server: SandboxServer, wire: Wire) -> None:
    client = as_app(server, "Crypto User", "Crypto Officer")
    server.revoke("keys/backup/action", application_id=client.application_id)
    app = next(
        item
        for item in server.control("GET", "state")["apps"]
        if item["application_id"] == client.application_id
    )
    query = f"$filter=principalId%20eq%20'{app['object_id']}'"
    mine = client.ok("GET", f"/{PROVIDER}/roleAssignments?{query}")["value"]
    definitions = {item["id"]: item for item in client.ok("GET", f"/{PROVIDER}/roleDefinitions")["value"]}
    held: set[str] = set()
    for item in mine:
        assert item["properties"]["principalId"] == app["object_id"]
        definition = definitions[item["properties"]["roleDefinitionId"]]
        held |= set(definition["properties"]["permissions"][0]["dataActions"])
    assert f"{PREFIX}/keys/backup/action" not in held
    assert f"{PREFIX}/keys/deletedKeys/delete" in held
