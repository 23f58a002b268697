"""Trouble on the wire: what a client sees of each effect, and what took effect behind its back."""

import http.client
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.test_running import run
from tests.sandbox.wire import Answer, Wire, b64, version_of
from tests.sandbox_server import ROOT, SandboxServer

SIGN = {"alg": "ES256", "value": b64(bytes(32))}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def running() -> Iterator[SandboxServer]:
    with SandboxServer(("localhost=here", "second.localhost=here")) as server:
        yield server


@pytest.fixture
def server(running: SandboxServer) -> Iterator[SandboxServer]:
    yield running
    running.end_trouble()
    running.pace("off")


@pytest.fixture
def wire(server: SandboxServer) -> Wire:
    """Has its token already."""
    made = Wire(server)
    made.authorization()
    return made


@pytest.fixture
def key(wire: Wire) -> str:
    name = f"trouble-{next(_numbers)}"
    wire.create(name)
    wire.server.reset_requests()
    return name


def sign(wire: Wire, key: str) -> Answer:
    return wire.call("POST", f"/keys/{key}/sign", SIGN)


def lost(wire: Wire, method: str, path: str, body: Any = None) -> type[BaseException]:
    """How a request without an answer ends for its client; waits for a second at most."""
    wire.close()
    connection = wire._connect()
    connection.timeout = 1.0
    with pytest.raises((OSError, http.client.HTTPException)) as caught:
        wire.call(method, path, body)
    return caught.type


# --- On the wire --------------------------------------------------------------------------------


def test_latency(server: SandboxServer, wire: Wire, key: str) -> None:
    server.trouble("latency", operations=["sign"], seconds=0.5, next=1)
    began = time.monotonic()
    assert sign(wire, key).status == 200
    assert time.monotonic() - began >= 0.5
    assert wire.call("GET", f"/keys/{key}").status == 200


@pytest.mark.parametrize("retry_after", [None, 9])
def test_throttled_as_publicly_reported(
    server: SandboxServer, wire: Wire, key: str, retry_after: int | None
) -> None:
    server.trouble("throttle", next=1, **({} if retry_after is None else {"retry_after": retry_after}))
    answer = sign(wire, key)
    assert answer.error == (429, "Throttled")
    assert answer.message.startswith("Request was not processed because too many requests were received.")
    assert answer.headers.get("retry-after") == (None if retry_after is None else "9")
    assert sign(wire, key).status == 200


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_errors(server: SandboxServer, wire: Wire, key: str, status: int, moment: str) -> None:
    server.trouble("error", status=status, moment=moment)
    answer = sign(wire, key)
    assert answer.status == status
    assert answer.message
    assert server.effects().get("sign", 0) == (moment == "after")
    assert server.requests() == {f"sign {status}": 1}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_reset(server: SandboxServer, wire: Wire, key: str, moment: str) -> None:
    server.trouble("reset", operations=["delete"], moment=moment, next=1)
    assert issubclass(lost(wire, "DELETE", f"/keys/{key}"), ConnectionResetError)
    assert server.requests() == {"delete reset": 1}
    assert server.effects() == ({"delete": 1} if moment == "after" else {})
    assert wire.call("GET", f"/keys/{key}").status == (404 if moment == "after" else 200)


