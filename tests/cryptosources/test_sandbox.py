"""Test connection of an Azure Managed HSM source against a stand-in HSM, over TLS."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from cryptosources.errors import CycleRefused
from cryptosources.models import ConnectionTest, CryptoSource, CycleStep
from cryptosources.services import connection_test, key_cycle, throw_away
from cryptosources.services.connections import provider_for
from cryptosources.services.rights import rights_report
from cryptosources.services.throw_away import Held
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


# --- The full cycle with a throw-away key -----------------------------------------------------------


def full_cycle(source: CryptoSource) -> ConnectionTest:
    """A whole test with a throw-away key, message by message."""
    test = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now(), full_cycle=True)
    connection_test.run_test(test_id=test.pk, clock=timezone.now)
    test.refresh_from_db()
    for _ in CycleStep:
        if not test.is_over:
            key_cycle.perform(key_id=source.throw_away_keys.get().pk, clock=timezone.now)
            test.refresh_from_db()
    return test


def keys_in(source: CryptoSource) -> set[str]:
    """The names that the HSM knows, live and deleted."""
    provider = provider_for(source=source)
    return {info.ref.name for deleted in (False, True) for info in provider.list_keys(deleted=deleted)}


def test_the_full_cycle_leaves_nothing(sandbox: SandboxServer) -> None:
    source = source_at(sandbox, backup_restore=True)
    before = keys_in(source)
    sandbox.reset_requests()
    test = full_cycle(source)
    assert (test.state, test.healthy) == ("finished", True), test.steps
    assert [step["name"] for step in test.steps if step["name"].startswith("cycle:")][-1] == "cycle:gone"
    assert keys_in(source) == before
    assert not source.throw_away_keys.exists()
    assert all(step["duration_ms"] > 0 for step in test.steps if step["name"] == "cycle:create")
    counts = sandbox.requests()
    for what in ("create", "backup", "restore"):
        assert sum(count for name, count in counts.items() if name.startswith(f"{what} 200")) == 1, counts


@pytest.mark.parametrize("right", ["keys/backup/action", "keys/restore/action"])
def test_a_right_lost_on_the_way_is_named_with_its_cure(
    sandbox: SandboxServer, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = sandbox.add_app("Loses a right")
    source = source_at(sandbox, application_id=app.application_id, key=Secret(app.secret.value))
    before = keys_in(source)

    def lose(held: Held) -> str:
        sandbox.revoke(right, application_id=app.application_id)
        return key_cycle._sign(held)

    monkeypatch.setitem(key_cycle._STEPS, CycleStep.SIGN, lose)
    test = full_cycle(source)
    failed = [step for step in test.steps if step["outcome"] == "failed"]
    assert [step["facts"]["missing_right"] for step in failed] == [f"Microsoft.KeyVault/managedHsm/{right}"]
    assert right in failed[0]["remedy"]
    assert test.steps[-1]["name"] == "cycle:remove"
    assert keys_in(source) == before
    repair = rights_report(source=source, test=test).repair
    assert repair is not None
    assert f"--assignee-object-id {app.object_id} " in repair.assign_line


def test_a_lost_right_to_purge_is_cleaned_up_once_it_is_back(sandbox: SandboxServer) -> None:
    app = sandbox.add_app("Loses purge")
    source = source_at(sandbox, application_id=app.application_id, key=Secret(app.secret.value))
    before = keys_in(source)
    test = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now(), full_cycle=True)
    connection_test.run_test(test_id=test.pk, clock=timezone.now)
    sandbox.revoke(PURGE, application_id=app.application_id)
    for _ in CycleStep:
        test.refresh_from_db()
        if not test.is_over:
            key_cycle.perform(key_id=source.throw_away_keys.get().pk, clock=timezone.now)
    key = source.throw_away_keys.get()
    assert PURGE in key.remedy
    assert keys_in(source) == before | {key.name}
    sandbox.grant(PURGE, application_id=app.application_id)
    assert throw_away.try_again(key_id=key.pk, actor=ACTOR, now=timezone.now())
    key_cycle.perform(key_id=key.pk, clock=timezone.now)
    assert keys_in(source) == before
    assert not source.throw_away_keys.exists()


def test_purge_protection_is_found_on_the_key_and_the_key_deleted(settings: Settings) -> None:
    with SandboxServer(purge_protection=True, retention_days=7) as protected:
        settings.HSM_HOSTS = [f"localhost:{protected.port}={protected.audience}"]
        settings.TOKEN_HOSTS = [f"localhost:{protected.port}"]
        source = source_at(protected)
        test = full_cycle(source)
        steps = {step["name"]: step for step in test.steps}
        assert steps["purge_protection"]["outcome"] == "failed"
        assert steps["cycle:remove"]["outcome"] == "warning"
        key = source.throw_away_keys.get()
        assert key.remains_until is not None
        assert timedelta(days=6) < key.remains_until - timezone.now() < timedelta(days=8)
        assert not list(provider_for(source=source).list_keys())
        with pytest.raises(CycleRefused, match="purge protection"):
            connection_test.request_test(source=source, actor=ACTOR, now=timezone.now(), full_cycle=True)
