"""What the network may do to a call, and how the call ends then: in time, and with the right error."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyRef, KeySpec
from cryptosources.providers.azure import network
from cryptosources.providers.azure.deadline import provider_call
from cryptosources.providers.azure.managed_hsm import AzureManagedHsm
from cryptosources.providers.config import AzureConfig, Timeouts
from cryptosources.providers.errors import (
    ConfigurationError,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
)
from secretstore.secret import Secret
from tests.providers.azure_support import TIMEOUTS, open_azure
from tests.providers.canned import (
    APPLICATION,
    SECRET,
    TENANT,
    BreakOff,
    CannedServer,
    HalfAndHang,
    Hang,
    Reply,
    Trickle,
    refusal,
)

SHORT = Timeouts(connect=0.5, read=0.5, total=1.0)
NOT_FOUND = refusal(404, "KeyNotFound", "Key not found: x")
DIGEST = bytes(32)
Use = Callable[[AzureManagedHsm], object]


def create(provider: AzureManagedHsm) -> object:
    return provider.create_key(KeySpec("invoices", KeyAlgorithm.EC_P256))


def describe(provider: AzureManagedHsm) -> object:
    return provider.describe_key(KeyRef("invoices"))


def sign(provider: AzureManagedHsm) -> object:
    return provider.sign_digest(KeyRef("invoices"), DIGEST, SignatureAlgorithm.ES256)


def delete(provider: AzureManagedHsm) -> None:
    provider.delete_key(KeyRef("invoices"))


def backup(provider: AzureManagedHsm) -> object:
    return provider.backup_key(KeyRef("invoices"))


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with CannedServer() as running:
        yield running


@pytest.fixture
def provider(server: CannedServer) -> Iterator[AzureManagedHsm]:
    with open_azure(server.config(), SHORT) as opened:
        yield opened


def timed(use: Callable[[], object], error: type[ProviderError], at_most: float) -> ProviderError:
    started = time.monotonic()
    with pytest.raises(error) as caught:
        use()
    assert time.monotonic() - started < at_most
    return caught.value


# --- A server that is not there -----------------------------------------------------------------


@pytest.mark.parametrize("use", [create, describe, sign, delete, backup])
def test_a_stopped_server_is_unavailable_within_the_deadline(
    server: CannedServer, provider: AzureManagedHsm, use: Use
) -> None:
    server.stop()
    error = timed(lambda: use(provider), ProviderUnavailable, SHORT.total)
    assert error.retryable
    assert error.outcome_known
    assert error.operation
    assert error.key == "invoices"


def test_a_server_that_stops_between_calls_is_unavailable(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    assert list(provider.list_keys()) == []
    server.stop()
    timed(lambda: list(provider.list_keys()), ProviderUnavailable, SHORT.total + 0.5)


def test_a_host_that_drops_packets_is_unavailable_within_the_deadline() -> None:
    """A listener whose backlog is full answers no connection, like a firewall that drops."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        where = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(where)
        with provider_call("read", SHORT):
            timed(
                lambda: network.connect("localhost", [(socket.AF_INET, where)]),
                ProviderUnavailable,
                SHORT.total,
            )
        for filler in fillers:
            filler.close()


def test_an_unknown_host_is_unavailable_and_named() -> None:
    with (
        provider_call("read", TIMEOUTS),
        pytest.raises(ProviderUnavailable, match=r"nowhere\.invalid") as caught,
    ):
        network.resolve("nowhere.invalid", 443)
    assert caught.value.code == "DNS"
    assert caught.value.remedy


def test_a_hanging_name_server_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> list[object]:
        time.sleep(3)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with provider_call("read", SHORT):
        timed(lambda: network.resolve("slow.example", 443), ProviderUnavailable, SHORT.total)


# --- A server that does not answer --------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "use", "error"),
    [
        (Hang(), describe, ProviderUnavailable),
        (Hang(), sign, ProviderUnavailable),
        (Hang(), delete, OutcomeUnknown),
        (Hang(), backup, ProviderUnavailable),
        (Trickle(0.05), describe, ProviderUnavailable),
        (Trickle(0.05), delete, OutcomeUnknown),
        (HalfAndHang(), describe, ProviderUnavailable),
        (HalfAndHang(), delete, OutcomeUnknown),
    ],
)
def test_an_answer_that_never_ends_ends_with_the_deadline(
    server: CannedServer,
    provider: AzureManagedHsm,
    behaviour: Hang | Trickle | HalfAndHang,
    use: Use,
    error: type[ProviderError],
) -> None:
    server.hsm = [behaviour]
    caught = timed(lambda: use(provider), error, SHORT.total + 0.5)
    assert type(caught) is error
    assert caught.retryable
    assert caught.outcome_known is (error is ProviderUnavailable)


