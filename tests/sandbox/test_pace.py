"""The service's pace: published rates, a small burst, 429 above; switched on and off while it runs."""

import itertools
from contextlib import suppress

import pytest

from sandbox.errors import HsmError
from sandbox.keystore import Attributes, KeyVersion
from sandbox.material import KeySpec, generate
from sandbox.pace import BY_KEY, RATES, Pace, burst, kind_of
from tests.sandbox.wire import Wire
from tests.sandbox_server import SandboxServer

STEP = 0.0001


def admitted(op: str, seconds: float, version: KeyVersion | None = None) -> int:
    """How many operations a client gets through that asks without pause for so long."""
    ticks = itertools.count()
    pace = Pace(lambda: next(ticks) * STEP)
    count = 0
    for _ in range(int(seconds / STEP)):
        with suppress(HsmError):
            pace.require("localhost", op, version)
            count += 1
    return count


def version_for(spec: KeySpec) -> KeyVersion:
    public, private = generate(spec)
    return KeyVersion("0" * 32, spec.kty, public, private, Attributes(0, 0, ("sign",)))


SPECS = {
    "RSA 2048": KeySpec("RSA-HSM", size=2048),
    "RSA 3072": KeySpec("RSA-HSM", size=3072),
    **{curve: KeySpec("EC-HSM", curve=curve) for curve in ("P-256", "P-256K", "P-384", "P-521")},
}


@pytest.mark.parametrize("op", ["create", "backup", "restore", "delete", "purge", "get"])
def test_the_published_rate_and_a_burst(op: str) -> None:
    """Over two seconds: two seconds' worth and the burst, give or take one."""
    wanted = 2 * RATES[op] + burst(RATES[op])
    assert abs(admitted(op, 2) - wanted) <= 1


@pytest.mark.parametrize("kind", SPECS)
def test_signing_depends_on_the_key(kind: str) -> None:
    version = version_for(SPECS[kind])
    assert kind_of(version) == kind
    wanted = BY_KEY["sign"][kind] + burst(BY_KEY["sign"][kind])
    assert abs(admitted("sign", 1, version) - wanted) <= 1


def test_what_has_no_published_rate_is_not_held_back() -> None:
    secret = version_for(KeySpec("oct-HSM", size=256))
    assert admitted("sign", 1, secret) == admitted("update", 1) == 1 / STEP


def test_each_hsm_and_each_operation_for_itself() -> None:
    pace = Pace(lambda: 0.0)
    for hsm, op in itertools.product(("a", "b"), ("create", "purge")):
        for _ in range(2):
            pace.require(hsm, op, None)
        with pytest.raises(HsmError):
            pace.require(hsm, op, None)


def test_switched_on_and_off_on_a_live_sandbox(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    assert own_server.control("GET", "pace") == {"pace": "off"}
    for number in range(4):
        wire.create(f"free-{number}")
    own_server.pace("azure")
    own_server.reset_requests()
    answers = [wire.call("POST", f"/keys/held-{n}/create", {"kty": "EC-HSM"}) for n in range(6)]
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    assert refused[0].error == (429, "Throttled")
    assert "retry-after" not in refused[0].headers
    counts = own_server.requests()
    assert counts["create 200"] + counts["create 429"] == 6
    assert own_server.effects() == {"create": counts["create 200"]}
    own_server.pace("off")
    for number in range(4):
        wire.create(f"free-again-{number}")
    with pytest.raises(RuntimeError, match="pace must be one of off, azure"):
        own_server.pace("fast")
