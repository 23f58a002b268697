"""Raw requests to a sandbox, to see exactly what is on the wire."""

import base64
import http.client
import json
import re
import socket
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from tests.sandbox_server import CALL_SECONDS, SandboxServer

API_VERSION = "7.4"


@dataclass(frozen=True)
class Answer:
    """Header names are in lower case; ``body`` is parsed JSON, None where there was none."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of a refusal."""
        return self.status, self.body["error"]["code"]

    @property
    def message(self) -> str:
        """The refusal's text without the activity id, which must be the request's."""
        text = str(self.body["error"]["message"])
        found = re.fullmatch(r"(.*) \(Activity ID: ([0-9a-f-]{36})\)", text, re.DOTALL)
        assert found, text
        assert found[2] == self.headers["x-ms-request-id"]
        return found[1]


class _Connection(http.client.HTTPSConnection):
    """Connects to this machine whatever the host is called, and asks for that host's certificate."""

    def __init__(self, server: SandboxServer, hostname: str) -> None:
        self._tls = server.ssl_context()
        super().__init__(hostname, server.port, timeout=CALL_SECONDS, context=self._tls)

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=CALL_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


_connected: "list[Wire]" = []


def close_all() -> None:
    """Close every connection that is still open."""
    while _connected:
        _connected.pop().close()


@dataclass
class Wire:
    """A client of one HSM. Fetches its token once, by default for the sandbox's own application."""

    server: SandboxServer
    hostname: str = "localhost"
    application_id: str = ""
    secret: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    connection: http.client.HTTPSConnection | None = None
    pid: int = 0

    @property
    def audience(self) -> str:
        if self.hostname.endswith(".managedhsm.azure.net"):
            return "https://managedhsm.azure.net"
        return self.server.audience

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request as it is; ``body`` is JSON unless it is bytes already."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = self._connect()
        try:
            connection.request(method, path, content, headers or {})
            answer = connection.getresponse()
            raw = answer.read()
        except BaseException:
            self.close()
            raise
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, json.loads(raw) if raw else None)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _connect(self) -> http.client.HTTPSConnection:
        """The connection, kept open from request to request of one run of the server."""
        if self.connection is None or self.pid != self.server.pid:
            self.close()
            self.connection, self.pid = _Connection(self.server, self.hostname), self.server.pid
            _connected.append(self)
        return self.connection

    def call(self, method: str, path: str, body: Any = None, *, version: str = API_VERSION) -> Answer:
        """An authorised request with an api-version."""
        separator = "&" if "?" in path else "?"
        return self.send(method, f"{path}{separator}api-version={version}", body, self.authorization())

    def ok(self, method: str, path: str, body: Any = None, *, version: str = API_VERSION) -> Any:
        """The body of an authorised request that must succeed."""
        answer = self.call(method, path, body, version=version)
        assert answer.status in {200, 201, 204}, answer
        return answer.body

    def authorization(self) -> dict[str, str]:
        if self.audience not in self.tokens:
            self.tokens[self.audience] = self.fetch_token(self.audience).body["access_token"]
        return {"Authorization": f"Bearer {self.tokens[self.audience]}"}

    def fetch_token(self, resource: str) -> Answer:
        return self.ask_for_token(
            client_id=self.application_id or self.server.application_id,
            client_secret=self.secret or self.server.secret,
            scope=f"{resource}/.default",
        )

    def ask_for_token(self, *, tenant: str = "", endpoint: str = "oauth2/v2.0/token", **form: str) -> Answer:
        """A client credentials request; fields given empty are left out."""
        form = {"grant_type": "client_credentials", **form}
        content = urllib.parse.urlencode({name: value for name, value in form.items() if value}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        path = f"/{tenant or self.server.tenant}/{endpoint}"
        return Wire(self.server).send("POST", path, content, headers)

    # -- what most tests begin with --

    def create(self, name: str, kty: str = "EC-HSM", **body: Any) -> Any:
        return self.ok("POST", f"/keys/{name}/create", {"kty": kty, **body})

    def delete(self, name: str) -> Any:
        return self.ok("DELETE", f"/keys/{name}")

    def purge(self, name: str) -> None:
        self.ok("DELETE", f"/deletedkeys/{name}")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def version_of(bundle: Any) -> str:
    """The version at the end of a key bundle's identifier."""
    return str(bundle["key"]["kid"]).rpartition("/")[2]
