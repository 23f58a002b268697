"""docker-compose.yml and Dockerfile, proven without an engine: valid, guarded, commands run as processes."""

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from demo.processes import ROOT, Child, accepts_socket, free_port, stop_all, wait_until
from deploy import healthcheck
from keymanager.environment import SETTINGS
from tests.services import Broker, PostgresServer, not_proven

WORKERS = ("worker-operations", "worker-checks", "worker-upkeep")
APP = ("migrate", "web", "beat", *WORKERS)
VALUES = {
    "KEYMANAGER_SECRET_KEY": secrets.token_urlsafe(50),
    "KEYMANAGER_ALLOWED_HOSTS": "keys.example.org",
    "KEYMANAGER_TRUSTED_ORIGINS": "https://keys.example.org",
    "POSTGRES_PASSWORD": "postgres-password",
    "REDIS_PASSWORD": "redisPassword",
}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def instruction(name: str) -> str:
    """The last instruction of that name: the one that counts."""
    return [rest for word, rest in dockerfile() if word == name][-1]


def interpolate(text: str) -> str:
    """What compose makes of ${NAME:-default} and ${NAME:?message}."""
    return re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda match: VALUES.get(match[1]) or (match[3] if match[2] == "-" else match[0]),
        text,
    )


# --- The files ----------------------------------------------------------------------------------


def compose_validator() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = ["docker", "compose"]
    if shutil.which("docker") and subprocess.run([*plugin, "version"], check=False).returncode == 0:
        return plugin
    not_proven("docker-compose.yml is valid to Docker Compose (needs docker-compose)")


def validate(file: Path, values: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [*compose_validator(), "-f", str(file), "config"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **values}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_compose_accepts_the_file() -> None:
    done = validate(ROOT / "docker-compose.yml", VALUES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("service_completed_successfully", "service_is_in_a_good_mood"),
        ("stop_grace_period:", "stop_grace:"),
        ("retries: 6", "retries: [6]"),
    ],
)
def test_compose_refuses_a_broken_file(tmp_path: Path, good: str, bad: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert good in text
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text.replace(good, bad))
    assert validate(broken, VALUES).returncode != 0


@pytest.mark.parametrize("missing", sorted(VALUES))
def test_compose_refuses_to_start_without_each_secret(missing: str) -> None:
    done = validate(
        ROOT / "docker-compose.yml", {name: text for name, text in VALUES.items() if name != missing}
    )
    assert done.returncode != 0
    assert "set it in .env" in done.stderr


def effective(values: dict[str, str]) -> dict[str, Any]:
    """The services as compose understands them; a variable that is not set anywhere is None or missing."""
    done = validate(ROOT / "docker-compose.yml", VALUES | values)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


NOT_FOR_OPERATORS = {
    "KEYMANAGER_DEMO",
    "KEYMANAGER_DEBUG",
    "KEYMANAGER_INSECURE_HTTP",
    "KEYMANAGER_ALLOW_MEMORY_SOURCES",
    # The containers have the file instead.
    "KEYMANAGER_PRIVATE_KEYS",
    # The image's own business.
    "KEYMANAGER_DATA_DIR",
    "KEYMANAGER_STATIC_ROOT",
}


def test_every_setting_that_is_an_operators_to_choose_reaches_the_containers() -> None:
    passed_on = {name for each in APP for name in service(each)["environment"]}
    assert passed_on == {each.name for part in SETTINGS for each in part.variables} - NOT_FOR_OPERATORS


@pytest.mark.parametrize("name", ["web", "beat", *WORKERS])
def test_what_is_set_reaches_each_container_and_what_is_not_set_stays_unset(name: str) -> None:
    """An empty text would be another value than none: compose must hand on nothing."""
    environment = effective({"KEYMANAGER_HSM_HOSTS": ".managedhsm.azure.net"})[name]["environment"]
    assert environment["KEYMANAGER_HSM_HOSTS"] == ".managedhsm.azure.net"
    assert environment.get("KEYMANAGER_TOKEN_HOSTS") is None
    assert environment.get("KEYMANAGER_CLAIM_SECONDS") is None


def test_private_sealing_keys_reach_workers_only() -> None:
    services = compose()["services"].items()
    holders = {name for name, each in services if "private-keys" in each.get("secrets", [])}
    named = {
        name
        for name, each in services
        if any("PRIVATE" in variable for variable in each.get("environment", {}))
    }
    assert holders == named == set(WORKERS)


