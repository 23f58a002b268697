"""What the HSM allows and when: soft-delete, restore, purge protection, retention, windows, limits."""

from typing import Any

import pytest

from sandbox.clock import Clock
from sandbox.estate import Estate, HsmOptions, Options
from sandbox.hsm import MAX_KEYS, MAX_VERSIONS, new_version
from sandbox.keystore import Attributes
from tests.sandbox.wire import Wire, b64, version_of
from tests.sandbox_server import SandboxServer

DAY = 86400
SIGN = {"alg": "ES256", "value": b64(bytes(32))}


def test_delete_is_soft_and_at_once(wire: Wire, name: str) -> None:
    wire.create(name)
    deleted = wire.delete(name)
    assert deleted["scheduledPurgeDate"] - deleted["deletedDate"] == 90 * DAY
    assert wire.call("GET", f"/deletedkeys/{name}").status == 200
    for method, path, body in (
        ("GET", f"/keys/{name}", None),
        ("GET", f"/keys/{name}/versions", None),
        ("PATCH", f"/keys/{name}/", {}),
        ("DELETE", f"/keys/{name}", None),
        ("POST", f"/keys/{name}/backup", None),
        ("POST", f"/keys/{name}/rotate", None),
        ("POST", f"/keys/{name}/sign", SIGN),
    ):
        assert wire.call(method, path, body).error == (404, "KeyNotFound"), path


def test_name_of_a_deleted_key_is_taken(wire: Wire, name: str) -> None:
    wire.create(name)
    wire.delete(name)
    assert wire.call("POST", f"/keys/{name}/create", {"kty": "EC"}).error == (409, "Conflict")
    imported = {"key": {"kty": "oct", "k": b64(bytes(32))}}
    assert wire.call("PUT", f"/keys/{name}", imported).error == (409, "Conflict")
    wire.purge(name)
    wire.create(name)


def test_recover_brings_all_versions_back(wire: Wire, name: str) -> None:
    first, second = wire.create(name), wire.create(name)
    wire.delete(name)
    assert wire.ok("POST", f"/deletedkeys/{name}/recover") == second
    assert wire.ok("GET", f"/keys/{name}/{version_of(first)}") == first
    answer = wire.call("POST", f"/deletedkeys/{name}/recover")
    assert answer.error == (404, "KeyNotFound")
    assert answer.message == f"Key not found: {wire.server.address()}/deletedkeys/{name}"


def test_purge_needs_a_deleted_key_and_is_final(wire: Wire, name: str) -> None:
    wire.create(name)
    assert wire.call("DELETE", f"/deletedkeys/{name}").error == (404, "KeyNotFound")
    wire.delete(name)
    wire.purge(name)
    for method, path in (
        ("DELETE", f"/deletedkeys/{name}"),
        ("GET", f"/deletedkeys/{name}"),
        ("POST", f"/deletedkeys/{name}/recover"),
        ("GET", f"/keys/{name}"),
    ):
        assert wire.call(method, path).error == (404, "KeyNotFound")


def test_restore_is_refused_for_a_live_and_for_a_deleted_name(wire: Wire, name: str) -> None:
    made = wire.create(name)
    blob = wire.ok("POST", f"/keys/{name}/backup")
    live = wire.call("POST", "/keys/restore", blob)
    assert live.error == (409, "Conflict")
    wire.delete(name)
    deleted = wire.call("POST", "/keys/restore", blob)
    assert deleted.error == (409, "Conflict")
    assert live.message != deleted.message
    wire.purge(name)
    assert wire.ok("POST", "/keys/restore", blob) == made


@pytest.mark.parametrize(
    ("days", "protection", "level"),
    [
        (7, False, "CustomizedRecoverable+Purgeable"),
        (90, False, "Recoverable+Purgeable"),
        (89, True, "CustomizedRecoverable"),
        (90, True, "Recoverable"),
    ],
)
def test_recovery_level(days: int, protection: bool, level: str) -> None:
    with SandboxServer(retention_days=days, purge_protection=protection) as server:
        wire = Wire(server)
        attributes = wire.create("a")["attributes"]
        assert (attributes["recoverableDays"], attributes["recoveryLevel"]) == (days, level)
        deleted = wire.delete("a")
        assert deleted["scheduledPurgeDate"] - deleted["deletedDate"] == days * DAY
        if protection:
            assert wire.call("DELETE", "/deletedkeys/a").error == (403, "Forbidden")
            assert wire.call("GET", "/deletedkeys/a").status == 200
        server.advance_clock(days * DAY)
        wire.tokens.clear()
        assert wire.call("GET", "/deletedkeys/a").error == (404, "KeyNotFound")
        assert wire.ok("GET", "/deletedkeys") == {"value": []}
        wire.create("a")


