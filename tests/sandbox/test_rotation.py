"""Rotation policies, and rotation on demand under one."""

from datetime import datetime
from typing import Any

import pytest
from azure.keyvault.keys import (
    KeyClient,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)

from sandbox import rotation
from tests.sandbox import sdk
from tests.sandbox.wire import Wire
from tests.sandbox_server import SandboxServer

NONE: Any = {"attributes": {"created": 0, "expiryTime": "", "updated": 0}, "id": ""}
BLANK: Any = {"attributes": {}, "lifetimeActions": []}


def action(kind: str = "Rotate", **trigger: str | None) -> dict[str, Any]:
    return {"action": {"type": kind}, "trigger": trigger}


def policy(expiry: str | None, *actions: Any) -> dict[str, Any]:
    return {"attributes": {"expiryTime": expiry}, "lifetimeActions": list(actions)}


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (policy("P2Y", action(timeAfterCreate="P18M", timeBeforeExpiry=None)), {"timeAfterCreate": "P18M"}),
        (policy("P56D", action("rotate", timeBeforeExpiry="P28D")), {"timeBeforeExpiry": "P28D"}),
        (policy(None, action(timeAfterCreate="P28D")), {"timeAfterCreate": "P28D"}),
        (policy("P28D"), None),
    ],
)
def test_policy_is_kept_as_it_was_set(wire: Wire, name: str, wanted: Any, shown: Any) -> None:
    wire.create(name)
    path = f"/keys/{name}/rotationpolicy"
    answer = wire.ok("PUT", path, wanted)
    assert answer["id"] == f"{wire.server.address()}{path}"
    assert answer["attributes"]["expiryTime"] == (wanted["attributes"]["expiryTime"] or "")
    assert answer["lifetimeActions"] == ([action(**shown)] if shown else [])
    assert wire.ok("GET", path) == answer


def test_policy_keeps_its_creation_and_a_blank_one_removes_it(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    wire.create("a")
    first = wire.ok("PUT", "/keys/a/rotationpolicy", policy("P90D"))["attributes"]
    own_server.advance_clock(60)
    second = wire.ok("PUT", "/keys/a/rotationpolicy", policy("P91D"))["attributes"]
    assert (second["created"], second["expiryTime"]) == (first["created"], "P91D")
    assert second["updated"] >= first["updated"] + 60
    assert wire.ok("PUT", "/keys/a/rotationpolicy", BLANK) == NONE
    assert wire.ok("GET", "/keys/a/rotationpolicy") == NONE


@pytest.mark.parametrize(
    "wanted",
    [
        policy("P27D"),
        policy("90 days"),
        policy("P"),
        policy("P90DT1H"),
        policy("P90D", action("Notify", timeBeforeExpiry="P30D")),
        policy("P90D", action(timeAfterCreate="P27D")),
        policy("P56D", action(timeBeforeExpiry="P29D")),
        policy(None, action(timeBeforeExpiry="P28D")),
        policy("P90D", action(timeAfterCreate="P30D", timeBeforeExpiry="P30D")),
        policy("P90D", action()),
        policy("P90D", {"action": {"type": "Rotate"}}),
        policy("P90D", action(timeAfterCreate="P30D"), action(timeBeforeExpiry="P30D")),
        {"attributes": "P90D"},
        {"attributes": {"expiryTime": "P90D"}, "lifetimeActions": "x"},
    ],
)
def test_refused_policies(wire: Wire, name: str, wanted: Any) -> None:
    wire.create(name)
    answer = wire.call("PUT", f"/keys/{name}/rotationpolicy", wanted)
    assert answer.error == (400, "BadParameter")
    assert wire.ok("GET", f"/keys/{name}/rotationpolicy") == NONE


def test_rotation_needs_a_policy_and_api_version_7_3(wire: Wire, name: str) -> None:
    wire.create(name)
    assert wire.call("POST", f"/keys/{name}/rotate").error == (400, "BadParameter")
    for method, path in (("POST", "rotate"), ("GET", "rotationpolicy"), ("PUT", "rotationpolicy")):
        refused = wire.call(method, f"/keys/{name}/{path}", {}, version="7.2")
        assert refused.error == (400, "NotSupported")
        assert refused.message == f"action '{path}' not supported"
    assert wire.call("POST", "/keys/nothing/rotate").status == 404
    assert wire.call("PUT", "/keys/nothing/rotationpolicy", BLANK).status == 404


def test_rotate_keeps_kind_operations_and_tags_and_ends_as_the_policy_says(wire: Wire, name: str) -> None:
    attributes = {"nbf": 1, "exp": 4102444800, "enabled": False}
    made = wire.create(name, crv="P-384", key_ops=["sign"], tags={"a": "b"}, attributes=attributes)
    wire.ok("PUT", f"/keys/{name}/rotationpolicy", policy("P30D"))
    rotated = wire.ok("POST", f"/keys/{name}/rotate")
    assert (rotated["key"]["crv"], rotated["key"]["key_ops"]) == ("P-384", ["sign"])
    assert rotated["tags"] == {"a": "b"}
    assert rotated["key"]["x"] != made["key"]["x"]
    assert rotated["attributes"]["enabled"] is True
    assert "nbf" not in rotated["attributes"]
    assert rotated["attributes"]["exp"] == rotated["attributes"]["created"] + 30 * 86400


def test_policy_survives_a_restart_and_goes_with_the_key(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    wire.create("a")
    kept = wire.ok("PUT", "/keys/a/rotationpolicy", policy("P90D"))
    own_server.restart()
    wire = Wire(own_server)
    assert wire.ok("GET", "/keys/a/rotationpolicy") == kept
    wire.delete("a")
    assert wire.call("GET", "/keys/a/rotationpolicy").status == 404
    wire.purge("a")
    wire.create("a")
    assert wire.ok("GET", "/keys/a/rotationpolicy") == NONE


def test_the_sdk(server: SandboxServer, name: str) -> None:
    with sdk.key_client(server) as client:
        check_with(client, name)


def check_with(client: KeyClient, name: str) -> None:
    client.create_ec_key(name, hardware_protected=True)
    assert client.get_key_rotation_policy(name).lifetime_actions == []
    wanted = [KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P2M")]
    client.update_key_rotation_policy(name, KeyRotationPolicy(), lifetime_actions=wanted, expires_in="P3M")
    found = client.get_key_rotation_policy(name)
    assert found.expires_in == "P3M"
    assert (found.lifetime_actions[0].action, found.lifetime_actions[0].time_after_create) == (
        "Rotate",
        "P2M",
    )
    assert client.rotate_key(name).properties.expires_on is not None


@pytest.mark.parametrize(
    ("start", "expiry", "end"),
    [
        ("2026-01-31", "P1M", "2026-02-28"),
        ("2024-02-29", "P1Y", "2025-02-28"),
        ("2026-12-15", "P1M", "2027-01-15"),
        ("2026-11-01", "P1Y2M10D", "2028-01-11"),
        ("2026-01-01", "P4W", "2026-01-29"),
    ],
)
def test_end_of_new_version(start: str, expiry: str, end: str) -> None:
    def noon(day: str) -> int:
        return int(datetime.fromisoformat(f"{day}T12:00+00:00").timestamp())

    assert rotation.end_of_new_version(rotation.Policy(expiry_time=expiry), noon(start)) == noon(end)