def test_each_container_has_the_role_of_its_work() -> None:
    roles = {name: service(name)["environment"]["KEYMANAGER_ROLE"] for name in APP}
    assert roles == {"migrate": "web", "web": "web", "beat": "beat"} | dict.fromkeys(WORKERS, "worker")


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_every_container_is_guarded(name: str) -> None:
    each = service(name)
    assert each["security_opt"] == ["no-new-privileges:true"]
    assert each["cap_drop"] == ["ALL"]
    assert each["read_only"] is True
    assert "healthcheck" in each or name == "web", "web has the image's own health check"
    assert each.get("privileged") is None


def test_only_the_console_is_published_and_only_to_this_host() -> None:
    ports = {name: each["ports"] for name, each in compose()["services"].items() if "ports" in each}
    assert ports == {"web": ["127.0.0.1:8000:8000"]}


def test_database_and_broker_are_on_a_closed_network() -> None:
    assert compose()["networks"]["inside"]["internal"] is True
    assert [service(name)["networks"] for name in ("postgres", "redis", "beat", "migrate")] == [
        ["inside"]
    ] * 4


def test_every_queue_has_a_worker() -> None:
    served = {queue for name in WORKERS for queue in argument(name, "--queues").split(",")}
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    scheduled = {entry["options"]["queue"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert served == routed | scheduled | {settings.CELERY_TASK_DEFAULT_QUEUE}


def argument(name: str, option: str) -> str:
    words: list[str] = service(name)["command"]
    return words[words.index(option) + 1]


def test_a_stopped_worker_may_end_its_task() -> None:
    seconds = int(service("worker-operations")["stop_grace_period"].removesuffix("s"))
    assert seconds > settings.HARD_LIMIT


def test_the_image_runs_as_an_ordinary_user_and_installs_by_hash() -> None:
    assert instruction("USER") == "10001:10001"
    assert any("--require-hashes" in rest for word, rest in dockerfile() if word == "RUN")


def test_the_image_holds_every_room_and_nothing_else() -> None:
    copied = {rest.split()[0] for word, rest in dockerfile() if word == "COPY" and "--from" not in rest}
    rooms = {app.split(".")[0] for app in settings.INSTALLED_APPS if (ROOT / app.split(".")[0]).is_dir()}
    assert copied == rooms | {"requirements.txt", "manage.py", "deploy", "static", "templates"}
    assert all((ROOT / name).exists() for name in copied)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == copied


# --- The commands, as processes -----------------------------------------------------------------


class Production:
    """The containers' commands and settings, with this machine's addresses and files in place of theirs."""

    def __init__(self, folder: Path, database_url: str, broker_url: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.replaced = {
            "KEYMANAGER_DATABASE_URL": database_url,
            "KEYMANAGER_BROKER_URL": broker_url,
            "KEYMANAGER_DATA_DIR": str(folder / "data"),
            "KEYMANAGER_STATIC_ROOT": str(folder / "static-root"),
        }
        self.secrets = {
            "/run/secrets/public-keys": folder / "keys" / "public.json",
            "/run/secrets/private-keys": folder / "keys" / "private.json",
            "/run/secrets/licence-issuer-keys": folder / "licence" / "issuer-public.pem",
        }

    def environment(self, name: str) -> dict[str, str]:
        given = {
            key: self._here(interpolate(value))
            for key, value in service(name)["environment"].items()
            if value is not None
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONUNBUFFERED": "1", **given, **self.replaced}

    def _here(self, text: str) -> str:
        for theirs, ours in self.secrets.items():
            text = text.replace(theirs, str(ours))
        return text.replace("/tmp/beat-schedule", str(self.folder / "beat-schedule"))

    def command(self, name: str) -> list[str]:
        """ENTRYPOINT and command, as the engine would join them."""
        words = service(name).get("command") or yaml.safe_load(instruction("CMD"))
        entrypoint: list[str] = yaml.safe_load(instruction("ENTRYPOINT"))
        words = ["127.0.0.1" if word == "0.0.0.0" else word for word in words]
        return [*entrypoint, *(str(self.port) if word == "8000" else self._here(word) for word in words)]

    def child(self, name: str) -> Child:
        log = self.folder / f"{name}.log"
        return Child(name, self.command(name), environment=self.environment(name), log=log)

    def run(self, command: list[str], name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def production(tmp_path: Path, postgres: PostgresServer, broker: Broker) -> Production:
    made = Production(tmp_path, postgres.create_database(f"containers_{free_port()}"), broker.url)
    keys = ["make_sealing_keys", "--out", str(tmp_path / "keys")]
    licence = ["make_licence", "--out", str(tmp_path / "licence")]
    for words in (keys, licence):
        done = made.run([sys.executable, "manage.py", *words], "migrate")
        assert done.returncode == 0, done.stderr
    return made


@pytest.mark.processes
def test_the_containers_commands_run_under_production_settings(production: Production) -> None:
    migrated = production.run(production.command("migrate"), "migrate")
    assert migrated.returncode == 0, migrated.stderr
    names = ("web", *WORKERS, "beat")
    children = [production.child(name) for name in names]
    try:
        for child in children:
            child.start()
        wait_until(lambda: _serves(production), what="the console serves", seconds=60, children=children)
        wait_until(
            lambda: healthcheck.beat(production.folder), what="beat is well", seconds=30, children=children
        )
        for name in WORKERS:
            wait_until(
                lambda name=name: _worker_is_well(production, name),  # type: ignore[misc]
                what=f"{name} answers its health check",
                seconds=60,
                children=children,
            )
    finally:
        stop_all(children)


def _serves(production: Production) -> bool:
    os.environ["KEYMANAGER_ALLOWED_HOSTS"] = VALUES["KEYMANAGER_ALLOWED_HOSTS"]
    try:
        return healthcheck.web(production.port)
    finally:
        del os.environ["KEYMANAGER_ALLOWED_HOSTS"]


def _worker_is_well(production: Production, name: str) -> bool:
    test: list[str] = service(name)["healthcheck"]["test"]
    return production.run(test[1:], name).returncode == 0


def test_the_entrypoint_refuses_a_web_process_that_is_given_the_private_keys(production: Production) -> None:
    environment = production.environment("web")
    environment["KEYMANAGER_PRIVATE_KEYS_FILE"] = str(production.secrets["/run/secrets/private-keys"])
    done = subprocess.run(
        [*yaml.safe_load(instruction("ENTRYPOINT")), "echo", "started"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "started" not in done.stdout


def test_health_checks_say_no_when_nobody_is_there(tmp_path: Path) -> None:
    assert healthcheck.web(free_port()) is False
    assert healthcheck.beat(tmp_path) is False


def test_static_files_are_collected_as_the_image_does(tmp_path: Path) -> None:
    (command,) = [rest for word, rest in dockerfile() if word == "RUN" and "collectstatic" in rest]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KEYMANAGER_STATIC_ROOT": str(tmp_path),
    }
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "css" / "app.css").exists()


def test_the_brokers_configuration_comes_through_standard_input(tmp_path: Path) -> None:
    """The redis service's own command, with a redis-server of this machine and another socket and folder."""
    if not shutil.which("redis-server"):
        not_proven("the compose file's Redis asks for its password (needs redis-server)")
    import redis

    shell, flag, script = service("redis")["command"]
    script = script.replace("$$", "$").replace(
        "dir /data", f"dir {tmp_path}\\nport 0\\nunixsocket {tmp_path}/r"
    )
    child = Child(
        "redis",
        [shell, flag, script],
        environment={"PATH": os.environ["PATH"], "REDIS_PASSWORD": VALUES["REDIS_PASSWORD"]},
        log=tmp_path / "redis.log",
    )
    child.start()
    try:
        wait_until(lambda: accepts_socket(tmp_path / "r"), what="Redis is up", seconds=20, children=[child])
        assert VALUES["REDIS_PASSWORD"] not in _command_line(child.pid)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=str(tmp_path / "r")).ping()
        client = redis.Redis(unix_socket_path=str(tmp_path / "r"), password=VALUES["REDIS_PASSWORD"])
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    finally:
        child.kill()


def _command_line(pid: int) -> str:
    file = Path(f"/proc/{pid}/cmdline")
    return shlex.join(file.read_text().split("\0")) if file.exists() else ""
