"""A worker killed in the middle of a throw-away key's life: the key is removed all the same."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cryptosources.test_processes import LADDER, create_source
from tests.services import Stack

pytestmark = pytest.mark.processes
CLEANED_UP_WITHIN = 60.0
ASK = """
from django.utils import timezone
from audit.services import Actor
from cryptosources.models import CryptoSource
from cryptosources.services import connection_test, sources
source = CryptoSource.objects.get()
sources.activate(source_id=source.pk, actor=Actor.system("tests"), now=timezone.now())
source.refresh_from_db()
connection_test.request_test(source=source, actor=Actor.system("tests"), now=timezone.now(), full_cycle=True)
"""
LOOK = """
import json
from cryptosources.models import CryptoSource, ThrowAwayKey
from cryptosources.services.connections import close_connections, provider_for
source = CryptoSource.objects.get()
provider = provider_for(source=source)
found = [key.ref.name for deleted in (False, True) for key in provider.list_keys(deleted=deleted)]
test = source.tests.first()
close_connections()
print(json.dumps({
    "in_hsm": found,
    "owed": [key.name for key in ThrowAwayKey.objects.all()],
    "state": test.state,
    "problem": test.problem,
}))
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = {"KEYMANAGER_RESEND_SECONDS": "0.5"}
    with Stack(web=False, beat=True, processes=1, ladder=LADDER, settings=settings) as running:
        create_source(running)
        yield running


def look(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.python(LOOK))
    return found


@pytest.mark.parametrize("request_done", ["create 200", "restore 200"])
def test_the_key_of_a_killed_worker_is_removed(stack: Stack, request_done: str) -> None:
    stack.sandbox.reset_requests()
    stack.python(ASK)
    await_that(lambda: request_done in stack.sandbox.requests(), seconds=30, pace=0.005)
    stack.kill("worker-1")
    left = look(stack)
    assert len(left["owed"]) == 1, "the worker was not killed in the middle"
    assert set(left["in_hsm"]) <= set(left["owed"])
    stack.start("worker-1")
    await_that(lambda: not look(stack)["owed"], seconds=CLEANED_UP_WITHIN, pace=0.5)
    found = look(stack)
    assert found["in_hsm"] == []
    assert (found["state"], "worker stopped" in found["problem"]) == ("failed", True)


def await_that(condition: Callable[[], bool], *, seconds: float, pace: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pace)
