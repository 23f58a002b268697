"""``check_source`` with a real worker, a real broker and a stand-in HSM, and with each of them gone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import Stack

pytestmark = pytest.mark.processes
LADDER = {
    "KEYMANAGER_PROVIDER_DEADLINE": "5",
    "KEYMANAGER_SOFT_LIMIT": "8",
    "KEYMANAGER_HARD_LIMIT": "10",
    "KEYMANAGER_CLAIM_SECONDS": "12",
    "KEYMANAGER_VISIBILITY_TIMEOUT": "20",
}
CREATE = """
import json, os
from django.utils import timezone
from audit.services import Actor
from cryptosources.providers.api import ProviderKind
from cryptosources.services.sources import SourceSettings, create_source
from secretstore.secret import Secret
given = json.loads(os.environ["KEYMANAGER_TEST_SOURCE"])
create_source(
    entered=SourceSettings(kind=ProviderKind.AZURE_MANAGED_HSM, key=Secret(given.pop("secret")), **given),
    actor=Actor.system("tests"),
    now=timezone.now(),
)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(web=False, beat=False, processes=1, ladder=LADDER) as running:
        create_source(running)
        yield running


def create_source(stack: Stack) -> None:
    given = {
        "friendly_name": "Sandbox",
        "dns_name": stack.sandbox.address(),
        "token_endpoint": stack.sandbox.token_endpoint(),
        "application_id": stack.sandbox.application_id,
        "secret": stack.sandbox.secret,
        "trusted_roots": Path(stack.sandbox.ca_file).read_text(),
    }
    done = manage(stack, "shell", "--no-imports", "-c", CREATE, KEYMANAGER_TEST_SOURCE=json.dumps(given))
    assert done.returncode == 0, done.stderr


def manage(stack: Stack, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """``manage.py`` as a web process runs it: without any key that opens a secret."""
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        env={**stack.installation.environment("web"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def check(stack: Stack, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON document (empty without one)."""
    done = manage(stack, "check_source", "sandbox", "--json", *words)
    assert stack.sandbox.secret not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {"complaint": done.stderr}


def test_a_worker_tests_a_good_source(stack: Stack) -> None:
    code, document = check(stack)
    assert (code, document["healthy"]) == (0, True), document
    assert {step["name"] for step in document["steps"]} >= {"dns", "tls", "token"}


def test_a_revoked_right_is_1(stack: Stack) -> None:
    stack.sandbox.revoke("keys/sign/action")
    try:
        code, document = check(stack)
    finally:
        stack.sandbox.grant("keys/sign/action")
    assert code == 1
    failed = [step for step in document["steps"] if step["outcome"] == "failed"]
    assert ["sign" in step["name"] for step in failed] == [True]


def test_an_hsm_that_is_down_is_1(stack: Stack) -> None:
    stack.sandbox.kill()
    try:
        code, document = check(stack)
    finally:
        stack.sandbox.start()
    assert code == 1
    assert document["steps"][-1]["outcome"] == "failed"


def test_without_a_worker_it_is_2_and_the_next_worker_catches_up(stack: Stack) -> None:
    stack.stop("worker-1")
    code, document = check(stack, "--worker-within", "1")
    assert code == 2
    assert "No worker" in document["complaint"]
    stack.start("worker-1")
    code, document = check(stack)
    assert (code, document["healthy"]) == (0, True)


def test_without_a_broker_it_is_2_and_says_so(stack: Stack) -> None:
    stack.kill("broker")
    try:
        code, document = check(stack, "--worker-within", "1")
    finally:
        stack.start("broker")
    assert code == 2
    assert "broker does not answer" in document["complaint"]


def test_no_secret_is_in_the_logs(stack: Stack) -> None:
    assert all(stack.sandbox.secret not in log for log in stack.logs().values())
