"""The hunt finds what is planted, in every place and every dress; else its silence would prove nothing."""

import base64
import html
import json
import os
import pickle
import secrets
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
import requests
from django.core import signing

from tests.security.needles import CHUNK, Hunt
from tests.security.places import Monitor, Postgres, Sqlite, WatchedPerson, broker_values, memory
from tests.services import Broker, PostgresServer, not_proven

SECRET = "q7~" + secrets.token_urlsafe(28)
BLOB = secrets.token_bytes(9000)
Dress = Callable[[bytes], bytes]

DRESSES: dict[str, Dress] = {
    "plain": lambda value: value,
    "hex": lambda value: value.hex().encode(),
    "HEX": lambda value: value.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
    "UTF-16": lambda value: value.decode("latin-1").encode("utf-16-le"),
    "percent": lambda value: quote(value, safe="").encode(),
    "base64 within base64": lambda value: base64.b64encode(b'{"a":"' + base64.b64encode(value) + b'"}'),
    "Celery's body": lambda value: base64.b64encode(json.dumps([[value.decode("latin-1")], {}, {}]).encode()),
    "pickle": pickle.dumps,
    "session": lambda value: signing.dumps({"a": value.hex() * 9}, key="k", compress=True).encode(),
}
TEXT_ONLY = {"Celery's body"}


@pytest.fixture(scope="module")
def hunt() -> Hunt:
    return Hunt({"secret": SECRET.encode(), "blob": BLOB})


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"\0" * (CHUNK - 5)])
def test_a_secret_in_any_dress(hunt: Hunt, dress: str, before: bytes) -> None:
    assert hunt.search(before + DRESSES[dress](SECRET.encode()) + b" and more") == {"secret"}


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_base64_at_any_alignment(hunt: Hunt, offset: int) -> None:
    assert hunt.search(base64.b64encode(b"x" * offset + SECRET.encode() + b"tail")) == {"secret"}


@pytest.mark.parametrize("dress", sorted(DRESSES.keys() - TEXT_ONLY))
def test_any_forty_bytes_of_a_blob(hunt: Hunt, dress: str) -> None:
    for start in (0, 1, 4321, len(BLOB) - 40):
        assert hunt.search(b"blob: " + DRESSES[dress](BLOB[start : start + 40])) == {"blob"}


def test_a_secret_cut_short(hunt: Hunt) -> None:
    assert hunt.search(f"key={SECRET[:16]}…".encode()) == {"secret"}


def test_nothing_where_nothing_is(hunt: Hunt) -> None:
    assert hunt.search(secrets.token_urlsafe(40_000).encode() + bytes(1000)) == set()
    packed = base64.urlsafe_b64encode(zlib.compress(b"harmless" * 9))
    assert hunt.search(packed + packed[: len(packed) // 2] + html.escape("<eJ>").encode()) == set()


def test_a_value_too_short_to_be_looked_for_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Hunt({"short": b"abc"})


# --- Planted in each place -------------------------------------------------------------------------


def test_in_a_database_row_its_file_and_its_log(hunt: Hunt, tmp_path: Path) -> None:
    database = Sqlite()
    database.path = tmp_path / "planted.sqlite3"
    connection = sqlite3.connect(database.path)
    connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE notes (note TEXT);")
    connection.execute("INSERT INTO notes VALUES (?)", [f"a secret: {SECRET}"])
    connection.commit()
    assert hunt.search(database.rows()["table notes"]) == {"secret"}
    assert hunt.search((tmp_path / "planted.sqlite3-wal").read_bytes()) == {"secret"}
    connection.close()
    assert hunt.search(database.path.read_bytes()) == {"secret"}


@pytest.mark.postgres
def test_in_postgresql(hunt: Hunt, postgres: PostgresServer) -> None:
    database = Postgres(postgres)
    database.run("CREATE TABLE notes (note text)")
    database.run(f"INSERT INTO notes VALUES ('a secret: {SECRET}')")
    assert hunt.search(database.rows()["table notes"]) == {"secret"}
    found = {name for name, data in database.files().items() if hunt.search(data)}
    assert {name.split("/")[1] for name in found} == {"base", "pg_wal"}


def test_in_the_broker(hunt: Hunt, broker: Broker) -> None:
    """As a message's body, as a command, and in each kind of value."""
    client = redis.Redis(unix_socket_path=str(broker.socket))
    with Monitor(broker.socket) as monitor:
        client.set("string", SECRET)
        client.lpush("list", json.dumps({"body": base64.b64encode(f'["{SECRET}"]'.encode()).decode()}))
        client.sadd("set", SECRET)
        client.zadd("zset", {SECRET: 1})
        client.hset("hash", "field", SECRET)
        client.xadd("stream", {"field": SECRET})
        client.ping()
    values = broker_values(broker.socket)
    assert len(values) == 6
    assert [place for place, data in values.items() if hunt.search(data) != {"secret"}] == []
    assert hunt.search(bytes(monitor.seen)) == {"secret"}


def test_in_an_answers_body_header_and_address(hunt: Hunt) -> None:
    for where in ("body", "header", "address"):
        seen: dict[str, bytes] = {}
        person = WatchedPerson("http://localhost", seen)
        answer = requests.Response()
        answer.request = requests.Request("GET", "http://localhost/").prepare()
        answer.status_code = 500
        answer.url = f"http://localhost/?key={quote(SECRET)}" if where == "address" else "http://localhost/"
        answer.headers["X-Note"] = SECRET if where == "header" else "none"
        answer._content = SECRET.encode() if where == "body" else b""
        person._keep(answer)
        assert [hunt.search(data) for data in seen.values()] == [{"secret"}]


def test_in_a_processes_memory() -> None:
    planted = secrets.token_bytes(32)
    try:
        assert any(planted in part for part in memory(os.getpid()))
    except PermissionError:
        not_proven("a look into a process's memory (needs the right to look)")
