"""A TLS server of a test's own that plays both Entra and the HSM, and misbehaves on demand.

The sandbox is for what a real service does; this is for what it must not do: hang, trickle, break off,
answer nonsense. Without instructions it answers every signed-in request with an empty list.
"""

import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cryptosources.providers.config import AzureConfig
from secretstore.secret import Secret

TENANT = "3f2c9a74-5b1e-4c39-9d50-8a4c2d6e7f10"
OTHER_TENANT = "99999999-5b1e-4c39-9d50-8a4c2d6e7f10"
DOMAIN = "contoso.example"
APPLICATION = "0b7f3c55-91f4-4a51-8a4f-0f6c8de0a111"
SECRET = "the-secret-that-must-stay-one~8Q"


@dataclass(frozen=True)
class Reply:
    """An answer; ``delay`` seconds pass before it."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True)
class Hang:
    """Read the request and never answer (until the server stops)."""


@dataclass(frozen=True)
class Trickle:
    """Send one header byte every ``pause`` seconds, for ever."""

    pause: float = 0.1


@dataclass(frozen=True)
class BreakOff:
    """Close the connection instead of answering; with ``half`` after half of the answer."""

    half: bool = False


@dataclass(frozen=True)
class HalfAndHang:
    """Send the headers and half of the body, then nothing more."""


Behaviour = Reply | Hang | Trickle | BreakOff | HalfAndHang


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    signed_in: bool
    body: str


class Authority:
    """A certificate authority for one test."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test root")])
        now = datetime.now(UTC)
        self.certificate = self._build(
            self._name, self._key.public_key(), now - timedelta(days=900), now + timedelta(days=900), None
        )

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, host: str, *, valid_from: datetime, valid_until: datetime) -> tuple[bytes, bytes]:
        """Certificate and private key as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        made = self._build(name, key.public_key(), valid_from, valid_until, host)
        return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def _build(
        self,
        name: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        valid_from: datetime,
        valid_until: datetime,
        host: str | None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid_from)
            .not_valid_after(valid_until)
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if host is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


class CannedServer:
    """Scripts for the HSM, the OpenID configuration and the token endpoint are used up in order.

    Then come the friendly defaults. ``seen`` keeps every request.
    """

    def __init__(
        self, *, certificate_host: str = "localhost", valid_from_days: float = -1, valid_until_days: float = 1
    ) -> None:
        self.authority = Authority()
        self.hsm: list[Behaviour] = []
        self.openid: list[Behaviour] = []
        self.tokens: list[Behaviour] = []
        self.seen: list[Seen] = []
        self.challenge_tenant = TENANT
        self.challenge_resource = ""
        self.challenge_override: Reply | None = None
        self.token_number = 0
        self.connections: list[socket.socket] = []
        self.stopping = threading.Event()
        now = datetime.now(UTC)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients break off here
        self._server.socket = self._context(
            certificate_host, now + timedelta(days=valid_from_days), now + timedelta(days=valid_until_days)
        ).wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close every socket; afterwards connections are refused."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def audience(self) -> str:
        return f"https://localhost:{self.port}"

    def config(self, *, secret: str = SECRET, tenant: str = TENANT, roots: str | None = None) -> AzureConfig:
        return AzureConfig(
            base_url=f"https://localhost:{self.port}",
            token_endpoint=f"https://localhost:{self.port}/{tenant}/oauth2/v2.0/token",
            application_id=APPLICATION,
            client_secret=Secret(secret),
            trusted_roots_pem=self.authority.pem if roots is None else roots,
            hsm_hosts=(f"localhost:{self.port}={self.audience}",),
            token_hosts=(f"localhost:{self.port}",),
        )

    def openid_reply(self, *, delay: float = 0.0, token_host: str = "") -> Reply:
        base = f"{self.audience}/{TENANT}"
        return Reply(
            body={
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{token_host or self.audience}/{TENANT}/oauth2/v2.0/token",
            },
            delay=delay,
        )

    def token_reply(self, *, delay: float = 0.0) -> Reply:
        self.token_number += 1
        token = f"token-{self.token_number}-that-must-stay-one"
        return Reply(body={"token_type": "Bearer", "expires_in": 3599, "access_token": token}, delay=delay)

    def count(self, path_part: str, *, signed_in: bool | None = None) -> int:
        return sum(
            path_part in each.path and (signed_in is None or each.signed_in is signed_in)
            for each in self.seen
        )

    def _context(self, host: str, valid_from: datetime, valid_until: datetime) -> ssl.SSLContext:
        certificate, key = self.authority.issue(host, valid_from=valid_from, valid_until=valid_until)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "server.pem"
            path.write_bytes(certificate + key)
            context.load_cert_chain(path)
        return context


def refusal(status: int, code: str, message: str = "no", *, inner: str = "") -> Reply:
    """An error body as the service writes it."""
    error: dict[str, Any] = {"code": code, "message": message}
    if inner:
        error["innererror"] = {"code": inner}
    return Reply(status, {"error": error})


def entra_refusal(status: int, error: str, aadsts: int, text: str = "Something is wrong.") -> Reply:
    trace = "Trace ID: 1b2c Correlation ID: 3d4e Timestamp: 2026-11-23 10:00:00Z"
    return Reply(
        status,
        {"error": error, "error_description": f"AADSTS{aadsts}: {text} {trace}", "error_codes": [aadsts]},
        {"x-ms-request-id": "entra-request"},
    )


def _handler(server: CannedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        timeout = 30

        def setup(self) -> None:
            server.connections.append(self.request)
            super().setup()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            signed_in = self.headers.get("Authorization") is not None
            server.seen.append(Seen(self.command, self.path, signed_in, body))
            if "/.well-known/" in self.path:
                self._behave(server.openid.pop(0) if server.openid else server.openid_reply())
            elif "/oauth2/" in self.path:
                self._behave(server.tokens.pop(0) if server.tokens else server.token_reply())
            elif not signed_in:
                self._behave(server.challenge_override or self._challenge())
            else:
                self._behave(server.hsm.pop(0) if server.hsm else Reply(body={"value": []}))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def _challenge(self) -> Reply:
            resource = server.challenge_resource or server.audience
            authority = f"https://login.example/{server.challenge_tenant}"
            header = f'Bearer authorization="{authority}", resource="{resource}"'
            return Reply(401, "", {"WWW-Authenticate": header})

        def _behave(self, behaviour: Behaviour) -> None:
            match behaviour:
                case Reply():
                    time.sleep(behaviour.delay)
                    self._answer(behaviour)
                case Hang():
                    server.stopping.wait(20)
                    self.close_connection = True
                case Trickle():
                    self._trickle(behaviour.pause)
                case BreakOff():
                    if behaviour.half:
                        self._half()
                    self._drop()
                case HalfAndHang():
                    self._half()
                    server.stopping.wait(20)
                    self.close_connection = True

        def _answer(self, reply: Reply) -> None:
            content = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            data = b"" if reply.status == 204 else content.encode()
            self.send_response(reply.status)
            for name, value in {"x-ms-request-id": "request-1", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

        def _half(self) -> None:
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"value":')
            self.wfile.flush()

        def _trickle(self, pause: float) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not server.stopping.wait(pause):
                self.wfile.write(b"a")
                self.wfile.flush()

        def _drop(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
