"""The tests' own services: they start, answer, die with their owner and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from django.db import connection

from demo.processes import Child, ProcessFailed, accepts_socket, free_port, stop_all, wait_until
from tests.conftest import DATABASE
from tests.services import Broker

SLEEPER = [sys.executable, "-S", "-c", "import time; print('hello', flush=True); time.sleep(60)"]


def child(tmp_path: Path, *command: str, name: str = "sleeper") -> Child:
    return Child(name, command or SLEEPER, environment=dict(os.environ), log=tmp_path / f"{name}.log")


def is_alive(pid: int) -> bool:
    """A zombie that nobody reaps counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.django_db
def test_the_suite_runs_on_the_database_it_says() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()" if DATABASE == "postgres" else "SELECT sqlite_version()")
        (version,) = cursor.fetchone()
    assert connection.vendor == {"postgres": "postgresql", "sqlite": "sqlite"}[DATABASE]
    assert version


def test_the_broker_keeps_what_was_queued_through_a_kill(broker: Broker) -> None:
    client = redis.Redis(unix_socket_path=str(broker.socket), decode_responses=True)
    client.lpush("queue", "message")
    broker.kill()
    assert not accepts_socket(broker.socket)
    broker.start()
    assert client.lrange("queue", 0, -1) == ["message"]


def test_a_child_is_stopped_and_its_words_are_kept(tmp_path: Path) -> None:
    sleeper = child(tmp_path)
    sleeper.start()
    wait_until(lambda: "hello" in sleeper.tail(), what="it spoke", seconds=10, children=[sleeper])
    stop_all([sleeper])
    assert not sleeper.alive
    assert "killed by SIGTERM" in sleeper.obituary()
    assert "hello" in sleeper.obituary()


def test_a_child_that_ignores_sigterm_is_killed_within_the_grace(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    deaf = child(tmp_path, sys.executable, "-S", "-c", code)
    deaf.start()
    wait_until(lambda: "deaf" in deaf.tail(), what="it spoke", seconds=10, children=[deaf])
    before = time.monotonic()
    deaf.stop(grace=0.3)
    assert time.monotonic() - before < 5
    assert deaf.returncode == -signal.SIGKILL


def test_kill_reaches_what_the_child_started(tmp_path: Path) -> None:
    code = f"import subprocess; p = subprocess.Popen({SLEEPER!r}); print('pid', p.pid, flush=True); p.wait()"
    parent = child(tmp_path, sys.executable, "-c", code)
    parent.start()
    wait_until(lambda: "pid" in parent.tail() and "hello" in parent.tail(), what="both run", seconds=10)
    (grandchild,) = [int(line.split()[1]) for line in parent.tail().splitlines() if line.startswith("pid")]
    parent.kill()
    wait_until(lambda: not is_alive(grandchild), what="the grandchild is gone", seconds=5)


def test_waiting_ends_with_the_reason_when_a_child_dies(tmp_path: Path) -> None:
    failing = child(tmp_path, sys.executable, "-S", "-c", "raise SystemExit('no such luck')", name="failing")
    failing.start()
    with pytest.raises(ProcessFailed, match=r"failing ended with exit code 1(.|\n)*no such luck"):
        wait_until(lambda: False, what="never", seconds=10, children=[failing])


def test_waiting_ends_at_its_time_limit(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"the moon is blue: not within 0\.2 s"):
        wait_until(lambda: False, what="the moon is blue", seconds=0.2)


def test_a_result_comes_from_standard_output_alone(tmp_path: Path) -> None:
    code = "import sys; print('result'); print('remark', file=sys.stderr); sys.exit({})"
    for status in (0, 3):
        made = Child(
            f"ends-{status}",
            [sys.executable, "-S", "-c", code.format(status)],
            environment=dict(os.environ),
            log=tmp_path / f"{status}.log",
            capture=True,
        )
        made.start()
        if status == 0:
            assert made.result(seconds=10) == "result\n"
            assert made.tail() == "remark"
        else:
            with pytest.raises(ProcessFailed, match=r"ends-3 ended with exit code 3(.|\n)*remark"):
                made.result(seconds=10)


def test_a_result_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    slow = Child("slow", SLEEPER, environment=dict(os.environ), log=tmp_path / "x.log", capture=True)
    slow.start()
    with pytest.raises(ProcessFailed, match="slow took longer"):
        slow.result(seconds=0.2)
    assert not slow.alive


@pytest.mark.skipif(sys.platform != "linux", reason="not proven: no orphans after kill -9 (needs Linux)")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from demo.processes import Child\n"
        f"c = Child('x', {SLEEPER!r}, environment=dict(os.environ), log=Path({str(tmp_path / 'x.log')!r}))\n"
        "c.start(); print(c.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        orphan = int(parent.stdout.readline())
        # The request to the kernel is made before the command runs: once it spoke, it is tied.
        wait_until(lambda: "hello" in (tmp_path / "x.log").read_text(), what="it spoke", seconds=10)
        parent.kill()
        parent.wait(timeout=10)
    wait_until(lambda: not is_alive(orphan), what="the orphan is gone", seconds=5)


def test_a_free_port_is_the_preferred_one_unless_taken() -> None:
    import socket

    port = free_port()
    assert free_port(port) == port
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        assert free_port(port) != port


def test_each_test_process_has_settings_of_its_own() -> None:
    """Under xdist a worker must not read its settings with the environment of the controller."""
    from django.conf import settings

    from tests.conftest import DIRECTORY

    assert DIRECTORY in settings.DATA_DIR.parents
    assert str(DIRECTORY) in settings.PUBLIC_KEYS_FILE
