"""Encrypt, decrypt, wrap and unwrap."""

from typing import Any

import pytest

from tests.sandbox.wire import Wire, b64, unb64


@pytest.mark.parametrize("algorithm", ["RSA1_5", "RSA-OAEP", "RSA-OAEP-256"])
def test_rsa(wire: Wire, name: str, algorithm: str) -> None:
    wire.create(name, "RSA-HSM")
    for seal, undo in (("encrypt", "decrypt"), ("wrapkey", "unwrapkey")):
        sealed = wire.ok("POST", f"/keys/{name}/{seal}", {"alg": algorithm, "value": b64(b"secret")})
        assert len(unb64(sealed["value"])) == 256
        opened = wire.ok("POST", f"/keys/{name}/{undo}", {"alg": algorithm, "value": sealed["value"]})
        assert unb64(opened["value"]) == b"secret"
        too_long = {"alg": algorithm, "value": b64(bytes(250))}
        assert wire.call("POST", f"/keys/{name}/{seal}", too_long).error == (400, "BadParameter")


@pytest.mark.parametrize("size", [128, 192, 256])
@pytest.mark.parametrize("mode", ["GCM", "CBC", "CBCPAD"])
def test_aes(wire: Wire, name: str, size: int, mode: str) -> None:
    wire.create(name, "oct-HSM", key_size=size)
    asked: dict[str, Any] = {"alg": f"A{size}{mode}", "value": b64(b"sixteen bytes ..")}
    asked |= {"aad": b64(b"context")} if mode == "GCM" else {"iv": b64(bytes(range(16)))}
    sealed = wire.ok("POST", f"/keys/{name}/encrypt", asked)
    assert sealed["value"] != asked["value"]
    assert wire.ok("POST", f"/keys/{name}/decrypt", sealed)["value"] == asked["value"]
    other = next(number for number in (128, 192, 256) if number != size)
    wrong = asked | {"alg": f"A{other}{mode}"}
    assert wire.call("POST", f"/keys/{name}/encrypt", wrong).error == (400, "BadParameter")


def test_gcm_notices_changes(wire: Wire, name: str) -> None:
    wire.create(name, "oct-HSM")
    sealed = wire.ok(
        "POST", f"/keys/{name}/encrypt", {"alg": "A256GCM", "value": b64(b"x"), "aad": b64(b"y")}
    )
    for member in ("value", "aad", "tag", "iv"):
        changed = sealed | {member: b64(bytes(len(unb64(sealed[member]))))}
        assert wire.call("POST", f"/keys/{name}/decrypt", changed).error == (400, "BadParameter")


def test_cbc_pads_with_zeros_that_stay(wire: Wire, name: str) -> None:
    wire.create(name, "oct-HSM")
    asked = {"alg": "A256CBC", "value": b64(b"x" * 20), "iv": b64(bytes(16))}
    sealed = wire.ok("POST", f"/keys/{name}/encrypt", asked)
    opened = wire.ok("POST", f"/keys/{name}/decrypt", asked | {"value": sealed["value"]})
    assert unb64(opened["value"]) == b"x" * 20 + bytes(12)


@pytest.mark.parametrize("size", [128, 192, 256])
def test_aes_key_wrap(wire: Wire, name: str, size: int) -> None:
    wire.create(name, "oct-HSM", key_size=size)
    algorithm = f"A{size}KW"
    wrapped = wire.ok("POST", f"/keys/{name}/wrapkey", {"alg": algorithm, "value": b64(bytes(32))})
    assert len(unb64(wrapped["value"])) == 40
    asked = {"alg": algorithm, "value": wrapped["value"]}
    assert unb64(wire.ok("POST", f"/keys/{name}/unwrapkey", asked)["value"]) == bytes(32)
    other = "A128KW" if size != 128 else "A256KW"
    for body in (asked | {"value": b64(bytes(40))}, asked | {"alg": other}, asked | {"alg": "RSA-OAEP"}):
        assert wire.call("POST", f"/keys/{name}/unwrapkey", body).error == (400, "BadParameter")


