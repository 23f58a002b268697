"""``manage.py check_source``: a worker does the work, the command tells of it."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from audit.services import AuditRecord
from cryptosources.models import ConnectionTest
from cryptosources.providers.api import HealthStep, Right, StepOutcome
from cryptosources.providers.memory import MemoryProvider
from cryptosources.services import connection_test
from cryptosources.services.connections import provider_for
from tests.cryptosources.conftest import InstallLicence
from tests.cryptosources.factories import azure_settings, make_source, memory_settings

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

    monkeypatch.setattr(connection_test, "publish", publish)
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
