"""The one way to the network: a session whose every wait ends with the call's deadline.

- The deadline is total. It is asked before each socket operation, so a peer that sends a byte now and
  then cannot stretch it; name resolution, which cannot be interrupted, runs in a thread of its own.
- Loopback, link-local and metadata addresses are refused before a connection to them is opened, for
  the very address that is connected to: there is no second name look-up to trick.
- Nothing from the environment steers it: no proxy, no ``.netrc``, no other certificate bundle.
- Failures before the first byte of a request are raised as our own errors, here, where host and cause
  are known. Whatever else fails, failed later.
"""

import socket
import ssl
import threading
from collections.abc import Iterable
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

from cryptosources.providers.azure.deadline import current_call
from cryptosources.providers.azure.errors import tls_failure
from cryptosources.providers.errors import ConfigurationError
from cryptosources.providers.hosts import is_loopback_name, why_peer_refused

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
_POOL_SIZE: Final = 64


def resolve(host: str, port: int) -> list[Address]:
    """The host's addresses. ProviderUnavailable when it has none or the answer takes too long.

    Names under ``localhost`` mean loopback without asking anybody (RFC 6761, 6.3).
    """
    if is_loopback_name(host):
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]
    answer: SimpleQueue[list[Address] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put([(family, where) for family, _, _, _, where in found])
        except OSError as err:
            answer.put(err)

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    call = current_call()
    remedy = (
        "Check the spelling, and that this machine's name server knows the name (Private Link: its DNS zone)."
    )
    try:
        result = answer.get(timeout=call.to_connect())
    except (Empty, TimeoutError) as err:
        raise call.unavailable(f"Looking up {host} took too long.", code="DNS", remedy=remedy) from err
    if isinstance(result, OSError):
        raise call.unavailable(
            f"The name {host} cannot be resolved: {result.strerror}.", code="DNS", remedy=remedy
        ) from result
    return result


def connect(host: str, addresses: Iterable[Address]) -> socket.socket:
    """A TCP connection to the first address that answers.

    ConfigurationError when only refused addresses are left; ProviderUnavailable when none answers.
    """
    call = current_call()
    refused, failure = "", None
    for family, where in addresses:
        reason = why_peer_refused(where[0], loopback_allowed=is_loopback_name(host))
        if reason:
            refused = f"{where[0]} is {reason}"
            continue
        try:
            return _open(family, where)
        except OSError as err:
            failure = err
    if failure is None:
        raise ConfigurationError(
            f"{host} resolves to an address that is never used: {refused or 'there is none'}.",
            operation=call.operation,
            key=call.key,
            code="PEER",
            remedy="Correct the host's DNS entry or the address in the crypto source.",
        )
    words = "did not answer in time" if isinstance(failure, TimeoutError) else failure.strerror or "failed"
    raise call.unavailable(
        f"No connection to {host} on port {where[1]}: {words}.",
        code="TCP",
        remedy="Check that it is up, and that firewalls and network rules let this machine through.",
    ) from failure


def _open(family: socket.AddressFamily, where: tuple[Any, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(current_call().to_connect())
        opened.connect(where)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        opened.close()
        raise
    return opened


def handshake(opened: socket.socket, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """TLS over a connection, which it takes over. ConfigurationError | ProviderUnavailable."""
    try:
        return context.wrap_socket(opened, server_hostname=host)
    except OSError as err:
        raise tls_failure(err, host, current_call()) from err
    finally:
        opened.close()


class _DeadlineSocket(ssl.SSLSocket):
    """A TLS socket that asks the call's deadline before each wait. OpenSSL's own wait is total."""

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(current_call().to_connect())
        super().do_handshake(block)

    def send(self, data: Any, flags: int = 0) -> int:
        self.settimeout(current_call().to_read())
        return super().send(data, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(current_call().to_read())
        return super().recv_into(buffer, nbytes, flags)


def tls_context(trusted_roots_pem: str) -> ssl.SSLContext:
    """Verifies against the platform's roots and the given ones. ConfigurationError if those are not PEM."""
    context = ssl.create_default_context()
    context.sslsocket_class = _DeadlineSocket
    if not _platform_has_roots():
        context.load_verify_locations(certifi.where())
    if trusted_roots_pem.strip():
        try:
            context.load_verify_locations(cadata=trusted_roots_pem)
        except (ssl.SSLError, ValueError) as err:
            raise ConfigurationError(
                "The trusted root certificates cannot be read.",
                operation="open",
                code="PEM",
                remedy="Paste whole certificates in PEM form, from BEGIN CERTIFICATE to END CERTIFICATE.",
            ) from err
    return context


def _platform_has_roots() -> bool:
    """False on a bare system: OpenSSL then has neither a bundle nor a directory with certificates."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or bool(paths.capath and any(Path(paths.capath).iterdir()))


class _Connection(HTTPSConnection):
    """urllib3's connection over our own resolving, connecting and TLS."""

    def _new_conn(self) -> socket.socket:
        return connect(self.host, resolve(self.host, self.port))

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as err:
            raise tls_failure(err, self.host, current_call()) from err


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """Mounts the pool above and the TLS context; retries nothing."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=_POOL_SIZE)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the context as it is; requests would add its own bundle of roots to it."""
        conn.cert_reqs = "CERT_REQUIRED"


def new_session(context: ssl.SSLContext) -> requests.Session:
    """A pooled HTTPS-only session without cookies. Make it after a fork; close it when done."""
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.adapters.clear()
    session.mount("https://", _Adapter(context))
    return session
