"""Test connection of an Azure Managed HSM source against a stand-in HSM, over TLS."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from cryptosources.models import CryptoSource
from cryptosources.services import connection_test
from secretstore.secret import Secret
from tests.cryptosources.certificates import certificate
from tests.cryptosources.factories import ACTOR, azure_settings, make_source
from tests.sandbox_server import SandboxServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("licensed", "sent")]
READ_DELETED = "keys/deletedKeys/read/action"
RECOVER = "keys/deletedKeys/recover/action"
PURGE = "keys/deletedKeys/delete"


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


@pytest.fixture
def sandbox(server: SandboxServer, settings: Settings) -> SandboxServer:
    settings.HSM_HOSTS = [f"localhost:{server.port}={server.audience}"]
    settings.TOKEN_HOSTS = [f"localhost:{server.port}"]
    return server


def source_at(sandbox: SandboxServer, **changes: Any) -> CryptoSource:
    values: dict[str, Any] = {
        "dns_name": sandbox.address(),
        "token_endpoint": sandbox.token_endpoint(),
        "application_id": sandbox.application_id,
        "key": Secret(sandbox.secret),
        "trusted_roots": Path(sandbox.ca_file).read_text(),
    }
    return make_source(azure_settings(**(values | changes)))


def outcome_of(source: CryptoSource) -> tuple[bool | None, dict[str, dict[str, Any]]]:
    """The result, and the steps by name."""
    test = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now())
    connection_test.run_test(test_id=test.pk, clock=timezone.now)
    test.refresh_from_db()
    return test.healthy, {step["name"]: step for step in test.steps}


def failure(source: CryptoSource) -> dict[str, Any]:
    """The one step that failed."""
    healthy, steps = outcome_of(source)
    assert healthy is False
    (failed,) = [step for step in steps.values() if step["outcome"] == "failed"]
    return failed


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("backup_restore", [False, True])
def test_a_good_source_is_healthy(sandbox: SandboxServer, version: int, backup_restore: bool) -> None:
    healthy, steps = outcome_of(
        source_at(sandbox, token_endpoint=sandbox.token_endpoint(version), backup_restore=backup_restore)
    )
    assert healthy, steps
    assert any(name.startswith("right:") for name in steps)
    assert (any("backup" in name for name in steps)) is backup_restore


def test_a_wrong_secret_is_named_and_tried_once(sandbox: SandboxServer) -> None:
    source = source_at(sandbox, key=Secret("not-the-secret"))
    sandbox.reset_requests()
    failed = failure(source)
    assert (failed["name"], failed["code"]) == ("token", "AADSTS7000215")
    assert failed["remedy"]
    assert "not-the-secret" not in str(failed)
    assert sum(count for what, count in sandbox.requests().items() if "token" in what) == 1


def test_an_expired_secret_is_named(sandbox: SandboxServer) -> None:
    past = timezone.now() - timedelta(days=1)
    expired = sandbox.add_secret(past - timedelta(days=30), past)
    assert failure(source_at(sandbox, key=Secret(expired.value)))["code"] == "AADSTS7000222"


def test_an_unknown_application_is_named(sandbox: SandboxServer) -> None:
    source = source_at(sandbox, application_id="00000000-0000-0000-0000-000000000001")
    assert failure(source)["code"] == "AADSTS700016"


@pytest.mark.parametrize("roots", ["", certificate("Somebody else's root")])
def test_an_untrusted_certificate_is_named(sandbox: SandboxServer, roots: str) -> None:
    assert failure(source_at(sandbox, trusted_roots=roots))["name"] == "tls"


def test_a_missing_purge_right_fails_only_where_it_is_needed(sandbox: SandboxServer) -> None:
    app = sandbox.add_app("Without purge", grants=["Crypto User", READ_DELETED, RECOVER])
    without = {"application_id": app.application_id, "key": Secret(app.secret.value)}
    failed = failure(source_at(sandbox, name="With", backup_restore=True, **without))
    assert PURGE in failed["name"]
    assert PURGE in failed["remedy"]
    healthy, steps = outcome_of(source_at(sandbox, name="Without", **without))
    assert healthy, steps


def test_an_hsm_that_is_down_is_named(sandbox: SandboxServer) -> None:
    source = source_at(sandbox)
    sandbox.stop()
    try:
        assert failure(source)["name"] == "tcp"
    finally:
        sandbox.start()


def test_a_host_taken_off_the_list_is_refused_by_the_worker(
    sandbox: SandboxServer, settings: Settings
) -> None:
    source = source_at(sandbox)
    settings.HSM_HOSTS = [".managedhsm.azure.net"]
    failed = failure(source)
    assert failed["name"] in ("settings", "address")
