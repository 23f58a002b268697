"""Starting, stopping, crashing; what survives; how answers leave; credentials; the control API."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cryptosources.forms import SourceForm
from sandbox import admin
from sandbox.clock import Clock
from sandbox.estate import Estate, HsmOptions, Options, SandboxError
from sandbox.hsm import HsmSettings
from tests.sandbox.wire import Wire, b64, version_of
from tests.sandbox_server import ROOT, SandboxServer

SIGN = {"alg": "ES256", "value": b64(bytes(32))}


def run(*arguments: str, program: tuple[str, ...] = ("-m", "sandbox"), **more: str) -> Any:
    return subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=ROOT,
        env=os.environ | more,
    )


def test_starts_quickly_and_stops_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--data", str(tmp_path)]
    for _ in range(2):
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert time.monotonic() - began < 5.0, "1.5 s on a quiet machine"
            assert line.startswith("Sandbox HSM ready at https://localhost:")
            process.terminate()
            assert process.wait(5) == 0
            assert process.stdout.read() == ""


def test_stops_with_a_client_connected(own_server: SandboxServer) -> None:
    connection = http.client.HTTPSConnection(
        "localhost", own_server.port, timeout=5, context=own_server.ssl_context()
    )
    connection.request("GET", "/keys")
    connection.getresponse().read()
    began = time.monotonic()
    assert own_server.stop() == 0
    assert time.monotonic() - began < 5
    connection.close()


def test_restart_keeps_port_keys_apps_and_certificate(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    live, deleted = wire.create("live"), wire.create("deleted")
    wire.delete("deleted")
    before = (own_server.port, own_server.secret, Path(own_server.ca_file).read_bytes())
    own_server.restart()
    assert (own_server.port, own_server.secret, Path(own_server.ca_file).read_bytes()) == before
    assert wire.ok("GET", "/keys/live") == live
    assert wire.ok("GET", "/deletedkeys/deleted")["key"] == deleted["key"]


def test_nothing_answered_is_lost_by_a_crash(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    made: dict[str, str] = {}
    stop = threading.Event()

    def create() -> None:
        number = 0
        while not stop.is_set():
            try:
                made[f"key-{number}"] = version_of(wire.create(f"key-{number}"))
            except (OSError, http.client.HTTPException):
                return
            number += 1

    thread = threading.Thread(target=create)
    thread.start()
    time.sleep(0.4)
    own_server.kill()
    stop.set()
    thread.join(20)
    own_server.start()
    assert len(made) > 5
    for name, version in made.items():
        assert version_of(wire.ok("GET", f"/keys/{name}")) == version


def test_two_sandboxes_do_not_share_a_directory(server: SandboxServer) -> None:
    done = run("--port", "0", "--data", str(server.data))
    assert done.returncode == 1
    assert "Another sandbox is using" in done.stderr


def test_taken_port(server: SandboxServer, tmp_path: Path) -> None:
    done = run("--port", str(server.port), "--data", str(tmp_path))
    assert done.returncode == 1
    assert "Cannot listen" in done.stderr


def test_what_was_fixed_at_creation_stays(tmp_path: Path) -> None:
    def prepare(**options: Any) -> HsmSettings:
        estate = Estate.prepare(Options(tmp_path / "data", **options), Clock())
        try:
            return estate.hsm("localhost")
        finally:
            estate.close()

    for days in (6, 91):
        with pytest.raises(SandboxError, match="7 to 90"):
            prepare(retention_days=days)
    made = prepare(retention_days=8, purge_protection=True)
    with pytest.raises(SandboxError, match=r"fixed when it was made \(8\)"):
        prepare(retention_days=9)
    with pytest.raises(SandboxError, match="security domain"):
        prepare(hsms=(HsmOptions("localhost", "elsewhere"),))
    assert prepare() == made, "protection stays on without the option"
    assert (made.recovery_level, made.retention_days) == ("CustomizedRecoverable", 8)
    refused = run("--port", "0", "--data", str(tmp_path / "data"), "--retention-days", "9")
    assert refused.returncode == 1
    assert "use another data directory" in refused.stderr


def test_credentials(server: SandboxServer) -> None:
    done = run("credentials", "--json", "--data", str(server.data))
    found = json.loads(done.stdout)
    assert found["address"] == server.address()
    assert found["addresses"] == {"localhost": server.address()}
    assert found["authority"] == f"https://localhost:{server.port}"
    assert found["token_endpoint"] == f"{found['authority']}/{found['tenant']}/oauth2/v2.0/token"
    assert found["token_endpoint_v1"] == f"{found['authority']}/{found['tenant']}/oauth2/token"
    assert (found["application_id"], found["secret"]) == (server.application_id, server.secret)
    assert found["secret_ends"].endswith("+00:00")
    assert Path(found["ca_file"]).exists()


def test_credentials_carry_the_labels_of_the_form(server: SandboxServer) -> None:
    found = json.loads(run("credentials", "--json", "--data", str(server.data)).stdout)
    text = run("credentials", KEYMANAGER_SANDBOX_DIR=str(server.data)).stdout
    form, others = text.split("\n\n")
    pairs = [line.strip().split(": ", 1) for line in form.splitlines()[1:]]
    assert {label: value.strip() for label, value in pairs} == {
        "DNS Name": found["address"],
        "Endpoint OAuth 2.0 Token": found["token_endpoint"],
        "Application ID": found["application_id"],
        "Key": found["secret"],
        "Key expires on": found["secret_ends"][:10],
        "Trusted root certificates": f"paste the content of {found['ca_file']}",
    }
    assert {label for label, _ in pairs} <= {str(field.label) for field in SourceForm.base_fields.values()}
    for value in (found["tenant"], found["authority"], found["token_endpoint_v1"]):
        assert value in others


def test_credentials_name_the_newest_secret_that_works(own_server: SandboxServer) -> None:
    def printed() -> str:
        return str(json.loads(run("credentials", "--json", "--data", str(own_server.data)).stdout)["secret"])

    now, first = datetime.now(UTC), own_server.secret
    own_server.add_secret(now - timedelta(days=2), now - timedelta(days=1))
    own_server.add_secret(now + timedelta(days=1))
    assert printed() == first
    assert printed() != own_server.secrets()[-1].value
    newer = own_server.add_secret()
    assert printed() == newer.value
    own_server.end_secret(newer.key_id)
    assert printed() == first
    for secret in own_server.secrets():
        own_server.end_secret(secret.key_id)
    done = run("credentials", "--data", str(own_server.data))
    assert done.returncode == 1
    assert "No secret of the sandbox's own application works now" in done.stderr


def test_credentials_before_the_first_start(tmp_path: Path) -> None:
    done = run("credentials", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "No sandbox has been started" in done.stderr


def test_management_command_is_the_same_door(server: SandboxServer, tmp_path: Path) -> None:
    manage = ("manage.py", "sandbox")
    command = [sys.executable, *manage, "--port", "0", "--data", str(tmp_path / "served")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Sandbox HSM ready at https://localhost:")
        process.terminate()
        assert process.wait(10) == 0
    done = run("credentials", "--json", "--data", str(server.data), program=manage)
    assert json.loads(done.stdout)["secret"] == server.secret
    failed = run("credentials", "--data", str(tmp_path), program=manage)
    assert failed.returncode == 1
    assert "No sandbox has been started" in failed.stderr


def test_core_imports_no_django() -> None:
    code = (
        "import sys, sandbox.__main__; sys.exit(any(name.split('.')[0] == 'django' for name in sys.modules))"
    )
    assert run(program=("-c", code)).returncode == 0


def test_headers_and_body_leave_in_one_write(wire: Wire, name: str) -> None:
    """One TLS record holds one write at most, and one read returns one record at most."""
    wire.create(name)
    content = json.dumps(SIGN)
    request = (
        f"POST /keys/{name}/sign?api-version=7.4 HTTP/1.1\r\nHost: localhost:{wire.server.port}\r\n"
        f"Authorization: {wire.authorization()['Authorization']}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n{content}"
    )
    context = wire.server.ssl_context()
    with (
        socket.create_connection(("127.0.0.1", wire.server.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        for _ in range(5):
            secured.sendall(request.encode())
            head, _, body = secured.recv(16384).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert json.loads(body)["alg"] == "ES256"


def test_slow_keys_do_not_hold_up_others(wire: Wire, name: str) -> None:
    """While a 4096-bit key is made, others are answered."""
    wire.create(name)
    wire.authorization()
    slow = Wire(wire.server, tokens=wire.tokens)
    making = threading.Thread(target=slow.create, args=(f"{name}-slow", "RSA-HSM"), kwargs={"key_size": 4096})
    making.start()
    answered = 0
    while making.is_alive():
        wire.ok("POST", f"/keys/{name}/sign", SIGN)
        answered += 1
    making.join(30)
    assert answered > 5


def test_what_another_process_writes_holds_at_once(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    wire.create("a")
    assert wire.call("GET", "/keys/a").status == 200
    estate = Estate.open(own_server.data)
    app = estate.directory.default_app()
    assert app is not None
    admin.revoke(estate.directory, "localhost", app.object_id, "keys/read/action")
    assert wire.call("GET", "/keys/a").status == 403
    admin.grant(estate.directory, "localhost", app.object_id, "keys/read/action")
    key = estate.keys.get("localhost", "a")
    assert key is not None
    estate.keys.purge("localhost", key)
    estate.close()
    assert wire.call("GET", "/keys/a").status == 404


@pytest.mark.parametrize("token", ["", "wrong"])
def test_control_needs_its_token(wire: Wire, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert wire.send("GET", "/_sandbox/state", headers=headers).status == 403


def test_control_refuses_nonsense(server: SandboxServer) -> None:
    for method, path, body, status in (
        ("GET", "nothing", {}, 404),
        ("POST", "apps/nobody/secrets", {}, 404),
        ("POST", "secrets/nothing/end", {}, 404),
        ("POST", f"apps/{server.application_id}/secrets", {"start": "2020-01-01T00:00:00"}, 400),
        ("POST", f"apps/{server.application_id}/secrets", {"end": "soon"}, 400),
        ("POST", f"apps/{server.application_id}/grant", {"what": "x", "hsm": "none"}, 404),
        ("POST", "clock", {"advance": "x"}, 400),
        ("POST", "clock", {}, 400),
    ):
        with pytest.raises(RuntimeError, match=str(status)):
            server.control(method, path, body)


def test_requests_are_counted(own_server: SandboxServer) -> None:
    wire = Wire(own_server)
    wire.create("a")
    own_server.reset_requests()
    wire.ok("POST", "/keys/a/sign", SIGN)
    wire.call("GET", "/keys/b")
    wire.send("GET", "/keys")
    assert own_server.requests() == {"sign 200": 1, "get 404": 1, "challenge 401": 1}
