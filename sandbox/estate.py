"""The data directory: what one sandbox consists of, made at first start and kept.

``sandbox.sqlite3`` holds all state, ``ca.pem`` is the certificate authority for clients to trust,
``address.json`` says where the sandbox listens, ``control-token`` opens the control API. Only the owner may
read any of it.
"""

import fcntl
import json
import os
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from sandbox import roles
from sandbox.backup import DOMAIN_KEY_BYTES
from sandbox.clock import Clock
from sandbox.database import Database
from sandbox.directory import DEFAULT_APP, Directory
from sandbox.hsm import MAX_RETENTION, MIN_RETENTION, HsmSettings
from sandbox.keystore import KeyStore
from sandbox.tokens import new_signing_key
from sandbox.trouble_rules import Document

DEFAULT_HOSTNAME = "localhost"
SECRET_LIFETIME = timedelta(days=730)


class SandboxError(Exception):
    """The sandbox cannot do what its operator asked; the message says what to do."""


@dataclass(frozen=True)
class HsmOptions:
    """An HSM to serve. An empty ``security_domain`` means one of its own."""

    name: str
    security_domain: str = ""


@dataclass(frozen=True)
class Options:
    """``retention_days`` None keeps what an HSM has, and is the service's 90 for a new one."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    hsms: tuple[HsmOptions, ...] = (HsmOptions(DEFAULT_HOSTNAME),)
    purge_protection: bool = False
    retention_days: int | None = None
    token_lifetime: int | None = None
    trouble: Document = field(default_factory=Document)
    pace: str = "off"


@dataclass
class Estate:
    """An open data directory."""

    data: Path
    database: Database
    directory: Directory = field(init=False)
    keys: KeyStore = field(init=False)

    def __post_init__(self) -> None:
        self.directory = Directory(self.database)
        self.keys = KeyStore(self.database)

    @classmethod
    def open(cls, data: Path) -> "Estate":
        """Open what an earlier start made. Raises SandboxError where there is nothing."""
        path = data / "sandbox.sqlite3"
        if not path.exists():
            raise SandboxError(f"No sandbox has been started with the data directory {data} yet")
        return cls(data, Database(path))

    @classmethod
    def prepare(cls, options: Options, clock: Clock) -> "Estate":
        """Open the directory, making what is missing. Idempotent. Raises SandboxError for what is fixed."""
        options.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        estate = cls(options.data, Database(options.data / "sandbox.sqlite3"))
        try:
            with estate.database.transaction():
                estate._ensure_settings()
                for hsm in options.hsms:
                    estate._ensure_hsm(hsm, options)
                estate._ensure_default_app(clock.now(), [hsm.name for hsm in options.hsms])
            estate._publish_control_token()
        except BaseException:
            estate.close()
            raise
        return estate

    def close(self) -> None:
        self.database.close()

    def setting(self, name: str) -> str:
        row = self.database.row("SELECT value FROM setting WHERE name = ?", name)
        if row is None:
            raise SandboxError(f"The data directory {self.data} lacks the setting {name}")
        return str(row["value"])

    def hsm(self, name: str) -> HsmSettings:
        row = self.database.row(
            "SELECT hsm.name, retention_days, purge_protection, backup_key FROM hsm "
            "JOIN security_domain ON security_domain.name = hsm.security_domain WHERE hsm.name = ?",
            name,
        )
        if row is None:
            raise SandboxError(f"There is no HSM named {name}")
        return HsmSettings(
            row["name"], row["retention_days"], bool(row["purge_protection"]), bytes(row["backup_key"])
        )

    def write_address(self, port: int, hsms: tuple[HsmOptions, ...]) -> None:
        content = {"port": port, "hsms": [hsm.name for hsm in hsms], "pid": os.getpid()}
        replace_file(self.data / "address.json", json.dumps(content).encode())

    def read_address(self) -> tuple[int, list[str]]:
        """Port and HSM names of the last start. Raises SandboxError where there was none."""
        try:
            content = json.loads((self.data / "address.json").read_text())
        except FileNotFoundError as err:
            raise SandboxError(f"The sandbox in {self.data} has never listened") from err
        return int(content["port"]), [str(name) for name in content["hsms"]]

    def _ensure_settings(self) -> None:
        makers: dict[str, Callable[[], str]] = {
            "tenant": lambda: str(uuid.uuid4()),
            "signing_key": new_signing_key,
            "control_token": secrets.token_urlsafe,
        }
        for name, make in makers.items():
            if self.database.row("SELECT 1 FROM setting WHERE name = ?", name) is None:
                self.database.write("INSERT INTO setting VALUES (?, ?)", name, make())

    def _ensure_hsm(self, wanted: HsmOptions, options: Options) -> None:
        domain = wanted.security_domain or wanted.name
        row = self.database.row("SELECT * FROM hsm WHERE name = ?", wanted.name)
        if row is None:
            self._make_hsm(wanted.name, domain, options)
            return
        _refuse_change(wanted.name, "security domain", row["security_domain"], wanted.security_domain or None)
        _refuse_change(wanted.name, "retention in days", row["retention_days"], options.retention_days)
        if options.purge_protection:
            self.database.write("UPDATE hsm SET purge_protection = 1 WHERE name = ?", wanted.name)

    def _make_hsm(self, name: str, domain: str, options: Options) -> None:
        days = MAX_RETENTION if options.retention_days is None else options.retention_days
        if not MIN_RETENTION <= days <= MAX_RETENTION:
            raise SandboxError(f"Retention must be {MIN_RETENTION} to {MAX_RETENTION} days, not {days}")
        self.database.write(
            "INSERT OR IGNORE INTO security_domain VALUES (?, ?)",
            domain,
            secrets.token_bytes(DOMAIN_KEY_BYTES),
        )
        self.database.write(
            "INSERT INTO hsm VALUES (?, ?, ?, ?)", name, domain, days, int(options.purge_protection)
        )

    def _ensure_default_app(self, now: datetime, hsms: list[str]) -> None:
        """One application that may do everything with keys, on every HSM where nobody has a role yet."""
        app = self.directory.default_app()
        if app is None:
            app = self.directory.add_app(DEFAULT_APP)
            self.directory.add_secret(app.application_id, now, now + SECRET_LIFETIME)
        for hsm in hsms:
            if not self.directory.assignments(hsm):
                self.directory.assign(hsm, app.object_id, roles.CRYPTO_USER.name)
                self.directory.assign(hsm, app.object_id, roles.CRYPTO_OFFICER.name)

    def _publish_control_token(self) -> None:
        replace_file(self.data / "control-token", self.setting("control_token").encode())


def _refuse_change(hsm: str, what: str, current: object, wanted: object) -> None:
    if wanted is not None and wanted != current:
        raise SandboxError(
            f"The {what} of the HSM {hsm} was fixed when it was made ({current}); "
            f"use another data directory for {wanted}"
        )


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def lock(data: Path) -> IO[bytes]:
    """Hold the data directory until the file is closed. Raises SandboxError where another process does."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (data / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        file.close()
        raise SandboxError(f"Another sandbox is using the data directory {data}") from err
    return file
