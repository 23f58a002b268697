"""Status, field names, value forms and headers of every operation, one by one."""

import re
from typing import Any

import pytest

from tests.sandbox.wire import Answer, Wire, b64, version_of

GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
HEADERS = {
    "cache-control": "no-cache",
    "content-length": r"\d+",
    "content-security-policy": "default-src 'self'",
    "content-type": "application/json; charset=utf-8",
    "date": r".* GMT",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "x-ms-request-id": GUID,
    "x-ms-server-latency": r"\d+",
}
SUCCESS = HEADERS | {
    "x-ms-keyvault-region": r"[a-z0-9]+",
    "x-ms-keyvault-network-info": r"conn_type=Ipv4;addr=[0-9.]+;act_addr_fam=Ipv4;",
}
BUILD = {"x-ms-build-version": r"1\.0\.\d{8}-\d+-[0-9a-f]{8}-[\w-]+"}
CHALLENGE = HEADERS | {
    "content-length": "0",
    "www-authenticate": rf'Bearer authorization="https://localhost:\d+/{GUID}", resource="https://localhost:\d+"',
}
BASE64URL = r"[A-Za-z0-9_-]+"
ATTRIBUTES = {
    "created": int,
    "enabled": bool,
    "exportable": bool,
    "recoverableDays": int,
    "recoveryLevel": r"(Customized)?Recoverable(\+Purgeable)?",
    "updated": int,
}
KID = r"https://localhost:\d+/keys/[0-9a-zA-Z-]+/[0-9a-f]{32}"
RSA = {"kid": KID, "kty": "RSA-HSM", "key_ops": list, "n": BASE64URL, "e": "AQAB"}
EC = {"kid": KID, "kty": "EC-HSM", "key_ops": list, "crv": "P-256", "x": BASE64URL, "y": BASE64URL}
OCT = {"kid": KID, "kty": "oct-HSM", "key_ops": list}
DELETION = {
    "deletedDate": int,
    "scheduledPurgeDate": int,
    "recoveryId": r"https://localhost:\d+/deletedkeys/[0-9a-zA-Z-]+",
}
ITEM = {"kid": r"https://localhost:\d+/keys/[0-9a-zA-Z-]+", "attributes": ATTRIBUTES}
ROTATE_YEARLY = {"action": {"type": "Rotate"}, "trigger": {"timeAfterCreate": "P1Y"}}
CRYPTO = {"alg": r"[A-Z0-9]+", "kid": KID, "value": BASE64URL}


def bundle(key: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"attributes": ATTRIBUTES, "key": key, **more}


