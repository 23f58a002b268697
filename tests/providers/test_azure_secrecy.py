"""Secret, tokens and blobs show up nowhere: not in logs at their most talkative, not in errors."""

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator

import pytest

from cryptosources.providers.algorithms import SignatureAlgorithm
from cryptosources.providers.api import KeyBackup, KeyRef
from cryptosources.providers.azure.managed_hsm import AzureManagedHsm
from cryptosources.providers.errors import ProviderError
from tests.providers.azure_support import open_azure
from tests.providers.canned import SECRET, BreakOff, CannedServer, Reply, entra_refusal, refusal

BLOB = b"eyJhbGciOiJkaXIifQ..blob-that-must-stay-one.x.y"
TOKEN_MARK = "that-must-stay-one"  # in the secret, in every token and in the blob


@pytest.fixture(autouse=True)
def _everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every logger at DEBUG, those of the SDKs included."""
    names = ["azure", "msal", "urllib3", "requests", "azure.core.pipeline.policies.http_logging_policy"]
    with caplog.at_level(logging.DEBUG):
        before = {name: logging.getLogger(name).level for name in names}
        for name in names:
            logging.getLogger(name).setLevel(logging.DEBUG)
        yield
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with CannedServer() as running:
        yield running


def restore(provider: AzureManagedHsm) -> object:
    return provider.restore_key(KeyBackup(BLOB, "here", name="invoices"))


def sign(provider: AzureManagedHsm) -> object:
    return provider.sign_digest(KeyRef("invoices"), bytes(32), SignatureAlgorithm.ES256)


def shown(error: BaseException) -> str:
    """All that a log or a person may get to see of an error and of what caused it."""
    parts = [*traceback.format_exception(error), repr(error), str(error)]
    cause: BaseException | None = error
    while cause is not None:
        parts += [repr(cause), str(cause), str(cause.args)]
        cause = cause.__cause__
    parts += [str(value) for value in vars(error).values()]
    return "".join(parts)


@pytest.mark.parametrize("use", [restore, sign])
@pytest.mark.parametrize(
    ("tokens", "hsm"),
    [
        ([], [refusal(400, "BadParameter", "no")]),
        ([], [BreakOff()]),
        ([], [Reply(body="<html>odd</html>")]),
        ([], [Reply(401, ""), Reply(401, "")]),
        ([entra_refusal(401, "invalid_client", 7000215)], []),
        ([BreakOff()], []),
        ([Reply(500, "<html>odd</html>")], []),
        ([Reply(200, {"unexpected": "answer"})], []),
    ],
)
def test_nothing_leaks(
    server: CannedServer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    use: Callable[[AzureManagedHsm], object],
    tokens: list[Reply | BreakOff],
    hsm: list[Reply | BreakOff],
) -> None:
    server.tokens, server.hsm = list(tokens), list(hsm)
    provider = open_azure(server.config())
    with pytest.raises(ProviderError) as caught:
        use(provider)
    steps = list(provider.check_health())
    assert any(SECRET in seen.body for seen in server.seen)
    output = capfd.readouterr()
    everything = shown(caught.value) + caplog.text + output.out + output.err + repr(steps) + repr(provider)
    assert caplog.records
    assert TOKEN_MARK not in everything
    assert "blob-that" not in everything
    provider.close()


def test_a_configuration_does_not_show_its_secret(server: CannedServer) -> None:
    config = server.config()
    provider = open_azure(config)
    list(provider.list_keys())
    for value in (config, provider, provider._made_client().sign_in):
        assert SECRET not in f"{value!r} {value}"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(config)
    provider.close()
