"""The demo's supervisor: starts every process in the right order, walks, watches, stops. No Django here."""

import fcntl
import json
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any, Self

from demo import prepare
from demo.installation import Installation
from demo.processes import (
    Child,
    ProcessFailed,
    accepts_socket,
    accepts_tcp,
    answers_http,
    free_port,
    short_directory,
    stop_all,
    wait_until,
)
from demo.report import say, step
from demo.walk import Walk, WalkFailed

WEB_PORT, SANDBOX_PORT = 8000, 8443
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Linux takes 107 bytes, macOS 103.
LONGEST_SOCKET_PATH = 100
READY_SECONDS = 60.0
PREPARE_SECONDS = 120.0


class Stopped(BaseException):
    """Somebody asked us to stop: Ctrl-C, SIGTERM, or a closed terminal."""


class InUse(Exception):
    """Another demo works in the same folder."""


class NoDemo(Exception):
    """No demo was ever started in the folder."""


@dataclass
class State:
    """What one run hands to the next: the secret key, and the ports that stored addresses contain."""

    secret_key: str
    web_port: int
    sandbox_port: int

    @classmethod
    def load(cls, home: Path) -> Self:
        """The last run's state, or a new one; ports that somebody else took since are replaced."""
        file = home / "state.json"
        old = cls._stored(file)
        state = cls(
            secret_key=old.get("secret_key") or secrets.token_urlsafe(50),
            web_port=free_port(old.get("web_port", WEB_PORT)),
            sandbox_port=free_port(old.get("sandbox_port", SANDBOX_PORT)),
        )
        file.touch(mode=0o600)
        file.write_text(json.dumps(vars(state)))
        return state

    @classmethod
    def of_last_run(cls, home: Path) -> Self:
        """As it is, for use beside a running demo. Raises NoDemo."""
        stored = cls._stored(home / "state.json")
        if "secret_key" not in stored:
            raise NoDemo(f"No demo was started in {home} yet. Start one: it prints passwords.")
        return cls(**stored)

    @staticmethod
    def _stored(file: Path) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return stored


