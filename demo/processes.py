"""Start, watch and stop child processes. Pure Python, shared by the demo and the tests.

Every child leads a session of its own, so Ctrl-C in the terminal reaches the supervisor alone, and
a signal to the child's process group reaches the child's own children (worker pools) as well.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIED = Path(__file__).resolve().parent / "tied.py"
POLL_SECONDS = 0.05


class ProcessFailed(Exception):
    """A child died, or was not ready in time. The text says which one and ends with its last log lines."""


class Child:
    """One child process with its log file. ``start`` may be called again after the child has ended.

    ``user`` (root only) is the account to become before the command runs, in the directory ``/``.
    With ``capture``, standard output does not go to the log: ``result`` hands it over.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        user: str | None = None,
        capture: bool = False,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.environment = dict(environment)
        self.log = log
        self.user = user
        self.capture = capture
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output is appended to the log."""
        if self.alive:
            raise ProcessFailed(f"{self.name} is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  (our own commands)
                [sys.executable, "-I", "-S", str(TIED), self._tie(), *self.command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.capture else output,
                stderr=output,
                start_new_session=True,
            )

    def _tie(self) -> str:
        if self.user is None:
            return str(os.getpid())
        import pwd

        account = pwd.getpwnam(self.user)
        return f"{os.getpid()}:{account.pw_uid}:{account.pw_gid}"

    def result(self, *, seconds: float) -> str:
        """Wait for the end of a child started with ``capture``; what it wrote to standard output.

        Raises ProcessFailed when it fails, or takes longer than ``seconds``; it is dead then.
        """
        if self._process is None:
            raise ProcessFailed(f"{self.name} was never started")
        try:
            output, _ = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as err:
            self.kill()
            raise ProcessFailed(f"{self.name} took longer than {seconds:g} s.\n{self.tail()}") from err
        if self._process.returncode != 0:
            raise ProcessFailed(self.obituary())
        return output.decode()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ProcessFailed(f"{self.name} was never started")
        return self._process.pid

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while running or before the start."""
        return None if self._process is None else self._process.poll()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child alone (its own children learn of it from the child)."""
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the child and everything it started, at once, and reap it."""
        if self._process is None:
            return
        _kill_group(self._process.pid)
        self._process.wait(timeout=10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def stop(self, *, grace: float = 10.0) -> None:
        """SIGTERM, at most ``grace`` seconds to leave, then SIGKILL to what is left of the group."""
        if self._process is None:
            return
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace)
        self.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def obituary(self) -> str:
        """Which child ended, how, and its last words."""
        return (
            f"{self.name} {_how_it_ended(self.returncode)}. Its last log lines ({self.log}):\n{self.tail()}"
        )


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "is running"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def stop_all(children: Iterable[Child], *, grace: float = 10.0) -> None:
    """Stop children in the order given; all get their SIGTERM before the first is waited for."""
    children = [child for child in children if child.started]
    for child in children:
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for child in children:
        child.stop(grace=max(0.1, deadline - time.monotonic()))


def wait_until(
    ready: Callable[[], bool], *, what: str, seconds: float, children: Iterable[Child] = ()
) -> None:
    """Poll ``ready`` until it is true.

    Raises ProcessFailed when ``seconds`` are over or one of ``children`` has ended meanwhile.
    """
    children = list(children)
    deadline = time.monotonic() + seconds
    while not ready():
        for child in children:
            if child.started and not child.alive:
                raise ProcessFailed(child.obituary())
        if time.monotonic() >= deadline:
            words = "\n".join(f"--- {child.name}\n{child.tail()}" for child in children)
            raise ProcessFailed(f"{what}: not within {seconds:g} s.\n{words}")
        time.sleep(POLL_SECONDS)


def free_port(preferred: int = 0) -> int:
    """A free TCP port on 127.0.0.1: the preferred one when nobody has it, else one the kernel picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ProcessFailed("no free TCP port on 127.0.0.1")


def answers_http(port: int, path: str = "/") -> bool:
    """True when a GET on 127.0.0.1:port gets any answer below 500 within two seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def accepts_socket(path: Path) -> bool:
    """True when somebody listens on the unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def accepts_tcp(port: int) -> bool:
    """True when somebody listens on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def short_directory(prefix: str) -> Path:
    """A new private directory with a short path: a unix socket's path holds about 100 bytes only."""
    base = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108  (mkdtemp makes it private)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base))