def test_a_reset_is_one_for_tcp(server: SandboxServer, wire: Wire) -> None:
    """Looked at below TLS, above which Python shows a reset as an end in peace."""
    token = wire.authorization()["Authorization"]
    host = f"localhost:{server.port}"
    request = f"GET /keys?api-version=7.4 HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n\r\n"
    server.trouble("reset", operations=["list"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.ssl_context().wrap_bio(incoming, outgoing, server_hostname="localhost")

    def exchange(step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                received = plain.recv(65536)
                assert received, "an end in peace"
                incoming.write(received)
            else:
                return

    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
        exchange(tls.do_handshake)
        tls.write(request.encode())
        with pytest.raises(ConnectionResetError):
            exchange(tls.read)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_hang(server: SandboxServer, wire: Wire, key: str, moment: str) -> None:
    server.trouble("hang", operations=["delete"], moment=moment, next=1)
    began = time.monotonic()
    assert issubclass(lost(wire, "DELETE", f"/keys/{key}"), TimeoutError)
    assert time.monotonic() - began >= 0.9
    assert server.requests() == {"delete hang": 1}
    assert wire.call("GET", f"/keys/{key}").status == (404 if moment == "after" else 200)


def test_a_hanging_request_does_not_keep_the_sandbox_from_stopping(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    wire.authorization()
    own_server.trouble("hang")
    connection = wire._connect()
    connection.request("GET", "/keys?api-version=7.4", headers=wire.authorization())
    began = time.monotonic()
    assert own_server.stop() == 0
    assert time.monotonic() - began < 6


def test_deny(server: SandboxServer, wire: Wire, key: str) -> None:
    server.trouble("deny", operations=["sign"], next=1)
    answer = sign(wire, key)
    assert answer.error == (403, "AccessDenied")
    assert (
        answer.message
        == f"Not authorized to access Microsoft.KeyVault/managedHsm/keys/sign/action on /keys/{key}"
    )
    assert sign(wire, key).status == 200


# --- Tokens -------------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [False, True])
def test_a_revoked_token_stays_revoked(server: SandboxServer, wire: Wire, key: str, claims: bool) -> None:
    server.trouble("revoke-token", next=1, claims=claims)
    for _ in range(2):
        answer = sign(wire, key)
        assert (answer.status, answer.body) == (401, None)
        assert ("claims=" in answer.headers["www-authenticate"]) is claims
    assert server.effects() == {}
    wire.tokens.clear()
    assert sign(wire, key).status == 200


def test_a_token_that_ends_before_it_says(server: SandboxServer, key: str) -> None:
    server.trouble("short-token", seconds=30)
    wire = Wire(server)
    answer = wire.fetch_token(wire.audience)
    assert answer.body["expires_in"] == 86399
    wire.tokens[wire.audience] = answer.body["access_token"]
    assert sign(wire, key).status == 200
    server.advance_clock(31)
    assert sign(wire, key).status == 401


def test_the_token_endpoint_in_trouble(server: SandboxServer, wire: Wire, key: str) -> None:
    """Only it, and only for one application: the HSM goes on answering, and others are signed in."""
    server.trouble("error", operations=["token"], application=server.application_id, status=503)
    other = server.add_app()
    assert Wire(server, application_id=other.application_id, secret=other.secret.value).authorization()
    assert sign(wire, key).status == 200
    answer = wire.fetch_token(wire.audience)
    assert (answer.status, answer.body["error"]) == (503, "temporarily_unavailable")
    assert answer.body["error_codes"] == [90033]


def test_the_token_endpoint_throttles_in_plain_text(server: SandboxServer, wire: Wire) -> None:
    server.trouble("throttle", operations=["token"], retry_after=60)
    connection = wire._connect()
    connection.request("POST", f"/{server.tenant}/oauth2/v2.0/token", "grant_type=client_credentials")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (429, b"Too Many Requests")
    assert answer.headers["Retry-After"] == "60"
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_the_token_endpoint_without_an_answer(server: SandboxServer, wire: Wire) -> None:
    server.trouble("reset", operations=["token"], next=1)
    with pytest.raises(ConnectionResetError):
        wire.fetch_token(wire.audience)
    assert server.requests()["entra oauth2/v2.0/token reset"] == 1
    assert wire.fetch_token(wire.audience).status == 200


@pytest.mark.parametrize("effect", ["throttle", "error", "reset"])
def test_graph(server: SandboxServer, effect: str) -> None:
    """A password that Graph added, though its answer never came: the client cannot know it."""
    asker = server.add_app(grants=["Application.ReadWrite.All"])
    graph = Wire(server, application_id=asker.application_id, secret=asker.secret.value)
    token = graph.fetch_token("https://graph.microsoft.com").body["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    path = f"/v1.0/applications(appId='{asker.application_id}')/addPassword"
    members: dict[str, dict[str, Any]] = {
        "throttle": {"retry_after": 3},
        "error": {"status": 503},
        "reset": {"moment": "after"},
    }
    server.reset_requests()
    server.trouble(effect, operations=["graph addPassword"], next=1, **members[effect])
    if effect == "reset":
        with pytest.raises(ConnectionResetError):
            graph.send("POST", path, {}, headers)
        assert server.effects() == {"graph addPassword": 1}
        assert len(server.secrets(asker.application_id)) == 2
        return
    answer = graph.send("POST", path, {}, headers)
    wanted = {"throttle": (429, "TooManyRequests"), "error": (503, "serviceNotAvailable")}
    assert answer.error == wanted[effect]
    assert answer.headers.get("retry-after") == ("3" if effect == "throttle" else None)
    assert server.effects() == {}
    assert graph.send("POST", path, {}, headers).status == 200


# --- Clocks, rights, purges, regions ------------------------------------------------------------


def _date(answer: Answer) -> datetime:
    return parsedate_to_datetime(answer.headers["date"])


def test_a_clock_that_is_wrong_shows_in_dates_and_judges_tokens(
    server: SandboxServer, wire: Wire, key: str
) -> None:
    honest = _date(sign(wire, key))
    server.trouble("skew", clock="hsm", seconds=600)
    answer = sign(wire, key)
    assert answer.status == 200
    assert 600 <= (_date(answer) - honest).total_seconds() < 660
    server.end_trouble()
    server.trouble("skew", clock="hsm", seconds=-7200)
    assert sign(wire, key).status == 401


def test_a_role_that_is_lost_is_lost_to_those_who_look(server: SandboxServer, wire: Wire, key: str) -> None:
    path = "/providers/Microsoft.Authorization/roleAssignments"
    before = wire.ok("GET", path)["value"]
    server.trouble("lose-role", role="Managed HSM Crypto User", hsm="localhost", for_=60)
    assert sign(wire, key).error == (403, "AccessDenied")
    wire.tokens.clear()
    server.advance_clock(61)
    assert sign(wire, key).status == 200
    server.trouble("lose-role", role="Crypto Officer", application=server.application_id)
    left = wire.ok("GET", path)["value"]
    assert len(left) == len(before) - 1
    assert sign(wire, key).status == 200
    server.end_trouble()
    assert wire.ok("GET", path)["value"] == before


def test_a_window_after_a_purge(server: SandboxServer, wire: Wire, key: str) -> None:
    server.trouble("purge-window", seconds=30)
    blob = wire.ok("POST", f"/keys/{key}/backup")
    wire.delete(key)
    wire.purge(key)
    for method, path, body in (
        ("POST", "/keys/restore", blob),
        ("POST", f"/keys/{key.upper()}/create", {"kty": "EC-HSM"}),
    ):
        answer = wire.call(method, path, body)
        assert answer.error == (409, "Conflict")
        assert "is currently being deleted" in answer.message
    assert wire.call("GET", f"/keys/{key}").status == 404
    wire.create(f"{key}-other")
    server.advance_clock(31)
    wire.ok("POST", "/keys/restore", blob)


def names_in(wire: Wire, path: str) -> Iterator[str]:
    """The names on every page of a list."""
    while path:
        page = wire.ok("GET", path)
        yield from (item["kid"].rpartition("/")[2] for item in page["value"])
        path = (page.get("nextLink") or "").removeprefix(wire.server.address())


def test_another_region_sees_changes_late(server: SandboxServer, wire: Wire, key: str) -> None:
    """The application ``far`` is served by the other region, the own one writes."""
    other = server.add_app()
    far = Wire(server, application_id=other.application_id, secret=other.secret.value)
    server.trouble("lag", application=other.application_id, seconds=60)

    def names(path: str) -> set[str]:
        return set(names_in(far, path)) & {key, f"{key}-2"}

    wire.create(f"{key}-2")
    assert far.call("GET", f"/keys/{key}-2").status == 404
    assert names("/keys") == {key}
    wire.delete(key)
    assert sign(far, key).status == 200
    assert names("/keys") == {key}
    assert names("/deletedkeys") == set()
    wire.purge(key)
    assert far.call("POST", f"/keys/{key}/create", {"kty": "EC-HSM"}).status == 200
    wire.delete(key)
    server.advance_clock(61)
    assert sign(far, key).status == 404
    assert names("/keys") == {f"{key}-2"}
    assert names("/deletedkeys") == {key}


def test_a_late_region_never_writes_twice(server: SandboxServer, wire: Wire, key: str) -> None:
    other = server.add_app()
    far = Wire(server, application_id=other.application_id, secret=other.secret.value)
    blob = wire.ok("POST", f"/keys/{key}/backup")
    server.trouble("lag", application=other.application_id, seconds=60)
    wire.delete(key)
    assert far.call("DELETE", f"/keys/{key}").status == 404
    assert far.call("POST", f"/keys/{key}/create", {"kty": "EC-HSM"}).error == (409, "Conflict")
    wire.purge(key)
    assert far.call("PATCH", f"/keys/{key}", {"tags": {"a": "b"}}).status == 404
    made = wire.ok("POST", "/keys/restore", blob)
    assert far.call("POST", "/keys/restore", blob).error == (409, "Conflict")
    wire.delete(key)
    wire.purge(key)
    server.advance_clock(61)
    assert wire.ok("POST", "/keys/restore", blob) == made
    assert far.call("GET", f"/keys/{key}").status == 404
    assert far.call("POST", "/keys/restore", blob).error == (409, "Conflict")
    assert [version_of({"key": item}) for item in wire.ok("GET", f"/keys/{key}/versions")["value"]] == [
        version_of(made)
    ]


# --- The control API and the file ---------------------------------------------------------------


def test_rules_are_listed_counted_and_removed(server: SandboxServer, wire: Wire, key: str) -> None:
    first = server.trouble("throttle", id="busy", next=1)
    second = server.trouble("reset", operations=["purge"])
    sign(wire, key)
    sign(wire, key)
    rules = server.control("GET", "trouble")["rules"]
    assert [(item["rule"]["id"], item["matched"], item["hits"], item["in_force"]) for item in rules] == [
        (first, 2, 1, False),
        (second, 0, 0, True),
    ]
    assert server.trouble_hits() == {"busy": 1, second: 0}
    server.end_trouble("busy")
    assert server.trouble_hits() == {second: 0}
    with pytest.raises(RuntimeError, match="404"):
        server.end_trouble("busy")


def test_of_a_bad_document_nothing_is_loaded(server: SandboxServer) -> None:
    rules = [{"effect": "reset"}, {"effect": "fire"}]
    with pytest.raises(RuntimeError, match=r"400 .*Rule 2 \(rule-2\): effect must be one of"):
        server.control("POST", "trouble", {"rules": rules})
    assert server.trouble_hits() == {}


def test_control_is_never_in_trouble(server: SandboxServer) -> None:
    server.trouble("reset")
    assert server.control("GET", "state")["hsms"]


def test_a_file_at_the_start(tmp_path: Path) -> None:
    with SandboxServer(trouble=ROOT / "docs" / "sandbox" / "trouble.toml", pace="azure") as running:
        assert "slow-signatures" in running.trouble_hits()
        assert running.control("GET", "pace") == {"pace": "azure"}


@pytest.mark.parametrize("program", [("-m", "sandbox"), ("manage.py", "sandbox")])
def test_a_bad_file_stops_the_start(tmp_path: Path, program: tuple[str, ...]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[[rules]]\neffect = "throttle"\nevery = 0\n')
    data = tmp_path / "data"
    done = run(
        "--port", "0", "--data", str(data), "--trouble", str(file), program=program,
        KEYMANAGER_SECRET_KEY="x", KEYMANAGER_DEMO="1", KEYMANAGER_DATABASE_URL="sqlite://:memory:",
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{file}: Rule 1 (rule-1): every must be a whole number from 1, not 0" in done.stderr
    assert not data.exists(), "nothing is half made"
