"""Making, importing, updating and addressing keys."""

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.sandbox.wire import Wire, b64, unb64, version_of


def number(text: str) -> int:
    return int.from_bytes(unb64(text), "big")


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_rsa_sizes(wire: Wire, name: str, size: int) -> None:
    key = wire.create(name, "RSA-HSM", key_size=size)["key"]
    assert number(key["n"]).bit_length() == size
    assert key["e"] == "AQAB"


@pytest.mark.parametrize(("exponent", "text"), [(3, "Aw"), (17, "EQ")])
def test_rsa_public_exponent(wire: Wire, name: str, exponent: int, text: str) -> None:
    assert wire.create(name, "RSA-HSM", public_exponent=exponent)["key"]["e"] == text


@pytest.mark.parametrize(("curve", "length"), [("P-256", 32), ("P-256K", 32), ("P-384", 48), ("P-521", 66)])
def test_curves(wire: Wire, name: str, curve: str, length: int) -> None:
    key = wire.create(name, crv=curve)["key"]
    assert key["crv"] == curve
    assert (len(unb64(key["x"])), len(unb64(key["y"]))) == (length, length)


@pytest.mark.parametrize("size", [128, 192, 256])
def test_oct_sizes_show_no_material(wire: Wire, name: str, size: int) -> None:
    assert set(wire.create(name, "oct-HSM", key_size=size)["key"]) == {"kid", "kty", "key_ops"}


@pytest.mark.parametrize(("asked", "made"), [("RSA", "RSA-HSM"), ("EC", "EC-HSM"), ("oct", "oct-HSM")])
def test_kty_without_hsm_is_turned(wire: Wire, name: str, asked: str, made: str) -> None:
    assert wire.create(name, asked)["key"]["kty"] == made


def test_defaults(wire: Wire, names: Any) -> None:
    key = wire.create(names(), "RSA")["key"]
    assert number(key["n"]).bit_length() == 2048
    assert set(key["key_ops"]) == {"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
    key = wire.create(names(), "EC")["key"]
    assert (key["crv"], set(key["key_ops"])) == ("P-256", {"sign", "verify"})
    assert len(wire.create(names(), "oct")["key"]["key_ops"]) == 7
    assert len(wire.create(names(), "RSA", key_ops=[])["key"]["key_ops"]) == 6


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kty": ""},
        {"kty": "OKP-HSM"},
        {"kty": 5},
        {"kty": "RSA", "key_size": 1024},
        {"kty": "RSA", "key_size": "2048"},
        {"kty": "RSA", "public_exponent": 4},
        {"kty": "EC", "crv": "P-224"},
        {"kty": "oct", "key_size": 512},
        {"kty": "EC", "key_ops": ["fly"]},
        {"kty": "EC", "key_ops": "sign"},
        {"kty": "EC", "attributes": []},
        {"kty": "EC", "attributes": {"enabled": "yes"}},
        {"kty": "EC", "attributes": {"nbf": "tomorrow"}},
        {"kty": "EC", "attributes": {"exp": -1}},
        {"kty": "EC", "attributes": {"exportable": True}},
        {"kty": "EC", "tags": {"a": 1}},
        {"kty": "EC", "tags": {"a": "b" * 257}},
        {"kty": "EC", "tags": {str(number): "" for number in range(16)}},
        {"kty": "EC", "release_policy": {}},
    ],
)
def test_create_refuses(wire: Wire, name: str, body: dict[str, Any]) -> None:
    assert wire.call("POST", f"/keys/{name}/create", body).error == (400, "BadParameter")
    assert wire.call("GET", f"/keys/{name}").status == 404


def test_missing_kty_says_so(wire: Wire, name: str) -> None:
    assert wire.call("PUT", f"/keys/{name}", {"key": {}}).message == "JSON Web Key: kty is missing"


@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"', b"\xff"])
def test_body_must_be_a_json_object(wire: Wire, name: str, content: bytes) -> None:
    assert wire.call("POST", f"/keys/{name}/create", content).error == (400, "BadParameter")


