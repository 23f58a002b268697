"""Keys in bulk: many, fast, past the pace, and the sandbox answers meanwhile."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.hsm import MAX_KEYS
from tests.sandbox.wire import Wire, b64
from tests.sandbox_server import SandboxServer


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(("localhost=here", "second.localhost=there"), pace="azure") as running:
        yield running


@pytest.fixture
def wire(server: SandboxServer) -> Wire:
    return Wire(server)


def test_names_type_tags_and_dates(server: SandboxServer, wire: Wire) -> None:
    key = {"kty": "EC-HSM", "crv": "P-384", "tags": {"for": "bulk"}, "attributes": {"enabled": False}}
    made = server.bulk(12, "user-{n:4}-a", start=7, key=key)
    assert (made["made"], made["first"], made["last"]) == (12, "user-0007-a", "user-0018-a")
    found = wire.ok("GET", "/keys/user-0018-a")
    assert (found["key"]["crv"], found["tags"]) == ("P-384", {"for": "bulk"})
    assert found["attributes"]["enabled"] is False
    assert wire.call("GET", "/keys/user-0019-a").status == 404


def test_rsa_keys_share_a_pool(server: SandboxServer, wire: Wire) -> None:
    server.bulk(9, "rsa-{n}", key={"kty": "RSA-HSM", "key_size": 2048}, pool=2)
    moduli = [wire.ok("GET", f"/keys/rsa-{number}")["key"]["n"] for number in range(1, 10)]
    assert len(set(moduli)) == 2
    answer = wire.ok("POST", "/keys/rsa-9/sign", {"alg": "PS256", "value": b64(bytes(32))})
    assert answer["kid"].split("/")[-2] == "rsa-9"


def test_a_pool_of_nought_means_a_key_each(server: SandboxServer, wire: Wire) -> None:
    server.bulk(3, "own-{n}", key={"kty": "RSA-HSM", "key_size": 2048}, pool=0)
    assert len({wire.ok("GET", f"/keys/own-{number}")["key"]["n"] for number in (1, 2, 3)}) == 3


def test_on_the_hsm_named(server: SandboxServer) -> None:
    server.bulk(2, "there-{n}", key={"kty": "EC-HSM"}, hsm="second.localhost")
    assert Wire(server, "second.localhost").ok("GET", "/keys/there-2")
    assert Wire(server).call("GET", "/keys/there-2").status == 404


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"count": 0}, "count must be a whole number from 1"),
        ({"count": MAX_KEYS + 1}, "count must be up to 5000"),
        ({"count": 1, "name": "plain"}, "name must have {n}"),
        ({"count": 1, "name": "{n}-{n}"}, "in one place"),
        ({"count": 1, "name": "a b-{n}"}, "Invalid key identifier or name"),
        ({"count": 1, "key": {"kty": "EC-HSM", "crv": "P-1"}}, "Invalid curve"),
        ({"count": 1, "key": {}}, "kty is missing"),
        ({"count": 1, "pool": -1}, "pool must be a whole number from 0"),
    ],
)
def test_orders_that_make_no_sense(server: SandboxServer, order: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError, match="400") as caught:
        server.control("POST", "bulk", {"name": "x-{n}", "key": {"kty": "EC-HSM"}, **order})
    assert message in str(caught.value)


def test_a_taken_name_or_a_full_hsm_makes_nothing(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    wire.create("k-3")
    with pytest.raises(RuntimeError, match="The name k-3 is taken"):
        own_server.bulk(5, "k-{n}", key={"kty": "EC-HSM"})
    assert wire.call("GET", "/keys/k-1").status == 404
    with pytest.raises(RuntimeError, match="There is room for 4999 more keys"):
        own_server.bulk(MAX_KEYS, "j-{n}", key={"kty": "oct-HSM"})


def test_the_sandbox_answers_meanwhile(own_server: SandboxServer) -> None:
    """Two thousand keys; a client that reads during that time never waits long."""
    wire = Wire(own_server)
    wire.create("first")
    done: dict[str, Any] = {}
    worker = threading.Thread(target=lambda: done.update(own_server.bulk(2000, key={"kty": "EC-HSM"})))
    worker.start()
    waits = []
    while worker.is_alive():
        began = time.monotonic()
        wire.ok("GET", "/keys/first")
        waits.append(time.monotonic() - began)
    worker.join()
    assert done["made"] == 2000
    assert len(waits) > 10
    assert max(waits) < max(0.5, done["seconds"] / 4)