def test_the_deadline_covers_all_requests_of_a_call(server: CannedServer, provider: AzureManagedHsm) -> None:
    """Four requests of 0.4 s each: none is slow by itself, together they are past the second."""
    server.openid = [server.openid_reply(delay=0.4)]
    server.tokens = [server.token_reply(delay=0.4)]
    server.hsm = [Reply(404, NOT_FOUND.body, delay=0.4), Reply(delay=0.4)]
    error = timed(lambda: create(provider), ProviderUnavailable, SHORT.total + 0.4)
    assert type(error) is ProviderUnavailable


@pytest.mark.parametrize("where", ["openid", "tokens"])
@pytest.mark.parametrize("behaviour", [Hang(), BreakOff()], ids=lambda each: type(each).__name__)
def test_a_hanging_sign_in_leaves_the_outcome_known(
    server: CannedServer, provider: AzureManagedHsm, where: str, behaviour: Hang | BreakOff
) -> None:
    setattr(server, where, [behaviour])
    error = timed(lambda: delete(provider), ProviderUnavailable, SHORT.total + 0.5)
    assert type(error) is ProviderUnavailable
    assert server.count("/keys/", signed_in=True) == 0


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("use", "error"), [(describe, ProviderUnavailable), (sign, ProviderUnavailable), (delete, OutcomeUnknown)]
)
def test_a_connection_broken_off_is_sent_once(
    server: CannedServer, provider: AzureManagedHsm, use: Use, error: type[ProviderError], half: bool
) -> None:
    server.hsm = [BreakOff(half)] * 5
    caught = timed(lambda: use(provider), error, SHORT.total)
    assert type(caught) is error
    assert server.count("/keys/", signed_in=True) == 1


def test_a_created_key_whose_answer_is_lost_is_an_unknown_outcome(
    server: CannedServer, provider: AzureManagedHsm
) -> None:
    server.hsm = [NOT_FOUND, BreakOff()]
    with pytest.raises(OutcomeUnknown):
        create(provider)
    assert server.count("/create", signed_in=True) == 1


# --- TLS ----------------------------------------------------------------------------------------


def tls_error(server: CannedServer, roots: str | None = None) -> ProviderError:
    with open_azure(server.config(roots=roots), TIMEOUTS) as provider:
        with pytest.raises(ConfigurationError) as caught:
            describe(provider)
        assert server.seen == []
        return caught.value


def test_an_untrusted_certificate_is_named(server: CannedServer) -> None:
    error = tls_error(server, roots="")
    assert "not trusted" in error.message
    assert "localhost" in error.message
    assert "root certificate" in error.remedy


def test_another_authoritys_root_is_not_enough(server: CannedServer) -> None:
    with CannedServer() as other:
        assert "not trusted" in tls_error(server, roots=other.authority.pem).message


@pytest.mark.parametrize(
    ("server_options", "words"),
    [
        ({"certificate_host": "other.example"}, "another host name"),
        ({"valid_from_days": -10, "valid_until_days": -1}, "has expired"),
        ({"valid_from_days": 1, "valid_until_days": 10}, "not valid yet"),
    ],
)
def test_a_bad_certificate_is_named(server_options: dict[str, object], words: str) -> None:
    with CannedServer(**server_options) as server:  # type: ignore[arg-type]  # one of three options
        error = tls_error(server)
        assert words in error.message
        assert error.remedy


def test_roots_that_are_not_pem_are_named(server: CannedServer) -> None:
    error = tls_error(server, roots="not a certificate")
    assert "cannot be read" in error.message


def test_a_server_without_tls_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        port = plain.getsockname()[1]
        config = AzureConfig(
            base_url=f"https://localhost:{port}",
            token_endpoint=f"https://localhost:{port}/{TENANT}/oauth2/token",
            application_id=APPLICATION,
            client_secret=Secret(SECRET),
            hsm_hosts=(f"localhost:{port}=https://localhost:{port}",),
            token_hosts=(f"localhost:{port}",),
        )

        def answer() -> None:
            connection, _ = plain.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with open_azure(config, SHORT) as provider, pytest.raises(ConfigurationError, match="TLS"):
            describe(provider)
        thread.join(5)


# --- Where it connects --------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:169.254.169.254"])
def test_a_name_that_leads_to_a_forbidden_address_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", (address, 443))]
    )
    opened: list[object] = []
    monkeypatch.setattr(network, "_open", lambda *where: opened.append(where))
    with provider_call("read", SHORT), pytest.raises(ConfigurationError, match="never used") as caught:
        network.connect("contoso.managedhsm.azure.net", network.resolve("contoso.managedhsm.azure.net", 443))
    assert opened == []
    assert caught.value.remedy


def test_names_under_localhost_need_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked"))
    assert network.resolve("hsm.localhost", 8443)[0] == (socket.AF_INET, ("127.0.0.1", 8443))


def test_the_environment_steers_nothing(
    server: CannedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy, a netrc password or a bundle of roots from the environment is not looked at."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
    with open_azure(server.config(), TIMEOUTS) as provider:
        assert list(provider.list_keys()) == []
