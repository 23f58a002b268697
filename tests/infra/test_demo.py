"""``python -m demo``, as a person runs it: walks, keeps its data, stops whole, says what went wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from demo.person import Person, Refused
from demo.processes import ROOT, free_port, short_directory, wait_until
from demo.supervisor import last_error
from demo.walk import verify
from tests.infra.test_services import is_alive

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

SECONDS = 90
DEMO = (sys.executable, "-m", "demo")


class Demo:
    """One ``python -m demo`` in a folder of its own, its output read at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.output = home.parent / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> "Demo":
        self.home.mkdir(mode=0o700, exist_ok=True)
        self._choose_ports()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*DEMO, "--home", str(self.home), *words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def _choose_ports(self) -> None:
        """Tests run side by side: none of them may meet another at the demo's usual ports."""
        file = self.home / "state.json"
        if not file.exists():
            file.write_text(json.dumps({"web_port": free_port(), "sandbox_port": free_port()}))

    def call(self, *words: str, code: int) -> str:
        """What another ``python -m demo`` in this folder says, which ends by itself."""
        command = [*DEMO, "--home", str(self.home), *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=SECONDS)

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_until_said(self, words: str) -> None:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            return words in self.said()

        wait_until(ready, what=f"the demo says {words!r}", seconds=SECONDS)

    def processes(self) -> dict[int, str]:
        """Every process of this demo but the supervisor: its environment, or (the broker overwrites that)
        its command line, names the folder."""
        data, home = f"KEYMANAGER_DATA_DIR={self.home}/".encode(), f"{self.home}/".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes()
                if data in (folder / "environ").read_bytes() or home in command:
                    found[int(folder.name)] = command.decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
        return {pid: command for pid, command in found.items() if is_alive(pid)}

    def process_of(self, words: str) -> int:
        """The oldest process with these words on its command line."""
        return min(pid for pid, command in self.processes().items() if words in command)

    def runs(self, words: str) -> bool:
        return any(words in command for command in self.processes().values())

    def none_left(self) -> bool:
        return not self.processes()


@pytest.fixture
def demo() -> Iterator[Demo]:
    folder = short_directory("km-demo-")
    made = Demo(folder / "home")
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait(timeout=10)
        for pid in made.processes():
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["rm", "-rf", str(folder)], check=True, timeout=30)


def test_the_walk_ends_well_and_a_second_run_keeps_the_data(demo: Demo) -> None:
    assert demo.start("--once").wait() == 0, demo.said()
    first = demo.said()
    assert first.splitlines()[-1] == "DEMO OK"
    assert demo.none_left()
    begun = time.monotonic()
    assert demo.start("--once").wait() == 0, demo.said()
    assert time.monotonic() - begun < 60
    second = demo.said()
    assert second.splitlines()[-1] == "DEMO OK"
    assert "fill in the form" in first
    assert "fill in the form" not in second, "the second run uses the first one's crypto source"
    passwords = passwords_in(first)
    assert len(set(passwords)) == 4
    assert "keep their passwords" in second
    _assert_absent(demo.home, passwords)
    renewed = passwords_in(demo.call("--passwords", code=0))
    assert len(set(renewed) | set(passwords)) == 8
    demo.call("--reset", code=0)
    assert not demo.home.exists()


def passwords_in(said: str) -> list[str]:
    return re.findall(r"^  (?:operator|administrator|auditor|ops) +(\S+)$", said, re.MULTILINE)


def test_new_passwords_beside_a_running_demo(demo: Demo) -> None:
    assert "No demo" in demo.call("--passwords", code=1)
    demo.start().wait_until_said("Ctrl-C stops it")
    before = (demo.home / "state.json").read_text()
    password = passwords_in(demo.call("--passwords", code=0))[1]
    assert (demo.home / "state.json").read_text() == before, "the ports are still those of the running demo"
    administrator = Person(f"http://localhost:{json.loads(before)['web_port']}")
    with pytest.raises(Refused, match="cannot sign in"):
        administrator.sign_in("administrator", passwords_in(demo.said())[1])
    administrator.sign_in("administrator", password)
    assert administrator.open("/auth/user/").text.count("Demo walk") == 2


def _assert_absent(home: Path, passwords: list[str]) -> None:
    """The passwords are printed once and stored nowhere."""
    for file in filter(Path.is_file, home.rglob("*")):
        content = file.read_bytes()
        assert [password for password in passwords if password.encode() in content] == [], file


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "Ctrl-C stops it"),
        (signal.SIGTERM, "Console, worker and beat"),
        (signal.SIGHUP, "broker, sandbox HSM"),
    ],
)
def test_a_signal_stops_every_process(demo: Demo, number: signal.Signals, moment: str) -> None:
    demo.start().wait_until_said(moment)
    wait_until(lambda: demo.runs("valkey-server") and demo.runs("-m sandbox"), what="two run", seconds=10)
    assert demo.process is not None
    demo.process.send_signal(number)
    assert demo.wait() == 0
    assert demo.none_left()


def test_a_second_demo_in_the_same_folder_is_refused_and_so_is_a_reset(demo: Demo) -> None:
    demo.start().wait_until_said("broker")
    for word in ("--once", "--reset"):
        assert "running" in demo.call(word, code=1)
    assert demo.home.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="not proven: no orphans after kill -9 (needs Linux)")
def test_a_killed_supervisor_leaves_no_orphan(demo: Demo) -> None:
    demo.start().wait_until_said("Console, worker and beat")
    assert demo.process is not None
    demo.process.kill()
    demo.wait()
    wait_until(demo.none_left, what="every process is gone", seconds=20)


def test_when_a_process_dies_the_demo_says_which_and_stops_all(demo: Demo) -> None:
    demo.start().wait_until_said("Ctrl-C stops it")
    os.kill(demo.process_of("granian"), signal.SIGKILL)
    assert demo.wait() == 1
    assert re.search(r"FAILED: web was killed by SIGKILL\. Its last log lines .*web\.log", demo.said())
    wait_until(demo.none_left, what="every process is gone", seconds=20)


def test_a_failed_step_is_named_and_the_demo_ends_with_its_reason(demo: Demo) -> None:
    demo.start("--once").wait_until_said("Sign in as operator")
    os.kill(demo.process_of("-m sandbox"), signal.SIGSTOP)
    os.kill(demo.process_of("-m sandbox"), signal.SIGKILL)
    assert demo.wait() == 1
    assert "FAILED: " in demo.said()
    assert "sandbox was killed by SIGKILL" in demo.said()
    assert "DEMO OK" not in demo.said()
    wait_until(demo.none_left, what="every process is gone", seconds=20)


def test_the_walk_believes_no_signature_unseen() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(b"document", ec.ECDSA(hashes.SHA256()))
    verify(pem, signature, b"document")
    with pytest.raises(InvalidSignature):
        verify(pem, signature, b"another document")


def test_the_last_error_in_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    assert last_error(log) == ""
    log.write_text('banner\n{"event": "broke", "level": "error"}\n{"event": "went on", "level": "info"}\n')
    assert last_error(log) == "broke"
