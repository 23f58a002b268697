"""Every recorded operation of the real service against the sandbox: status, headers, fields, forms, errors.

Needs the recordings, which are no part of this tree: KEYMANAGER_TEST_RECORDINGS names their folder. Left out,
as the sandbox does not offer them: secure key release, selective restore with what it blocks meanwhile, and
preview versions.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.roles import RESTORE_USER
from tests.sandbox.assertions import ask_with_assertion, assertion, claims, make_pair
from tests.sandbox.recordings import Exchange, Replay, Session, load, load_directory
from tests.sandbox.wire import Answer, Wire
from tests.sandbox_server import RegisteredApp, SandboxServer, Secret

VARIABLE = "KEYMANAGER_TEST_RECORDINGS"
FOLDER = os.environ.get(VARIABLE)
SESSIONS = load(Path(FOLDER)) if FOLDER else []
DIRECTORY = load_directory(Path(FOLDER)) if FOLDER else []
needs_recordings = pytest.mark.skipif(
    not SESSIONS, reason=f"{VARIABLE} names no recordings: shapes were compared with our own fixtures only"
)

# Not in every recording: request ids were removed by some recorders, dates by most.
SOMETIMES = {"x-ms-request-id", "date", "retry-after"}
FIXED = (
    "cache-control",
    "content-security-policy",
    "content-type",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
)
# Fields that came with the age of the service.
AGE = {"release_policy.immutable"}
FORMS = {
    "kid": r"https://[^/]+/keys/[0-9a-zA-Z-]+(/[0-9a-f]{32})?",
    "recoveryId": r"https://[^/]+/deletedkeys/[0-9a-zA-Z-]+",
    "recoveryLevel": r"(Customized)?Recoverable(\+Purgeable)?",
    "nextLink": r"https://[^/]+/(deleted)?keys(/[0-9a-zA-Z-]+/versions)?\?maxresults=\d+&\$skiptoken=[\w-]+",
    "message": r".* \(Activity ID: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)",
}
# The length of the modulus of a key of 1,024 bits, which the service still had in 2020 from before.
OLD_MODULUS = 171
LENGTHS = {"n", "x", "y", "e", "iv", "tag"}
SAME = {"kty", "crv", "alg", "enabled", "nbf", "exp", "code", "e", "aad"}
# In a list each entry has fields of its own.
OPTIONAL_IN_LISTS = {"tags", "nbf", "exp"}


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    """A sandbox of its own, since the number of roles and of assignments is limited."""
    with SandboxServer() as server:
        yield Wire(server)


@needs_recordings
@pytest.mark.parametrize("session", SESSIONS, ids=repr)
def test_session(wire: Wire, session: Session) -> None:
    replay = Replay(wire, f"r{session.number}-")
    for number, exchange in enumerate(session.exchanges):
        answer = replay.answer(exchange)
        where = f"{number}: {exchange.method} {exchange.path}"
        assert answer.status == exchange.answer.status, f"{where}: {answer.body}"
        compare_headers(exchange, answer, where)
        if exchange.answer.status == 401:
            assert answer.body is None, "older recordings say OK here; the service of today says nothing"
        else:
            compare(exchange.answer.body, answer.body, where)


@needs_recordings
def test_every_operation_was_compared() -> None:
    compared = {exchange.op for session in SESSIONS for exchange in session.exchanges}
    assert compared >= {
        "create", "import", "get", "get-version", "list", "list-versions", "update", "delete", "get-deleted",
        "list-deleted", "recover", "purge", "backup", "restore", "sign", "verify", "encrypt", "decrypt",
        "unwrapkey", "rng", "rbac", "rotationpolicy",
    }  # fmt: skip


@needs_recordings
def test_built_in_roles(wire: Wire) -> None:
    """Names, titles and data actions, the newest list that was recorded against ours."""

    def facts(body: Any) -> dict[str, tuple[str, set[str]]]:
        built_in = [item for item in body["value"] if item["properties"]["type"] == "AKVBuiltInRole"]
        return {
            item["name"]: (
                item["properties"]["roleName"],
                set(item["properties"]["permissions"][0]["dataActions"]),
            )
            for item in built_in
        }

    lists = [
        exchange.answer.body
        for session in SESSIONS
        for exchange in session.exchanges
        if exchange.op == "rbac" and exchange.path.endswith("/roleDefinitions")
    ]
    assert lists
    ours = facts(wire.ok("GET", "/keys/providers/Microsoft.Authorization/roleDefinitions"))
    recorded = facts(lists[-1])
    assert set(ours) - set(recorded) == {RESTORE_USER.name}, "documented since"
    assert {name: ours[name] for name in recorded} == recorded


# Sent by some of the directory's servers only, or removed by some recorders.
DIRECTORY_SOMETIMES = SOMETIMES | {"x-xss-protection", "x-ms-clitelem", "status_code", "set-cookie"}


@needs_recordings
@pytest.mark.parametrize("exchange", [item for item in DIRECTORY if item.answer.status == 200], ids=str)
def test_directory_answers(wire: Wire, exchange: Exchange) -> None:
    answer = ask_directory(wire, exchange)
    assert answer.status == 200
    compare_directory_headers(exchange, answer)
    # An application gets no refresh or identity token, and the scope is told to users' clients only.
    of_users = {"refresh_token", "id_token", "client_info", "scope", "foci"}
    recorded, ours = set(exchange.answer.body) - of_users, set(answer.body)
    assert ours - {"rbac_url"} == recorded - {"rbac_url", "tenant_region_sub_scope", "kerberos_endpoint"}
    for name in recorded & ours - {"expires_in", "ext_expires_in"}:
        assert type(answer.body[name]) is type(exchange.answer.body[name]), name


@needs_recordings
@pytest.mark.parametrize("exchange", [item for item in DIRECTORY if item.answer.status == 401], ids=str)
def test_directory_refusals(wire: Wire, exchange: Exchange) -> None:
    answer = ask_with_bad_proof(wire, *exchange.answer.body["error_codes"])
    assert answer.status == 401
    compare_directory_headers(exchange, answer)
    assert set(answer.body) == set(exchange.answer.body)
    assert answer.body["error"] == exchange.answer.body["error"]
    forms = [r"AADSTS\d+: .*", "Trace ID: [0-9a-f-]{36}", "Correlation ID: [0-9a-f-]{36}", r"Timestamp: .*Z"]
    for body in (answer.body, exchange.answer.body):
        for line, form in zip(body["error_description"].split("\r\n"), forms, strict=True):
            assert re.fullmatch(form, line), line
    assert answer.body["error_codes"] == exchange.answer.body["error_codes"]
    first, recorded = (
        item["error_description"].split("\r\n")[0] for item in (answer.body, exchange.answer.body)
    )
    if answer.body["error_codes"] == [7000215]:
        assert first == recorded
    else:
        form = r"(AADSTS700027: .* \[Reason - .*\., Thumbprint of key used by client: )'[0-9A-F]{40}', .*"
        ours, theirs = (re.fullmatch(form, text) for text in (first, recorded))
        assert ours is not None
        assert theirs is not None
        assert ours[1] == theirs[1]


def ask_with_bad_proof(wire: Wire, code: int) -> Answer:
    """With a certificate that nobody registered, or with a wrong secret."""
    who = RegisteredApp(wire.server.application_id, "", Secret("", "wrong"))
    if code == 700027:
        pair = make_pair()
        token = assertion(pair, claims(wire.server, who), "RS256", x5t=pair.thumbprint("sha1"))
        return ask_with_assertion(wire.server, who, token)
    wrong = {"client_id": who.application_id, "client_secret": who.secret.value}
    return wire.ask_for_token(scope=f"{wire.server.audience}/.default", **wrong)


def ask_directory(wire: Wire, exchange: Exchange) -> Answer:
    if exchange.op == "token":
        return wire.fetch_token(wire.server.audience)
    if exchange.op == "instance":
        return wire.send("GET", "/common/discovery/instance?api-version=1.1&authorization_endpoint=x")
    return wire.send("GET", f"/{wire.server.tenant}/v2.0/.well-known/openid-configuration")


def compare_directory_headers(exchange: Exchange, answer: Answer) -> None:
    recorded = exchange.answer.headers
    assert set(answer.headers) - DIRECTORY_SOMETIMES == set(recorded) - DIRECTORY_SOMETIMES
    for name in (
        "cache-control",
        "content-type",
        "p3p",
        "strict-transport-security",
        "x-content-type-options",
    ):
        assert answer.headers[name] == recorded[name], name


def compare_headers(exchange: Exchange, answer: Answer, where: str) -> None:
    recorded = exchange.answer.headers
    assert set(answer.headers) - SOMETIMES == set(recorded) - SOMETIMES, where
    for name in FIXED:
        assert answer.headers[name] == recorded[name], f"{where}: {name}"
    if "www-authenticate" in recorded:
        form = r'Bearer authorization="https://[^/"]+/[0-9a-f-]{36}", resource="https://[^/"]+"'
        for header in (answer.headers["www-authenticate"], recorded["www-authenticate"]):
            assert re.fullmatch(form, header), f"{where}: {header}"


def compare(recorded: Any, ours: Any, where: str, path: str = "") -> None:
    """The same fields and kinds of values at every level; for values whose form is known, that form."""
    assert type(ours) is type(recorded), f"{where}{path}: {ours!r} for {recorded!r}"
    if isinstance(recorded, dict):
        compare_fields(recorded, ours, where, path)
    elif isinstance(recorded, list):
        compare_entries(recorded, ours, where, path)
    else:
        compare_value(recorded, ours, where, path)


def compare_fields(recorded: dict[str, Any], ours: dict[str, Any], where: str, path: str) -> None:
    different = {f"{path}.{name}".lstrip(".") for name in set(recorded) ^ set(ours)} - AGE
    if path.startswith(".value[]"):
        different = {name for name in different if name.rpartition(".")[2] not in OPTIONAL_IN_LISTS}
    different -= {"nextLink"} if "value" in recorded else set()
    assert not different, f"{where}: {different}"
    for name in set(recorded) & set(ours):
        compare(recorded[name], ours[name], where, f"{path}.{name}")


def compare_entries(recorded: list[Any], ours: list[Any], where: str, path: str) -> None:
    """key_ops is a set, of which the defaults grew over the years; other lists have entries of one kind."""
    if path.endswith("key_ops"):
        grown = {"deriveKey", "sign", "verify"} if len(ours) == 7 else set()
        assert set(recorded) ^ set(ours) <= grown, f"{where}{path}"
    elif recorded and ours:
        compare(recorded[0], ours[0], where, f"{path}[]")


def compare_value(recorded: Any, ours: Any, where: str, path: str) -> None:
    name = path.rpartition(".")[2]
    if name in FORMS:
        for text in (recorded, ours):
            assert re.fullmatch(FORMS[name], text), f"{where}{path}: {text}"
    if name in LENGTHS and not (name == "n" and len(recorded) == OLD_MODULUS):
        assert len(ours) == len(recorded), f"{where}{path}"
    if name in SAME and "[]" not in path:
        assert ours == recorded, f"{where}{path}"
    if name == "message":
        assert plain_message(ours) == plain_message(recorded), where


def plain_message(text: str) -> str:
    """An error's text without its activity id, host and our prefix of key names."""
    text = re.sub(r" \(Activity ID: .*", "", text)
    return re.sub(r"https://[^/]+(/[a-z]+/)(r\d+-)?", r"\1", text)