def assert_shape(found: Any, expected: Any, where: str = "body") -> None:
    """``expected``: a dict of all fields, a type, a list of one shape for every entry, or a pattern."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        assert set(found) == set(expected), f"{where}: {set(found) ^ set(expected)}"
        for field, shape in expected.items():
            assert_shape(found[field], shape, f"{where}.{field}")
    elif isinstance(expected, list):
        assert found, where
        for entry in found:
            assert_shape(entry, expected[0], f"{where}[]")
    elif isinstance(expected, type):
        assert type(found) is expected, f"{where}: {found!r}"
    else:
        assert re.fullmatch(expected, found), f"{where}: {found!r} is not {expected}"


def assert_headers(answer: Answer, expected: dict[str, str]) -> None:
    assert_shape(answer.headers, expected, "headers")


@pytest.mark.parametrize(("kty", "key"), [("RSA", RSA), ("EC", EC), ("oct", OCT)])
def test_create_get_update_delete_recover_purge(wire: Wire, name: str, kty: str, key: dict[str, Any]) -> None:
    made = wire.call("POST", f"/keys/{name}/create", {"kty": kty})
    assert made.status == 200
    assert_headers(made, SUCCESS)
    assert_shape(made.body, bundle(key))

    got = wire.call("GET", f"/keys/{name}/")
    assert got.status == 200
    assert_headers(got, SUCCESS | BUILD)
    assert got.body == made.body

    changed = wire.call("PATCH", f"/keys/{name}/", {"attributes": {"enabled": False}, "tags": {"a": "b"}})
    assert changed.status == 200
    assert_headers(changed, SUCCESS)
    assert_shape(changed.body, bundle(key, tags={"a": "b"}))

    deleted = wire.call("DELETE", f"/keys/{name}")
    assert deleted.status == 200
    assert_headers(deleted, SUCCESS)
    assert_shape(deleted.body, bundle(key, tags={"a": "b"}, **DELETION))

    found = wire.call("GET", f"/deletedkeys/{name}")
    assert found.status == 200
    assert_headers(found, SUCCESS | BUILD)
    assert found.body == deleted.body

    recovered = wire.call("POST", f"/deletedkeys/{name}/recover")
    assert recovered.status == 200
    assert_headers(recovered, SUCCESS)
    assert recovered.body == changed.body

    wire.delete(name)
    purged = wire.call("DELETE", f"/deletedkeys/{name}")
    assert purged.status == 204
    assert_headers(purged, SUCCESS | {"content-length": "0"})
    assert purged.body is None


def test_lists(wire: Wire, name: str) -> None:
    wire.create(name, tags={"a": "b"})
    items = all_items(wire, "/keys")
    assert_shape(
        next(item for item in items if item["kid"].endswith(f"/{name}")), ITEM | {"tags": {"a": "b"}}
    )

    versions = wire.call("GET", f"/keys/{name}/versions")
    assert_headers(versions, SUCCESS | BUILD)
    assert_shape(versions.body, {"value": [ITEM | {"kid": KID, "tags": {"a": "b"}}]})

    wire.delete(name)
    deleted = all_items(wire, "/deletedkeys")
    mine = next(item for item in deleted if item["kid"].endswith(f"/{name}"))
    assert_shape(mine, ITEM | DELETION | {"tags": {"a": "b"}})


def all_items(wire: Wire, path: str) -> list[Any]:
    items: list[Any] = []
    following = path
    while following:
        page = wire.call("GET", following).body
        items += page["value"]
        following = page.get("nextLink", "").removeprefix(wire.server.address())
    return items


def test_dates_appear_only_where_set(wire: Wire, name: str) -> None:
    made = wire.create(name, attributes={"nbf": 1000, "exp": 4102444800})
    assert_shape(made["attributes"], ATTRIBUTES | {"nbf": int, "exp": int})
    assert (made["attributes"]["nbf"], made["attributes"]["exp"]) == (1000, 4102444800)


def test_backup_and_restore(wire: Wire, name: str) -> None:
    made = wire.create(name)
    backup = wire.call("POST", f"/keys/{name}/backup")
    assert backup.status == 200
    assert_headers(backup, SUCCESS)
    assert_shape(backup.body, {"value": BASE64URL})
    wire.delete(name)
    wire.purge(name)
    restored = wire.call("POST", "/keys/restore", backup.body)
    assert restored.status == 200
    assert_headers(restored, SUCCESS)
    assert restored.body == made


def test_sign_and_verify(wire: Wire, name: str) -> None:
    wire.create(name)
    digest = b64(bytes(32))
    signed = wire.call("POST", f"/keys/{name}/sign", {"alg": "ES256", "value": digest})
    assert signed.status == 200
    assert_headers(signed, SUCCESS)
    assert_shape(signed.body, CRYPTO)
    asked = {"alg": "ES256", "digest": digest, "value": signed.body["value"]}
    verified = wire.call("POST", f"/keys/{name}/verify", asked)
    assert verified.status == 200
    assert_headers(verified, SUCCESS)
    assert_shape(verified.body, CRYPTO | {"value": bool})


def test_encrypt_wrap_and_random(wire: Wire, name: str) -> None:
    wire.create(name, "oct-HSM")
    sealed = wire.ok(
        "POST", f"/keys/{name}/encrypt", {"alg": "A256GCM", "value": b64(b"x"), "aad": b64(b"y")}
    )
    assert_shape(sealed, CRYPTO | {"iv": BASE64URL, "tag": BASE64URL, "aad": BASE64URL})
    opened = wire.ok("POST", f"/keys/{name}/decrypt", sealed)
    assert_shape(opened, CRYPTO)
    assert opened["value"] == b64(b"x")
    assert_shape(
        wire.ok("POST", f"/keys/{name}/encrypt", {"alg": "A256CBCPAD", "value": "eA", "iv": b64(bytes(16))}),
        CRYPTO | {"iv": BASE64URL},
    )
    assert_shape(wire.ok("POST", f"/keys/{name}/wrapkey", {"alg": "A256KW", "value": b64(bytes(16))}), CRYPTO)
    assert_shape(wire.ok("POST", "/rng", {"count": 8}), {"value": r"[A-Za-z0-9_-]{11}"})


def test_rotate_and_policy(wire: Wire, name: str) -> None:
    first = wire.create(name)
    none = {"attributes": {"created": 0, "expiryTime": "", "updated": 0}, "id": ""}
    assert wire.ok("GET", f"/keys/{name}/rotationpolicy") == none
    policy = {"attributes": {}, "lifetimeActions": [ROTATE_YEARLY]}
    shown = wire.ok("PUT", f"/keys/{name}/rotationpolicy", policy)
    assert_shape(
        shown,
        {
            "attributes": {"created": int, "expiryTime": "", "updated": int},
            "id": f"{wire.server.address()}/keys/{name}/rotationpolicy",
            "lifetimeActions": list,
        },
    )
    assert shown["lifetimeActions"] == [ROTATE_YEARLY]
    rotated = wire.call("POST", f"/keys/{name}/rotate")
    assert rotated.status == 200
    assert_headers(rotated, SUCCESS)
    assert_shape(rotated.body, bundle(EC))
    assert version_of(rotated.body) != version_of(first)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_challenge(wire: Wire, method: str) -> None:
    """The first request of the SDK has neither a token nor a body."""
    path = "/keys/any/create" if method == "POST" else "/keys/any"
    answer = wire.send(method, f"{path}?api-version=7.4")
    assert answer.status == 401
    assert answer.body is None
    assert_headers(answer, CHALLENGE | (BUILD if method == "GET" else {}))


def test_refusal(wire: Wire) -> None:
    for method in ("GET", "DELETE"):
        answer = wire.call(method, "/keys/nothing")
        assert answer.status == 404
        assert_headers(answer, HEADERS | (BUILD if method == "GET" else {}))
        assert_shape(answer.body, {"error": {"code": "KeyNotFound", "message": str}})
        assert answer.message == f"Key not found: {wire.server.address()}/keys/nothing"


def test_json_is_compact_with_sorted_fields(wire: Wire) -> None:
    answer = wire.call("GET", "/keys/nothing")
    text = '{"error":{"code":"KeyNotFound","message":""}}'
    assert int(answer.headers["content-length"]) == len(text) + len(answer.body["error"]["message"])
