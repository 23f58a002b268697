"""Backup blobs: their form, what they hold, where they open."""

import json

import pytest

from tests.sandbox.wire import Wire, b64, unb64, version_of
from tests.sandbox_server import SandboxServer

ONE, TWO, ELSEWHERE = "one.managedhsm.azure.net", "two.managedhsm.azure.net", "else.managedhsm.azure.net"


def blob_of(wire: Wire, name: str) -> str:
    return str(wire.ok("POST", f"/keys/{name}/backup")["value"])


def test_form(wire: Wire, name: str) -> None:
    wire.create(name)
    compact = unb64(blob_of(wire, name)).decode("ascii")
    header, direct, iv, ciphertext, tag = compact.split(".")
    expected = {"alg": "dir", "enc": "A256CBC-HS512", "kid": "backup-protection-key"}
    assert json.loads(unb64(header)) == expected
    assert direct == ""
    assert (len(unb64(iv)), len(unb64(tag)), len(unb64(ciphertext)) % 16) == (16, 32, 0)


def test_opaque_and_different_each_time(wire: Wire, name: str) -> None:
    made = wire.create(name)
    first, second = blob_of(wire, name), blob_of(wire, name)
    assert first != second
    for known in (name, version_of(made), made["key"]["x"]):
        assert known not in unb64(first).decode("ascii")


def test_size_as_of_the_real_service(wire: Wire, name: str) -> None:
    wire.create(name, "RSA-HSM")
    one = len(blob_of(wire, name))
    wire.create(name, "RSA-HSM")
    assert 20_000 < one < 24_000
    assert 9_500 < len(blob_of(wire, name)) - one < 11_500


def test_holds_all_versions_and_their_attributes(wire: Wire, name: str) -> None:
    first = wire.create(name, "RSA-HSM", tags={"a": "b"})
    second = wire.create(name, attributes={"exp": 4102444800, "enabled": False})
    blob = blob_of(wire, name)
    wire.delete(name)
    wire.purge(name)
    wire.server.advance_clock(5)
    assert wire.ok("POST", "/keys/restore", {"value": blob}) == second
    assert wire.ok("GET", f"/keys/{name}/{version_of(first)}") == first
    listed = wire.ok("GET", f"/keys/{name}/versions")["value"]
    assert [item["kid"] for item in listed] == [first["key"]["kid"], second["key"]["kid"]]


def test_later_changes_are_not_in_it(wire: Wire, name: str) -> None:
    made = wire.create(name)
    blob = blob_of(wire, name)
    wire.create(name)
    wire.delete(name)
    wire.purge(name)
    assert wire.ok("POST", "/keys/restore", {"value": blob}) == made


@pytest.mark.parametrize("value", [None, 7, "", "xx", "%%%", b64(b"a.b.c.d.e"), b64(b"a.b"), b64(b"\xff")])
def test_garbage(wire: Wire, value: object) -> None:
    assert wire.call("POST", "/keys/restore", {"value": value}).error == (400, "MalformedBackupBlob")


def test_a_changed_blob_does_not_open(wire: Wire, name: str) -> None:
    wire.create(name)
    parts = unb64(blob_of(wire, name)).decode("ascii").split(".")
    wire.delete(name)
    wire.purge(name)
    for index in (0, 2, 3, 4):
        changed = list(parts)
        changed[index] = ("B" if changed[index][0] != "B" else "C") + changed[index][1:]
        answer = wire.call("POST", "/keys/restore", {"value": b64(".".join(changed).encode())})
        assert answer.error == (400, "MalformedBackupBlob"), index


def test_opens_in_the_same_security_domain_only() -> None:
    with SandboxServer((f"{ONE}=shared", f"{TWO}=shared", ELSEWHERE)) as server:
        one, two, elsewhere = (Wire(server, host) for host in (ONE, TWO, ELSEWHERE))
        made = one.create("a")
        blob = {"value": blob_of(one, "a")}
        restored = two.ok("POST", "/keys/restore", blob)
        assert restored["key"]["kid"] == made["key"]["kid"].replace(ONE, TWO)
        assert restored["key"]["x"] == made["key"]["x"]
        assert restored["attributes"] == made["attributes"]
        refused = elsewhere.call("POST", "/keys/restore", blob)
        assert refused.error == (400, "MalformedBackupBlob")
        assert refused.message == (
            "Backup blob belongs to a different crypto domain and cannot be used with this instance."
        )
