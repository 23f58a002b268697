"""A real sandbox for tests: its own process, a free port, a data directory of its own.

    with SandboxServer() as hsm:
        KeyClient(hsm.address(), credential, ...)

Everything that a tenant's administrator could change in a live tenant is a method here.
"""

import json
import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from demo.processes import TIED
from sandbox.cli import credentials

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 10.0
CALL_SECONDS = 10.0
BULK_SECONDS = 120.0
ALL_RIGHTS = ("Crypto User", "Crypto Officer")


@dataclass(frozen=True)
class Secret:
    """A client secret by its ``key_id`` and its ``value``."""

    key_id: str
    value: str


@dataclass(frozen=True)
class RegisteredApp:
    application_id: str
    object_id: str
    secret: Secret


class SandboxServer:
    """``hostnames`` as on the command line (``name`` or ``name=domain``). Without ``data`` its directory is
    temporary and goes with the server; it outlives ``stop``, ``kill`` and ``restart``. ``trouble`` is a file
    of rules.

    On Linux the process dies with the thread that starts it (and so with a test run that is killed): start
    it in a thread that outlives the test.
    """

    def __init__(
        self,
        hostnames: Sequence[str] = ("localhost",),
        *,
        data: Path | None = None,
        port: int = 0,
        purge_protection: bool = False,
        retention_days: int | None = None,
        token_lifetime: int | None = None,
        trouble: Path | None = None,
        pace: str | None = None,
    ) -> None:
        self._temporary = data is None
        self.data = data or Path(tempfile.mkdtemp(prefix="sandbox-"))
        self.port = port
        self.hostnames = tuple(name.partition("=")[0] for name in hostnames)
        self._arguments = [argument for name in hostnames for argument in ("--hostname", name)]
        self._arguments += ["--purge-protection"] if purge_protection else []
        self._arguments += ["--retention-days", str(retention_days)] if retention_days is not None else []
        self._arguments += ["--token-lifetime", str(token_lifetime)] if token_lifetime is not None else []
        self._arguments += ["--trouble", str(trouble)] if trouble is not None else []
        self._arguments += ["--pace", pace] if pace is not None else []
        self._process: subprocess.Popen[str] | None = None
        self._credentials: dict[str, object] = {}

    # -- life --

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._forget()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._forget()

    def start(self) -> None:
        """Start and wait until it answers. A second start uses the first one's port."""
        tied = [sys.executable, "-I", "-S", str(TIED), str(os.getpid())]
        command = [*tied, sys.executable, "-m", "sandbox", "--port", str(self.port), "--data", str(self.data)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with (self.data / "stderr.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.data,
                env=environment,
            )
        try:
            self._await_ready(self._process)
            self._credentials = credentials(self.data)
        except BaseException:
            self.kill()
            raise
        self.port = int(str(self._credentials["address"]).rpartition(":")[2])

    def _forget(self) -> None:
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def stop(self) -> int | None:
        """End it with SIGTERM; its exit status, None where it was not running."""
        return self._end("terminate")

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._end("kill")

    def restart(self) -> None:
        """Stop it, where it still runs, and start it again with the same data and port."""
        self.stop()
        self.start()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the sandbox is not running")
        return self._process.pid

    # -- what a client needs --

    def address(self, hostname: str = "localhost") -> str:
        return f"https://{hostname}:{self.port}"

    @property
    def authority(self) -> str:
        return str(self._credentials["authority"])

    @property
    def tenant(self) -> str:
        return str(self._credentials["tenant"])

    @property
    def application_id(self) -> str:
        return str(self._credentials["application_id"])

    @property
    def secret(self) -> str:
        return str(self._credentials["secret"])

    @property
    def ca_file(self) -> str:
        return str(self._credentials["ca_file"])

    @property
    def audience(self) -> str:
        """The token audience of the HSM called localhost."""
        return f"https://localhost:{self.port}"

    def token_endpoint(self, version: int = 2) -> str:
        return f"{self.authority}/{self.tenant}/oauth2/{'v2.0/' if version == 2 else ''}token"

    # -- what an administrator can do --

    def add_app(self, display_name: str = "Application", grants: Sequence[str] = ALL_RIGHTS) -> RegisteredApp:
        """Register an application with a secret good for two years and roles or data actions on every HSM."""
        made = self.control("POST", "apps", {"display_name": display_name, "grants": list(grants)})
        first = made["secrets"][0]
        return RegisteredApp(
            made["application_id"], made["object_id"], Secret(first["key_id"], first["secret"])
        )

    def remove_app(self, application_id: str) -> None:
        self.control("DELETE", f"apps/{application_id}")

    def add_secret(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        value: str | None = None,
        application_id: str | None = None,
    ) -> Secret:
        """One more secret for an application (the default one), by default from now for two years."""
        body: dict[str, Any] = {"secret": value}
        body |= {name: when.isoformat() for name, when in (("start", start), ("end", end)) if when}
        made = self.control("POST", f"apps/{application_id or self.application_id}/secrets", body)
        return Secret(made["key_id"], made["secret"])

    def end_secret(self, key_id: str, end: datetime | None = None) -> None:
        """Let a secret end: now, or at ``end``."""
        self.control("POST", f"secrets/{key_id}/end", {"end": end.isoformat() if end else None})

    def secrets(self, application_id: str | None = None) -> list[Secret]:
        wanted = application_id or self.application_id
        apps = self.control("GET", "state")["apps"]
        found = next(app for app in apps if app["application_id"] == wanted)
        return [Secret(item["key_id"], item["secret"]) for item in found["secrets"]]

    def grant(self, what: str, *, hsm: str | None = None, application_id: str | None = None) -> None:
        """Give a role (``Crypto User``) or a data action (``keys/sign/action``), on one HSM or on all."""
        self._change("grant", what, hsm, application_id)

    def revoke(self, what: str, *, hsm: str | None = None, application_id: str | None = None) -> None:
        """Take a role or a data action away; it holds from the next request on."""
        self._change("revoke", what, hsm, application_id)

    # -- what only a test can do --

    def advance_clock(self, seconds: float) -> None:
        """Move the sandbox's clock forward, until it is stopped."""
        self.control("POST", "clock", {"advance": seconds})

    def set_token_lifetime(self, seconds: int) -> None:
        self.control("POST", "token-lifetime", {"seconds": seconds})

    def requests(self) -> dict[str, int]:
        """How often each operation ended in each status since the last reset, as ``{"sign 200": 3}``."""
        counts: dict[str, int] = self.control("GET", "requests")["requests"]
        return counts

    def effects(self) -> dict[str, int]:
        """How often each operation took effect since the last reset, answered or not: ``{"sign": 3}``."""
        counts: dict[str, int] = self.control("GET", "requests")["effects"]
        return counts

    def reset_requests(self) -> None:
        self.control("DELETE", "requests")

    def trouble(self, effect: str, *, seed: int = 0, **members: Any) -> str:
        """Add one rule (docs/sandbox.md); its id. A member called ``for`` is passed as ``for_``."""
        rule = {"effect": effect} | {name.rstrip("_"): value for name, value in members.items()}
        rules = self.control("POST", "trouble", {"seed": seed, "rules": [rule]})["rules"]
        return str(rules[-1]["rule"]["id"])

    def trouble_hits(self) -> dict[str, int]:
        """How many requests each rule struck, by its id."""
        rules = self.control("GET", "trouble")["rules"]
        return {rule["rule"]["id"]: rule["hits"] for rule in rules}

    def end_trouble(self, rule_id: str = "") -> None:
        """Remove one rule, or all."""
        self.control("DELETE", f"trouble/{rule_id}" if rule_id else "trouble")

    def pace(self, pace: str) -> None:
        """``azure`` enforces the published rates from the next request on, ``off`` none."""
        self.control("POST", "pace", {"pace": pace})

    def bulk(
        self,
        count: int,
        name: str = "key-{n}",
        *,
        start: int = 1,
        key: dict[str, Any] | None = None,
        pool: int | None = None,
        hsm: str | None = None,
    ) -> dict[str, Any]:
        """Make many keys past the pace; ``key`` is the body of a create. RSA keys share a pool."""
        order = {"count": count, "name": name, "start": start, "key": key, "pool": pool, "hsm": hsm}
        given = {name: value for name, value in order.items() if value is not None}
        return self.control("POST", "bulk", given, timeout=BULK_SECONDS)

    @contextmanager
    def resolving(self) -> Iterator[None]:
        """Let this process find the HSMs' names, and names under localhost, on this machine."""
        genuine = socket.getaddrinfo

        def find(host: Any, *rest: Any, **named: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            ours = name in self.hostnames or str(name).endswith(".localhost")
            return genuine("127.0.0.1" if ours else host, *rest, **named)

        with patch("socket.getaddrinfo", find):
            yield

    def ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def control(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = CALL_SECONDS
    ) -> dict[str, Any]:
        """Call the control API. Raises RuntimeError with its message where it refuses."""
        request = urllib.request.Request(
            f"https://localhost:{self.port}/_sandbox/{path}",
            data=json.dumps(body or {}).encode(),
            headers={"Authorization": f"Bearer {(self.data / 'control-token').read_text()}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self.ssl_context()) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as err:
            raise RuntimeError(f"control {method} {path}: {err.code} {err.read().decode()}") from err

    def _change(self, verb: str, what: str, hsm: str | None, application_id: str | None) -> None:
        body = {"what": what, "hsm": hsm}
        self.control("POST", f"apps/{application_id or self.application_id}/{verb}", body)

    def _await_ready(self, process: "subprocess.Popen[str]") -> None:
        if process.stdout is None:
            raise RuntimeError("the sandbox has no stdout")
        deadline = time.monotonic() + START_SECONDS
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        line = process.stdout.readline() if ready else ""
        if "ready" not in line:
            raise RuntimeError(f"the sandbox did not start: {(self.data / 'stderr.log').read_text()}")

    def _end(self, how: str) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        getattr(process, how)()
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
        return status