def test_a_key_is_kept_until_the_last_second(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    wire.create("a")
    wire.delete("a")
    own_server.advance_clock(90 * DAY - 60)
    wire.tokens.clear()
    wire.ok("POST", "/deletedkeys/a/recover")


@pytest.mark.parametrize(
    ("attributes", "state"),
    [
        ({"enabled": False}, "a disabled"),
        ({"nbf": 4102444800}, "a not yet valid"),
        ({"exp": 1000}, "an expired"),
    ],
)
def test_no_signing_outside_the_window_but_verifying(
    wire: Wire, name: str, attributes: dict[str, Any], state: str
) -> None:
    wire.create(name)
    signature = wire.ok("POST", f"/keys/{name}/sign", SIGN)["value"]
    wire.ok("PATCH", f"/keys/{name}/", {"attributes": attributes})
    refused = wire.call("POST", f"/keys/{name}/sign", SIGN)
    assert refused.error == (403, "Forbidden")
    assert refused.message == f"Operation sign is not allowed on {state} key."
    assert wire.call("GET", f"/keys/{name}").status == 200
    asked = {"alg": "ES256", "digest": SIGN["value"], "value": signature}
    assert wire.ok("POST", f"/keys/{name}/verify", asked)["value"] is True
    wire.ok("PATCH", f"/keys/{name}/", {"attributes": {"enabled": True, "nbf": None, "exp": None}})
    wire.ok("POST", f"/keys/{name}/sign", SIGN)


def test_window_opens_and_closes_with_the_clock(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    now = wire.create("clock")["attributes"]["created"]
    wire.create("a", attributes={"nbf": now + 1000, "exp": now + 2000})
    assert wire.call("POST", "/keys/a/sign", SIGN).status == 403
    own_server.advance_clock(1000)
    assert wire.call("POST", "/keys/a/sign", SIGN).status == 200
    own_server.advance_clock(1000)
    assert wire.call("POST", "/keys/a/sign", SIGN).status == 403


def test_key_ops_are_kept_to(wire: Wire, name: str) -> None:
    wire.create(name, key_ops=["verify"])
    refused = wire.call("POST", f"/keys/{name}/sign", SIGN)
    assert refused.error == (403, "Forbidden")
    asked = {"alg": "ES256", "digest": SIGN["value"], "value": b64(bytes(64))}
    assert wire.ok("POST", f"/keys/{name}/verify", asked)["value"] is False


def test_a_hundred_versions(wire: Wire, name: str) -> None:
    for _ in range(MAX_VERSIONS):
        wire.create(name)
    wire.ok("PUT", f"/keys/{name}/rotationpolicy", {"attributes": {"expiryTime": "P1Y"}})
    for path in (f"/keys/{name}/create", f"/keys/{name}/rotate"):
        refused = wire.call("POST", path, {"kty": "EC"})
        assert refused.error == (403, "Forbidden")
        assert "100" in refused.message
    assert wire.call("POST", f"/keys/{name}/sign", SIGN).status == 200


def test_five_thousand_keys_deleted_ones_included(tmp_path: Any) -> None:
    estate = Estate.prepare(Options(tmp_path, hsms=(HsmOptions("localhost"),)), Clock())
    version = new_version("oct-HSM", {}, bytes(32), Attributes(0, 0, ("sign",)))
    for number in range(MAX_KEYS - 1):
        estate.keys.add_key("localhost", f"key-{number}", (version,))
    estate.close()
    with SandboxServer(data=tmp_path) as server:
        wire = Wire(server)
        blob = wire.ok("POST", "/keys/key-0/backup")
        wire.create("last")
        refused = wire.call("POST", "/keys/one-more/create", {"kty": "EC"})
        assert refused.error == (403, "Forbidden")
        assert "5000" in refused.message
        wire.create("last")
        wire.delete("key-0")
        assert wire.call("POST", "/keys/one-more/create", {"kty": "EC"}).error == (403, "Forbidden")
        wire.purge("key-0")
        wire.create("one-more")
        assert wire.call("POST", "/keys/restore", blob).error == (403, "Forbidden")
