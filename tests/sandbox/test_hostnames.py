"""Several HSMs behind one address, and the certificate that covers them."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sandbox import audience, tls
from tests.sandbox.wire import Wire
from tests.sandbox_server import SandboxServer

CONTOSO, FABRIKAM = "contoso.managedhsm.azure.net", "fabrikam.managedhsm.azure.net"


def test_each_name_is_an_hsm_of_its_own() -> None:
    with SandboxServer((CONTOSO, FABRIKAM)) as server:
        contoso, fabrikam = Wire(server, CONTOSO), Wire(server, FABRIKAM)
        made = contoso.create("a")
        assert made["key"]["kid"].startswith(f"https://{CONTOSO}:{server.port}/keys/a/")
        assert fabrikam.call("GET", "/keys/a").status == 404
        assert fabrikam.ok("GET", "/keys") == {"value": []}
        challenge = contoso.send("GET", "/keys").headers["www-authenticate"]
        assert challenge.endswith('resource="https://managedhsm.azure.net"')
        server.revoke("keys/read/action", hsm=FABRIKAM)
        assert fabrikam.call("GET", "/keys").status == 403
        assert contoso.call("GET", "/keys").status == 200
        unknown = Wire(server).send("GET", "/keys", headers={"Host": "other.managedhsm.azure.net"})
        assert unknown.error == (421, "UnknownHsm")
        assert Wire(server).send("GET", "/keys").error == (421, "UnknownHsm")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "hsm.localhost", "any.localhost"])
def test_loopback_names_reach_localhost(server: SandboxServer, wire: Wire, host: str) -> None:
    answer = wire.send("GET", "/keys", headers={"Host": f"{host}:{server.port}"})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].endswith(f'resource="{server.audience}"')


@pytest.mark.parametrize(
    ("host", "resource"),
    [
        ("contoso.managedhsm.azure.net", "https://managedhsm.azure.net"),
        ("contoso.managedhsm.azure.net:8443", "https://managedhsm.azure.net"),
        ("Contoso.ManagedHSM.usgovcloudapi.net", "https://managedhsm.usgovcloudapi.net"),
        ("contoso.managedhsm.azure.cn", "https://managedhsm.azure.cn"),
        ("localhost:8443", "https://localhost:8443"),
        ("hsm.localhost:8443", "https://localhost:8443"),
        ("127.0.0.1:8443", "https://localhost:8443"),
        ("[::1]:8443", "https://localhost:8443"),
        ("localhost", "https://localhost"),
        ("hsm.example.test:1", "https://example.test:1"),
        ("hsm", "https://hsm"),
    ],
)
def test_resource_of_a_host(host: str, resource: str) -> None:
    assert audience.resource_for(host) == resource


@pytest.mark.parametrize("hostname", ["localhost", "hsm.localhost", "127.0.0.1", CONTOSO])
def test_certificate_covers(hostname: str) -> None:
    with SandboxServer((CONTOSO, "localhost")) as server:
        context = ssl.create_default_context(cafile=server.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=hostname) as secured,
        ):
            assert secured.version() == "TLSv1.3"


def test_certificate_is_checked(server: SandboxServer) -> None:
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def issued(data: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((data / "server.pem").read_bytes())


def test_certificate_is_renewed_only_when_needed(tmp_path: Path) -> None:
    now = datetime.now(UTC)

    def serial(names: list[str], when: datetime = now) -> int:
        tls.server_context(tmp_path, names, when)
        return issued(tmp_path).serial_number

    first = serial(["localhost"])
    authority = (tmp_path / "ca.pem").read_bytes()
    assert serial(["localhost"]) == first
    more = serial(["localhost", CONTOSO])
    assert more != first
    assert serial(["localhost", CONTOSO], now + timedelta(days=330)) == more
    assert serial(["localhost", CONTOSO], now + timedelta(days=340)) != more
    assert (tmp_path / "ca.pem").read_bytes() == authority


def test_a_new_authority_replaces_the_certificate(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    tls.server_context(tmp_path, ["localhost"], now)
    first = issued(tmp_path)
    (tmp_path / "ca.pem").unlink()
    tls.server_context(tmp_path, ["localhost"], now)
    assert issued(tmp_path).serial_number != first.serial_number


def test_private_files_are_private(server: SandboxServer) -> None:
    for file in server.data.iterdir():
        if file.name != "stderr.log":
            assert file.stat().st_mode & 0o077 == 0, file.name