@pytest.mark.parametrize(
    "body",
    [
        {"alg": "A256CBCPAD", "value": "eA", "iv": "AAAA"},
        {"alg": "RSA-OAEP", "value": "eA"},
        {"alg": 7, "value": "eA"},
        {"alg": "A256GCM"},
    ],
)
def test_encrypt_refuses(wire: Wire, name: str, body: dict[str, Any]) -> None:
    wire.create(name, "oct-HSM")
    assert wire.call("POST", f"/keys/{name}/encrypt", body).error == (400, "BadParameter")


def test_ec_keys_do_not_encrypt(wire: Wire, name: str) -> None:
    wire.create(name, key_ops=["encrypt", "wrapKey"])
    for operation in ("encrypt", "wrapkey"):
        body = {"alg": "A256GCM", "value": "eA"}
        assert wire.call("POST", f"/keys/{name}/{operation}", body).error == (400, "BadParameter")


@pytest.mark.parametrize(
    ("attributes", "state"),
    [
        ({"enabled": False}, "a disabled"),
        ({"nbf": 4102444800}, "a not yet valid"),
        ({"exp": 1000}, "an expired"),
    ],
)
def test_outside_its_time_a_key_seals_nothing_and_opens_what_it_sealed(
    wire: Wire, name: str, attributes: dict[str, Any], state: str
) -> None:
    wire.create(name, "oct-HSM")
    encrypting, wrapping = {"alg": "A256GCM", "value": "eA"}, {"alg": "A256KW", "value": b64(bytes(16))}
    encrypted = wire.ok("POST", f"/keys/{name}/encrypt", encrypting)
    wrapped = wire.ok("POST", f"/keys/{name}/wrapkey", wrapping)
    wire.ok("PATCH", f"/keys/{name}/", {"attributes": attributes})
    for path, body, operation in (("encrypt", encrypting, "encrypt"), ("wrapkey", wrapping, "wrapKey")):
        refused = wire.call("POST", f"/keys/{name}/{path}", body)
        assert refused.error == (403, "Forbidden")
        assert refused.message == f"Operation {operation} is not allowed on {state} key."
    assert wire.ok("POST", f"/keys/{name}/decrypt", encrypted)["value"] == "eA"
    asked = {"alg": "A256KW", "value": wrapped["value"]}
    assert wire.ok("POST", f"/keys/{name}/unwrapkey", asked)["value"] == wrapping["value"]


@pytest.mark.parametrize("operation", ["encrypt", "decrypt", "wrapKey", "unwrapKey"])
def test_key_ops_are_kept_to(wire: Wire, name: str, operation: str) -> None:
    others = [item for item in ("encrypt", "decrypt", "wrapKey", "unwrapKey") if item != operation]
    wire.create(name, "oct-HSM", key_ops=others)
    algorithm = "A256KW" if operation.lower().endswith("wrapkey") else "A256GCM"
    asked = {"alg": algorithm, "value": b64(bytes(24))}
    refused = wire.call("POST", f"/keys/{name}/{operation.lower()}", asked)
    assert refused.error == (403, "Forbidden")
    assert refused.message == f"Operation {operation} is not permitted on this key."
    wire.ok("PATCH", f"/keys/{name}/", {"key_ops": [operation]})
    assert wire.call("POST", f"/keys/{name}/{operation.lower()}", asked).status in {200, 400}


@pytest.mark.parametrize("count", [0, 129, "8", True, None])
def test_random_bytes_are_1_to_128(wire: Wire, count: Any) -> None:
    assert wire.call("POST", "/rng", {"count": count}).error == (400, "BadParameter")
    assert len(unb64(wire.ok("POST", "/rng", {"count": 128})["value"])) == 128
