"""``manage.py check_source``: a worker does the work, the command tells of it."""

import io
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from audit.services import AuditRecord
from cryptosources.models import ConnectionTest
from cryptosources.providers.api import HealthStep, Right, StepOutcome
from cryptosources.providers.memory import MemoryProvider
from cryptosources.services import connection_test, key_cycle, throw_away
from cryptosources.services.connections import provider_for
from tests.cryptosources.conftest import InstallLicence
from tests.cryptosources.factories import azure_settings, make_source, memory_settings
from tests.cryptosources.finished import OBJECT_ID

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sealing_keys")]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker of one's own: carries out each message in a thread."""
    threads: list[threading.Thread] = []

    def work(test_id: str) -> None:
        try:
            connection_test.run_test(test_id=ConnectionTest.objects.get(pk=test_id).pk, clock=timezone.now)
        finally:
            connection.close()

    def publish(task: object, test_id: str) -> str:
        threads.append(threading.Thread(target=work, args=(test_id,)))
        threads[-1].start()
        return ""

    def step(key_id: str) -> None:
        try:
            key_cycle.perform(key_id=uuid.UUID(key_id), clock=timezone.now)
        finally:
            connection.close()

    def publish_step(task: object, key_id: str, *, expires: object) -> str:
        threads.append(threading.Thread(target=step, args=(key_id,)))
        threads[-1].start()
        return ""

    monkeypatch.setattr(connection_test, "publish", publish)
    monkeypatch.setattr(throw_away, "publish", publish_step)
    yield
    for thread in threads:
        thread.join(timeout=10)


def check(*words: str) -> tuple[int, str, str]:
    """Exit code, output and complaint of the command."""
    output = io.StringIO()
    try:
        call_command("check_source", *words, stdout=output)
    except CommandError as error:
        return error.returncode, output.getvalue(), str(error)
    return 0, output.getvalue(), ""


@pytest.mark.usefixtures("worker")
def test_a_healthy_source_is_0_and_its_steps() -> None:
    make_source(memory_settings("Vault A"))
    code, output, complaint = check("VAULT a")
    assert (code, complaint) == (0, "")
    assert output.splitlines()[0].startswith("ok    Address: ")
    assert "ok    Right: sign" in output
    assert AuditRecord.objects.get(action="source.test.requested").actor_name == "check_source"


@pytest.mark.usefixtures("worker")
def test_a_failed_step_is_1_and_what_to_do() -> None:
    provider = provider_for(source=make_source(memory_settings("Vault A")))
    assert isinstance(provider, MemoryProvider)
    provider.hsm.deny(Right.SIGN)
    code, output, complaint = check("Vault A")
    assert code == 1
    assert "FAIL  Right: sign [AccessDenied]" in output
    assert "What to do: Give the account the right sign." in output
    assert "Vault A" in complaint


@pytest.mark.usefixtures("worker")
def test_the_full_cycle_is_printed_step_by_step() -> None:
    make_source(memory_settings("Vault A"))
    code, output, _ = check("Vault A", "--full-cycle")
    assert code == 0
    lines = [line for line in output.splitlines() if line.startswith("ok  ")]
    assert "Create a throw-away key" in lines[-10]
    assert "Nothing is left of it" in lines[-1]


def test_a_refused_cycle_is_2_and_says_why() -> None:
    make_source(memory_settings("Vault A"), active=False)
    code, _, complaint = check("Vault A", "--full-cycle")
    assert code == 2
    assert "Inactive" in complaint


@pytest.mark.usefixtures("worker")
def test_missing_rights_come_with_their_repair(monkeypatch: pytest.MonkeyPatch, licensed: None) -> None:
    make_source(azure_settings())
    steps = [
        HealthStep("token", "Sign-in", StepOutcome.PASSED, facts={"object_id": OBJECT_ID}),
        HealthStep("right:keys/sign/action", "Right: sign", StepOutcome.FAILED, "No.", "AccessDenied"),
    ]
    monkeypatch.setattr(connection_test, "provider_for", lambda **_: _Answers(steps))
    code, output, _ = check("Contoso HSM")
    assert code == 1
    role = json.loads(output[output.index("{") : output.rindex("}") + 1])
    assert "Microsoft.KeyVault/managedHsm/keys/sign/action" in role["dataActions"]
    define, assign = output.splitlines()[-2:]
    assert define.endswith("--hsm-name contoso --role-definition @key-manager-role.json")
    assert f'--role "{role["roleName"]}" --assignee-object-id {OBJECT_ID} ' in assign
    code, output, _ = check("Contoso HSM", "--json")
    assert json.loads(output)["missing_rights"] == ["Microsoft.KeyVault/managedHsm/keys/sign/action"]


class _Answers:
    """A provider whose test yields these steps."""

    def __init__(self, steps: list[HealthStep]) -> None:
        self._steps = steps

    def check_health(self, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        return iter(self._steps)


@pytest.mark.usefixtures("worker")
def test_json_is_one_document() -> None:
    make_source(memory_settings("Vault A"))
    code, output, _ = check("Vault A", "--json")
    document = json.loads(output)
    assert code == 0
    assert (document["source"], document["state"], document["healthy"]) == ("Vault A", "finished", True)
    assert document["steps"][0]["name"] == "address"


@pytest.mark.usefixtures("worker")
def test_steps_are_printed_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(memory_settings("Vault A"))
    output = io.StringIO()

    def check_health(self: object, *, needed_rights: frozenset[str] | None = None) -> Iterator[HealthStep]:
        yield HealthStep("one", "First", StepOutcome.PASSED)
        seen = _within(5, lambda: "First" in output.getvalue())
        yield HealthStep("two", "Second", StepOutcome.PASSED if seen else StepOutcome.FAILED)

    monkeypatch.setattr(MemoryProvider, "check_health", check_health)
    call_command("check_source", "Vault A", stdout=output)
    assert "ok    Second" in output.getvalue()


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_no_such_source_is_2_and_names_what_there_is() -> None:
    make_source(memory_settings("Vault A"))
    code, _, complaint = check("Vault B")
    assert code == 2
    assert "“Vault A”" in complaint


def test_no_worker_is_2(sent: list[str]) -> None:
    make_source(memory_settings("Vault A"))
    code, _, complaint = check("Vault A", "--worker-within", "0.3")
    assert code == 2
    assert "No worker" in complaint
    assert len(sent) == 1


def test_no_broker_is_2_and_says_so() -> None:
    make_source(memory_settings("Vault A"))
    code, _, complaint = check("Vault A", "--worker-within", "0.3")
    assert code == 2
    assert "broker does not answer" in complaint


def test_an_unlicensed_type_is_2(install: InstallLicence) -> None:
    install("source:azure_managed_hsm")
    make_source(azure_settings())
    install("source:something_else")
    code, _, complaint = check("Contoso HSM")
    assert code == 2
    assert "does not include" in complaint