@pytest.mark.parametrize("bad", ["invalidName%21@%23$", "a_b", "a.b", "%C3%A4", "a" * 128])
def test_key_name_rule(wire: Wire, bad: str) -> None:
    for method, path in (
        ("POST", f"/keys/{bad}/create"),
        ("GET", f"/keys/{bad}"),
        ("DELETE", f"/deletedkeys/{bad}"),
    ):
        answer = wire.call(method, path, {"kty": "EC"} if method == "POST" else None)
        assert answer.error == (400, "BadParameter")
        assert answer.message == "Invalid key identifier or name"


def test_longest_name(wire: Wire) -> None:
    name = "0-" + "aZ" * 62 + "9"
    assert len(name) == 127
    assert f"/keys/{name}/" in wire.create(name)["key"]["kid"]


def test_names_are_found_in_any_case_and_keep_their_own(wire: Wire, name: str) -> None:
    made = wire.create(name.upper())
    again = wire.create(name)
    assert version_of(again) != version_of(made)
    assert wire.ok("GET", f"/keys/{name}")["key"]["kid"] == again["key"]["kid"]
    assert f"/keys/{name.upper()}/" in again["key"]["kid"]


def test_create_over_a_live_name_makes_a_version(wire: Wire, name: str) -> None:
    first, second = wire.create(name), wire.create(name, "oct-HSM")
    assert version_of(first) != version_of(second)
    assert re.fullmatch("[0-9a-f]{32}", version_of(first))
    assert wire.ok("GET", f"/keys/{name}") == second
    assert wire.ok("GET", f"/keys/{name}/{version_of(first)}") == first
    listed = wire.ok("GET", f"/keys/{name}/versions")["value"]
    assert [item["kid"] for item in listed] == [first["key"]["kid"], second["key"]["kid"]]


@pytest.mark.parametrize("path", ["", "/", "//"])
def test_get_latest_by_every_spelling(wire: Wire, name: str, path: str) -> None:
    made = wire.create(name)
    assert wire.ok("GET", f"/keys/{name}{path}") == made


def test_operation_on_empty_and_named_version(wire: Wire, name: str) -> None:
    first, second = wire.create(name), wire.create(name)
    body = {"alg": "ES256", "value": b64(bytes(32))}
    spellings = {
        f"/keys/{name}/sign": second,
        f"/keys/{name}//sign": second,
        f"/keys/{name}//sign/": second,
        f"/keys/{name}/{version_of(first)}/sign": first,
    }
    for path, signer in spellings.items():
        assert wire.ok("POST", path, body)["kid"] == signer["key"]["kid"]


def test_trailing_slashes(wire: Wire, name: str) -> None:
    assert wire.call("POST", f"/keys/{name}/create/", {"kty": "EC"}).status == 200
    for method, path in (
        ("GET", "/keys/"),
        ("GET", f"/keys/{name}/versions/"),
        ("POST", f"/keys/{name}/backup/"),
        ("DELETE", f"/keys/{name}/"),
        ("GET", f"/deletedkeys/{name}/"),
        ("GET", "/deletedkeys/"),
        ("POST", f"/deletedkeys/{name}/recover/"),
    ):
        assert wire.call(method, path).status == 200, path


def test_unknown_version_is_not_found(wire: Wire, name: str) -> None:
    wire.create(name)
    answer = wire.call("GET", f"/keys/{name}/{'0' * 32}")
    assert answer.error == (404, "KeyNotFound")
    assert answer.message.endswith(f"/keys/{name}/{'0' * 32}")


@pytest.mark.parametrize("version", ["7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"])
def test_api_versions(wire: Wire, version: str) -> None:
    assert wire.call("GET", "/keys", version=version).status == 200


def test_api_version_is_needed_and_known(wire: Wire) -> None:
    assert wire.send("GET", "/keys", headers=wire.authorization()).error == (400, "BadParameter")
    for version in ("7.0", "7.1", "2099-01-01", "7.4-preview"):
        assert wire.call("GET", "/keys", version=version).error == (400, "BadParameter")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/keys/a/fly"), ("PUT", "/keys/a/restore"), ("PUT", "/keys/a/sign")],
)
def test_unknown_action(wire: Wire, method: str, path: str) -> None:
    answer = wire.call(method, path, {})
    assert answer.error == (400, "NotSupported")
    assert answer.message == f"action '{path.rpartition('/')[2]}' not supported"


