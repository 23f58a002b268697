"""Paths to operations, as a table."""

import pytest

from sandbox.errors import HsmError
from sandbox.routes import parse


@pytest.mark.parametrize(
    ("method", "path", "op", "name", "version"),
    [
        ("GET", "/keys", "list", "", ""),
        ("GET", "/keys/", "list", "", ""),
        ("GET", "/keys/a", "get", "a", ""),
        ("GET", "/keys/a/", "get", "a", ""),
        ("GET", "/keys/a/v", "get", "a", "v"),
        ("GET", "/keys/restore", "get", "restore", ""),
        ("POST", "/keys/restore", "restore", "", ""),
        ("GET", "/keys/a/versions", "list-versions", "a", ""),
        ("PATCH", "/keys/a/", "update", "a", ""),
        ("PATCH", "/keys/a/v", "update", "a", "v"),
        ("PUT", "/keys/a", "import", "a", ""),
        ("DELETE", "/keys/a", "delete", "a", ""),
        ("POST", "/keys/a/sign", "sign", "a", ""),
        ("POST", "/keys/a//sign", "sign", "a", ""),
        ("POST", "/keys/a/v/sign", "sign", "a", "v"),
        ("POST", "/keys/create/create", "create", "create", ""),
        ("POST", "/keys/a/rotate", "rotate", "a", ""),
        ("GET", "/keys/a/rotationpolicy", "read rotationpolicy", "a", ""),
        ("PUT", "/keys/a/rotationpolicy", "write rotationpolicy", "a", ""),
        ("GET", "/deletedkeys", "list-deleted", "", ""),
        ("GET", "/deletedkeys/a", "get-deleted", "a", ""),
        ("DELETE", "/deletedkeys/a", "purge", "a", ""),
        ("POST", "/deletedkeys/a/recover", "recover", "a", ""),
        ("POST", "/rng", "rng", "", ""),
        ("GET", "/keys/providers", "get", "providers", ""),
        ("GET", "/providers/Microsoft.Authorization/roleAssignments", "list roleAssignments", "", ""),
        ("GET", "//providers/Microsoft.Authorization/roleAssignments/x", "read roleAssignments", "x", ""),
        (
            "PUT",
            "/keys/providers/Microsoft.Authorization/roleDefinitions/x",
            "write roleDefinitions",
            "x",
            "",
        ),
    ],
)
def test_known(method: str, path: str, op: str, name: str, version: str) -> None:
    route = parse(method, path)
    assert (route.op, route.name, route.version) == (op, name, version)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 404),
        ("GET", "/", 404),
        ("GET", "/secrets/a", 404),
        ("GET", "/rng", 404),
        ("GET", "/keys/a/b/c/d", 404),
        ("GET", "/deletedkeys/a/b", 404),
        ("GET", "/Microsoft.Authorization/roleAssignments", 404),
        ("POST", "/providers/Microsoft.Authorization/roleAssignments/x", 404),
        ("PUT", "/providers/Microsoft.Authorization/roleAssignments", 404),
        ("GET", "/providers/Microsoft.Authorization/other", 404),
        ("DELETE", "/keys/a/v", 405),
        ("POST", "/keys/a", 405),
        ("GET", "/deletedkeys/a/recover", 405),
        ("POST", "/keys/a/v/create", 400),
        ("POST", "/keys//sign", 400),
        ("POST", "/keys/a/fly", 400),
        ("GET", "/keys/a%2Fb", 400),
    ],
)
def test_refused(method: str, path: str, status: int) -> None:
    with pytest.raises(HsmError) as caught:
        parse(method, path)
    assert caught.value.status == status