@contextmanager
def owned(home: Path) -> Iterator[None]:
    """Hold the folder for this process alone. Raises InUse."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "lock").open("a+") as lock:
        _take(lock, home)
        yield


def _take(lock: IO[str], home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        raise InUse(f"A demo is running in {home} already. Stop it first (Ctrl-C in its terminal).") from err


def reset(home: Path) -> None:
    """Forget everything. Raises InUse while a demo runs there."""
    if home.exists():
        with owned(home):
            shutil.rmtree(home)


def new_passwords(home: Path) -> None:
    """Give the accounts of the four roles new passwords, and say them; the demo may be running meanwhile.

    Raises NoDemo, or ProcessFailed.
    """
    home = home.resolve()
    installation = Installation(home=home, run=home / "run", **vars(State.of_last_run(home)))
    child = installation.preparation("--renew", *prepare.ROLES)
    child.start()
    say_passwords(prepare.passwords(child.result(seconds=PREPARE_SECONDS)))


def say_passwords(people: dict[str, str]) -> None:
    for name, password in people.items():
        say(f"  {name:<14} {password}")
    say("These passwords are shown once; `make demo-passwords` makes new ones.\n")


def socket_folder(home: Path) -> Path:
    """Where the broker's socket goes: at home, unless that makes its path too long for a socket."""
    folder = home / "run"
    if len(str(folder / "broker.sock")) > LONGEST_SOCKET_PATH:
        return short_directory("key-manager-")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def last_error(log: Path) -> str:
    """The last event that a process logged as an error; empty without one."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for line in reversed(lines):
        if '"level": "error"' in line:
            return str(json.loads(line)["event"])
    return ""


class Supervisor:
    """Owns every process of one demo from start to stop."""

    def __init__(self, home: Path, *, once: bool) -> None:
        self.home = home.resolve()
        self.once = once
        self.children: list[Child] = []
        self._sockets: Path | None = None
        self._may_stop, self._stopping = True, False

    def run(self) -> int:
        """The whole demo; the exit code. Whatever happens, no process is left."""
        for number in SIGNALS:
            signal.signal(number, self._stop)
        try:
            with owned(self.home):
                return self._owning()
        except Stopped:
            return 130 if self.once else 0
        except InUse as err:
            say(str(err))
            return 1

    def _owning(self) -> int:
        try:
            return self._run(socket_folder(self.home))
        except Stopped:
            say("Stopping.")
            raise
        except (ProcessFailed, WalkFailed) as err:
            self._explain(err)
            return 1
        finally:
            self._may_stop = False
            stop_all(reversed(self.children))
            if self._sockets is not None:
                shutil.rmtree(self._sockets, ignore_errors=True)

    def _run(self, sockets: Path) -> int:
        self._sockets = sockets
        shutil.rmtree(self.home / "logs", ignore_errors=True)
        installation = Installation(home=self.home, run=sockets, **vars(State.load(self.home)))
        with step("Processes that need no database: broker, sandbox HSM"):
            self._start(installation.broker(), installation.sandbox())
        with step("Sealing keys, tables, licence, accounts"):
            passwords = self._prepare(installation)
        with step("Console, worker and beat"):
            self._start(installation.web(), installation.worker(), installation.beat())
            self._wait_ready(installation)
        self._introduce(installation, passwords)
        Walk(installation, passwords=passwords).run()
        if self.once:
            stop_all(reversed(self.children))
            say("DEMO OK")
            return 0
        self._show_the_way(installation)
        return self._watch()

    def _start(self, *children: Child) -> None:
        for child in children:
            with self._signals_wait():
                self.children.append(child)
                child.start()

    @contextmanager
    def _signals_wait(self) -> Iterator[None]:
        """A signal meanwhile stops us right after: in the midst of a start its process would be forgotten."""
        self._may_stop = False
        yield
        self._may_stop = True
        if self._stopping:
            raise Stopped

    def _prepare(self, installation: Installation) -> dict[str, str]:
        child = installation.preparation("--renew", *prepare.WALK_ACCOUNTS)
        self._start(child)
        made = prepare.passwords(child.result(seconds=PREPARE_SECONDS))
        self.children.remove(child)
        return made

    def _wait_ready(self, installation: Installation) -> None:
        checks = {
            "the broker": lambda: accepts_socket(installation.broker_socket),
            "the sandbox HSM": lambda: accepts_tcp(installation.sandbox_port),
            "the console": lambda: answers_http(installation.web_port, "/login/"),
            "the worker": installation.worker_answers,
        }
        deadline = time.monotonic() + READY_SECONDS
        for name, ready in checks.items():
            seconds = max(1.0, deadline - time.monotonic())
            wait_until(ready, what=f"{name} is ready", seconds=seconds, children=self.children)

    def _introduce(self, installation: Installation, passwords: dict[str, str]) -> None:
        people = {name: password for name, password in passwords.items() if name not in prepare.WALK_ACCOUNTS}
        say(f"\nThe console: {installation.url}")
        if people:
            say_passwords(people)
        else:
            say("The accounts keep their passwords; `make demo-passwords` makes new ones.\n")

    def _show_the_way(self, installation: Installation) -> None:
        credentials = f"{Path(sys.executable)} -m sandbox credentials --data {installation.sandbox_data}"
        say(f"\nOpen {installation.url} and sign in as operator or administrator. Where to click:")
        say(f"  {installation.url}/cryptosources/cryptosource/   the crypto source, its connection test")
        say(f"  {installation.url}/keys/managedkey/              the walk's keys; generate, sign, back up")
        say(f"  {installation.url}/keys/keyoperation/            what each operation did")
        say("What the form of a crypto source of your own wants to know, the sandbox HSM tells:")
        say(f"  {credentials}")
        say(f"Logs: {self.home / 'logs'}")
        say("Ctrl-C stops it.")

    def _watch(self) -> int:
        """Stay until somebody stops us or a process ends. Raises ProcessFailed for the latter."""
        while True:
            for child in self.children:
                if not child.alive:
                    raise ProcessFailed(child.obituary())
            time.sleep(0.5)

    def _explain(self, err: Exception) -> None:
        say(f"\nFAILED: {err}")
        for child in self.children:
            if not child.alive and child.name not in str(err):
                say(child.obituary())
            elif child.alive and (event := last_error(child.log)):
                say(f"{child.name} logged: {event}")
        if self.children:
            say(f"Logs: {self.home / 'logs'}")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        if self._may_stop:
            raise Stopped
