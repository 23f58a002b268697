"""Where a secret could be left behind: files, database rows, broker, messages, pages, processes."""

import os
import socket
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

import psycopg
import redis
import requests

from demo.person import Person
from tests.services import PostgresServer, Stack

Places = dict[str, bytes]
SEALED_FOR = {"private.json", "recovery-private.json"}


# --- Files and processes -------------------------------------------------------------------------


def files(stack: Stack) -> Places:
    """All that the installation keeps, but for the other side (the sandbox) and the private sealing keys."""
    found = [path for path in stack.directory.rglob("*") if path.is_file() and not _other(stack, path)]
    return {str(path.relative_to(stack.directory)): path.read_bytes() for path in found}


def _other(stack: Stack, path: Path) -> bool:
    if path.parent == stack.installation.sealing_keys:
        return path.name in SEALED_FOR
    return path.is_relative_to(stack.installation.sandbox_data)


def processes(stack: Stack) -> Places:
    """Command line and environment of every process, pools included."""
    found = {}
    for name in stack.children:
        for pid in pids(stack, name):
            for what in ("cmdline", "environ"):
                # A pool may replace a process while we look.
                with suppress(FileNotFoundError, ProcessLookupError):
                    found[f"{name} {pid} {what}"] = Path(f"/proc/{pid}/{what}").read_bytes()
    return found


def pids(stack: Stack, name: str) -> list[int]:
    """The process and all it started: each child leads a session of its own."""
    leader = stack.children[name].pid
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in numbers if _session(pid) == leader]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def memory(pid: int) -> Iterator[bytes]:
    """Everything that the process can write to, range by range. Raises PermissionError."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as content:
        for span in (line.split()[0] for line in lines if line.split()[1].startswith("rw")):
            start, end = (int(number, 16) for number in span.split("-"))
            content.seek(start)
            # A range may go while we look; what it held is gone with it.
            with suppress(OSError):
                yield content.read(end - start)


# --- Database ------------------------------------------------------------------------------------


class Database(ABC):
    """The stack's database, seen past Django."""

    url = ""

    @abstractmethod
    def run(self, statement: str) -> None: ...

    @abstractmethod
    def files(self) -> Places:
        """Files that are not in the stack's own directory."""

    @abstractmethod
    def rows(self) -> Places:
        """Each table's values, whole: a file may hold them in pieces or compressed."""

    @contextmanager
    def without(self, table: str) -> Iterator[None]:
        """Whatever needs this table fails meanwhile."""
        self.run(f'ALTER TABLE "{table}" RENAME TO "{table}_away"')
        try:
            yield
        finally:
            self.run(f'ALTER TABLE "{table}_away" RENAME TO "{table}"')


class Sqlite(Database):
    path = Path()

    @contextmanager
    def watched(self, path: Path) -> Iterator[None]:
        """The file; its write-ahead log stays while this connection does, instead of going with the last."""
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
            yield

    def run(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            connection.execute(statement)
            connection.commit()

    def files(self) -> Places:
        return {}

    def rows(self) -> Places:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return {
                f"table {name}": _flat(connection.execute(f'SELECT * FROM "{name}"')) for (name,) in tables
            }


def _flat(rows: Any) -> bytes:
    values = (value for row in rows for value in row if value is not None)
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


class Postgres(Database):
    """A database of its own on the server. The server's catalogues, which hold names only, are left out."""

    OURS = """
        SELECT pg_relation_filepath(pg_class.oid) FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind IN ('r', 'i', 't') AND (nspname IN ('public', 'pg_toast') OR relname = 'pg_statistic')
    """

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.url = server.create_database(f"secrets-{token_hex(4)}")
        self._began = self._log_position()

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _query(self, statement: str) -> list[Any]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()

    def _log_position(self) -> tuple[str, int]:
        """The segment of the write-ahead log, and how many bytes of it are written."""
        name, offset = self._query("SELECT * FROM pg_walfile_name_offset(pg_current_wal_insert_lsn())")[0]
        return str(name), int(offset)

    def files(self) -> Places:
        """The tables' and indexes' files, the write-ahead log since the beginning, and the server's log."""
        self.run("CHECKPOINT")
        names = [str(name) for (name,) in self._query(self.OURS) if name]
        found = {f"postgres/{name}": (self.server.data / name).read_bytes() for name in names}
        found["postgres/log"] = (self.server.directory / "postgres.log").read_bytes()
        return found | self._write_ahead_log()

    def _write_ahead_log(self) -> Places:
        (first, skipped), (last, written) = self._began, self._log_position()
        found = {}
        for path in (self.server.data / "pg_wal").iterdir():
            if path.is_file() and first <= path.name <= last:
                data = path.read_bytes()[: written if path.name == last else None]
                found[f"postgres/pg_wal/{path.name}"] = data[skipped if path.name == first else 0 :]
        return found

    def rows(self) -> Places:
        tables = self._query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {f"table {name}": _flat(self._query(f'SELECT * FROM "{name}"')) for (name,) in tables}


# --- Broker --------------------------------------------------------------------------------------


class Monitor:
    """Every command that reaches the broker while this lasts, messages to workers among them."""

    def __init__(self, path: Path) -> None:
        self.seen = bytearray()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._socket.sendall(b"MONITOR\r\n")
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(timeout=5)
        self._socket.close()

    def _read(self) -> None:
        while data := self._socket.recv(1 << 16):
            self.seen += data


def broker_values(path: Path) -> Places:
    """The value of every key that the broker holds."""
    client = redis.Redis(unix_socket_path=str(path), socket_timeout=10)
    try:
        return {f"broker key {name!r}": _value(client, name) for name in client.scan_iter()}
    finally:
        client.close()


def _value(client: Any, name: bytes) -> bytes:
    readers = {
        b"string": lambda: client.get(name),
        b"list": lambda: client.lrange(name, 0, -1),
        b"set": lambda: client.smembers(name),
        b"zset": lambda: client.zrange(name, 0, -1),
        b"hash": lambda: client.hgetall(name),
        b"stream": lambda: client.xrange(name),
    }
    found = readers[client.type(name)]()
    return name + b"\n" + (found if isinstance(found, bytes) else repr(found).encode())


# --- Pages ---------------------------------------------------------------------------------------


class WatchedPerson(Person):
    """Keeps every answer of the console, redirects and refusals too: address, headers, body."""

    def __init__(self, address: str, seen: Places) -> None:
        super().__init__(address)
        self._seen = seen
        self._session.hooks["response"].append(self._keep)

    def _keep(self, response: requests.Response, *_: Any, **__: Any) -> None:
        title = f"{len(self._seen)} {response.request.method} {response.url} {response.status_code}"
        headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        self._seen[title] = f"{response.url}\n{headers}\n\n".encode() + response.content

    def post_blindly(self, path: str, **answers: str) -> int:
        """Send a form without its token; the status."""
        return self._session.post(self.address + path, data=answers, timeout=20).status_code