def test_unknown_paths_and_methods(wire: Wire) -> None:
    assert wire.call("GET", "/").status == 404
    assert wire.call("GET", "/secrets").status == 404
    assert wire.call("DELETE", "/keys").status == 405
    assert wire.call("POST", "/deletedkeys/a").status == 405


def test_update_changes_what_it_names(wire: Wire, name: str) -> None:
    made = wire.create(name, tags={"a": "b"}, attributes={"exp": 4102444800})
    wire.server.advance_clock(2)
    changed = wire.ok("PATCH", f"/keys/{name}/{version_of(made)}", {"attributes": {"enabled": False}})
    assert changed["attributes"]["enabled"] is False
    assert changed["attributes"]["exp"] == 4102444800
    assert changed["attributes"]["created"] == made["attributes"]["created"]
    assert changed["attributes"]["updated"] > made["attributes"]["updated"]
    assert changed["tags"] == {"a": "b"}
    assert changed["key"] == made["key"]
    assert wire.ok("GET", f"/keys/{name}") == changed


def test_update_with_no_key_ops_drops_the_field(wire: Wire, name: str) -> None:
    wire.create(name)
    changed = wire.ok("PATCH", f"/keys/{name}/", {"key_ops": [], "tags": {}})
    assert "key_ops" not in changed["key"]
    assert "tags" not in changed


def test_update_touches_one_version(wire: Wire, name: str) -> None:
    first, second = wire.create(name), wire.create(name)
    wire.ok("PATCH", f"/keys/{name}/{version_of(first)}", {"tags": {"old": "yes"}})
    assert wire.ok("GET", f"/keys/{name}") == second


def test_import_rsa(wire: Wire, name: str) -> None:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    parts = {
        "n": numbers.public_numbers.n,
        "e": 65537,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    jwk = {
        member: b64(value.to_bytes((value.bit_length() + 7) // 8, "big")) for member, value in parts.items()
    }
    made = wire.ok("PUT", f"/keys/{name}", {"Hsm": True, "key": {"kty": "RSA", "key_ops": ["sign"], **jwk}})
    assert (made["key"]["kty"], made["key"]["n"], made["key"]["key_ops"]) == ("RSA-HSM", jwk["n"], ["sign"])


def test_import_ec_and_oct(wire: Wire, names: Any) -> None:
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    public = numbers.public_numbers
    jwk = {
        member: b64(value.to_bytes(32, "big"))
        for member, value in (("x", public.x), ("y", public.y), ("d", numbers.private_value))
    }
    made = wire.ok("PUT", f"/keys/{names()}", {"key": {"kty": "EC", "crv": "P-256", **jwk}})
    assert (made["key"]["kty"], made["key"]["x"]) == ("EC-HSM", jwk["x"])
    assert "d" not in made["key"]
    made = wire.ok("PUT", f"/keys/{names()}", {"key": {"kty": "oct-HSM", "k": b64(bytes(32))}})
    assert made["key"]["kty"] == "oct-HSM"
    assert "k" not in made["key"]


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        {"kty": "RSA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQ", "p": "AQ", "q": "AQ"},
        {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ", "d": "AQ"},
        {"kty": "EC", "crv": "P-1", "x": "AQ", "y": "AQ", "d": "AQ"},
        {"kty": "oct", "k": "AQ"},
        {"kty": "oct", "k": 7},
    ],
)
def test_import_refuses(wire: Wire, name: str, jwk: Any) -> None:
    assert wire.call("PUT", f"/keys/{name}", {"key": jwk}).error == (400, "BadParameter")


def test_exportable_key_keeps_its_release_policy(wire: Wire, name: str) -> None:
    policy = {"data": b64(b'{"version":"1.0.0"}')}
    made = wire.create(name, attributes={"exportable": True}, release_policy=policy)
    expected = {"contentType": "application/json; charset=utf-8", "immutable": False, **policy}
    assert made["release_policy"] == expected
    assert made["attributes"]["exportable"] is True
