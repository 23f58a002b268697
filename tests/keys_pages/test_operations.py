"""The page of one operation: progress, failure, trying again, and what scripts read."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.errors import (
    AccessDenied,
    AuthenticationFailed,
    ProviderError,
    ProviderUnavailable,
    UnsupportedOperation,
)
from cryptosources.providers.memory import MemoryHsm
from keys.lifecycle import OperationKind
from keys.models import KeyOperation, ManagedKey
from keys.services import operations, requests
from tests.conftest import Clock
from tests.keys.conftest import ALICE, Run
from tests.keys_pages.conftest import Do, NewKey, asked, key_url, operation_url, text_of
from tests.ui.markup import parse

K = OperationKind


def _request(key: ManagedKey, kind: K, clock: Clock) -> KeyOperation:
    return requests.request_operation(key=key, kind=kind, actor=ALICE, now=clock.advance(seconds=1))


def _steps(html: str) -> list[str]:
    """How each step stands: the second class of its line."""
    return [step["class"].split()[-1] for step in parse(html).with_class("step")]


def _live(client: Client, operation: KeyOperation) -> tuple[bool, str]:
    answer = client.get(operation_url(operation, "live/"))
    assert answer["Content-Type"] == "application/json"
    assert "no-store" in answer["Cache-Control"]
    told = answer.json()
    assert set(told) == {"finished", "html"}
    return told["finished"], told["html"]


def test_the_live_part_follows_the_steps(operator: Client, new_key: NewKey, clock: Clock) -> None:
    operation = _request(new_key(), K.BACKUP, clock)
    page = text_of(operator.get(operation_url(operation)))
    assert f'data-live="{operation_url(operation, "live/")}' in page
    finished, html = _live(operator, operation)
    assert (finished, _steps(html)) == (False, ["step-waiting", "step-waiting"])
    operations.perform(operation_id=operation.pk, clock=clock)
    finished, html = _live(operator, operation)
    assert (finished, _steps(html)) == (False, ["step-passed", "step-waiting"])
    assert "waits for a worker" in html
    assert "next: verify backup" in html
    assert "2 of 2" in html
    operations.perform(operation_id=operation.pk, clock=clock)
    finished, html = _live(operator, operation)
    assert (finished, _steps(html)) == (True, ["step-passed", "step-passed"])
    assert "2 of 2 done" in html
    assert "The backup blob is kept here, sealed and verified." in html
    assert "data-live=" not in text_of(operator.get(operation_url(operation)))


def test_a_running_step_shows_as_running(operator: Client, new_key: NewKey, clock: Clock) -> None:
    operation = _request(new_key(), K.BACKUP, clock)
    KeyOperation.objects.filter(pk=operation.pk).update(
        state="running", claim_token=uuid4(), claim_expires_at=clock() + timedelta(minutes=3)
    )
    finished, html = _live(operator, operation)
    assert (finished, _steps(html)) == (False, ["step-running", "step-waiting"])
    assert "back up</span>" in html


def test_a_pause_shows_the_reason_the_attempts_and_the_next_try(
    operator: Client, hsm: MemoryHsm, new_key: NewKey, clock: Clock
) -> None:
    operation = _request(new_key(), K.DELETE, clock)
    hsm.fail_next("delete", ProviderUnavailable("The HSM did not answer.", code="timeout", request_id="r-1"))
    operations.perform(operation_id=operation.pk, clock=clock)
    finished, html = _live(operator, operation)
    assert not finished
    for told in ("paused", "tried again at", "The HSM did not answer.", "timeout", "r-1"):
        assert told in html
    assert f"Attempt 2 of {settings.MAX_ATTEMPTS}" in html
    assert f"1 of {settings.MAX_ATTEMPTS}" in html
    status = operator.get(operation_url(operation, "status.json")).json()
    assert (status["state"], status["attempts"], status["error_code"]) == ("pending", 1, "timeout")
    assert status["next_try_at"] > clock().isoformat()


def test_a_failure_shows_why_and_may_be_tried_again(
    operator: Client, hsm: MemoryHsm, new_key: NewKey, clock: Clock, run: Run
) -> None:
    operation = _request(new_key(), K.BACKUP, clock)
    refused = AuthenticationFailed("The client secret is wrong.", code="AADSTS7000215", request_id="r-2")
    hsm.fail_next("backup", refused)
    run(operation)
    finished, html = _live(operator, operation)
    assert (finished, _steps(html)) == (True, ["step-failed", "step-skipped"])
    for told in ("The client secret is wrong.", "AADSTS7000215", "r-2", "not tried again by itself", "alice"):
        assert told in html
    assert "Try again" in html
    answer = operator.post(operation_url(operation, "retry/"))
    assert (answer.status_code, answer["Location"]) == (302, operation_url(operation))
    again = run(operation)
    assert (again.state, again.error) == ("succeeded", "")


def test_an_old_failure_is_not_offered_again(
    operator: Client, hsm: MemoryHsm, new_key: NewKey, do: Do, clock: Clock
) -> None:
    key = new_key()
    hsm.fail_next("backup", AccessDenied("No right to back up.", missing_right="backup"))
    failed = do(key, K.BACKUP)
    clock.advance(seconds=5)
    do(key, K.BACKUP)
    page = text_of(operator.get(operation_url(failed)))
    assert "Try again" not in page
    assert "Something else was done with the key since" in page
    answer = operator.post(operation_url(failed, "retry/"), follow=True)
    assert "Something else was done" in answer.content.decode()


def test_what_succeeded_cannot_be_tried_again(operator: Client, new_key: NewKey) -> None:
    operation = new_key().operations.get()
    answer = operator.post(operation_url(operation, "retry/"), follow=True)
    assert "Only a failed operation can be tried again." in answer.content.decode()
    assert operator.get(operation_url(operation, "retry/")).status_code == 405


def test_scripts_read_the_whole_state(
    operator: Client, backed_up: CryptoSource, new_key: NewKey, run: Run
) -> None:
    key = new_key()
    entered = {"what": "digest", "digest": "ab" * 32, "algorithm": "ES256"}
    operation = asked(operator.post(key_url(key, "sign/"), entered))
    before = operator.get(operation_url(operation, "status.json")).json()
    assert (before["state"], before["finished"], before["result"]) == ("pending", False, {})
    run(operation)
    after = operator.get(operation_url(operation, "status.json")).json()
    assert after["key"] == {"id": str(key.pk), "name": "seal-1", "residency": "resident"}
    assert (after["state"], after["finished"], after["kind"]) == ("succeeded", True, "sign")
    assert (after["step"], after["steps"], after["steps_done"]) == ("sign", ["sign"], 1)
    assert (after["source"], after["requested_by"], after["error"]) == ("Vault A", "the-operator", "")
    assert set(after["result"]) == {"algorithm", "version", "signature", "signature_raw"}


@pytest.mark.parametrize("part", ["", "live/", "status.json", "signature.sig"])
def test_an_unknown_operation_is_not_found(operator: Client, part: str) -> None:
    assert operator.get(f"/keys/keyoperation/{uuid4()}/{part}").status_code == 404


# --- The key's own live part ------------------------------------------------------------------------


def test_the_keys_page_follows_what_is_under_way(operator: Client, new_key: NewKey, clock: Clock) -> None:
    key = new_key()
    assert "data-live=" not in text_of(operator.get(key_url(key)))
    operation = _request(key, K.DELETE, clock)
    assert f'data-live="{key_url(key, "live/")}"' in text_of(operator.get(key_url(key)))
    told = operator.get(key_url(key, "live/")).json()
    assert told["finished"] is False
    assert "Delete the key in the HSM" in told["html"]
    operations.perform(operation_id=operation.pk, clock=clock)
    told = operator.get(key_url(key, "live/")).json()
    assert told["finished"] is True
    assert "recoverable until" in told["html"]


def test_a_faulted_key_says_why(operator: Client, new_key: NewKey) -> None:
    key = new_key()
    ManagedKey.objects.update(residency="faulted", fault="Its public key is another one.")
    for address in (key_url(key), key_url(key, "live/")):
        answer = operator.get(address)
        told = answer.json()["html"] if address.endswith("live/") else text_of(answer)
        assert "Its public key is another one." in told
        assert "needs a person" in told


def test_the_time_taken_is_that_from_asking_to_the_end(operator: Client, new_key: NewKey) -> None:
    operation = new_key().operations.get()
    asked_at = timezone.now()
    KeyOperation.objects.update(requested_at=asked_at, finished_at=asked_at + timedelta(seconds=125))
    assert "2 min 5 s" in text_of(operator.get(operation_url(operation)))


# --- The way to the source ----------------------------------------------------------------------------


def _source_page(key: ManagedKey) -> str:
    return f"/cryptosources/cryptosource/{key.source_id}/"


@pytest.mark.parametrize(
    ("error", "leads"),
    [
        (AccessDenied("No right.", missing_right="backup", remedy="Give it."), True),
        (AuthenticationFailed("The secret is wrong."), True),
        (UnsupportedOperation("The key cannot be backed up."), False),
    ],
)
def test_a_missing_right_or_sign_in_leads_to_the_test_of_the_connection(
    operator: Client, hsm: MemoryHsm, new_key: NewKey, do: Do, error: ProviderError, leads: bool
) -> None:
    key = new_key()
    hsm.fail_next("backup", error)
    failed = do(key, K.BACKUP)
    told = _live(operator, failed)[1]
    assert ("test the connection of" in told) is leads
    assert told.count("What to do:") == leads
    assert (f'href="{_source_page(key)}"' in told) is leads


def test_a_retry_that_fails_for_another_reason_leads_there_no_more(
    operator: Client, hsm: MemoryHsm, new_key: NewKey, do: Do, run: Run
) -> None:
    hsm.fail_next("backup", AccessDenied("No right to back up.", missing_right="backup"))
    failed = do(new_key(), K.BACKUP)
    hsm.fail_next("backup", UnsupportedOperation("The key cannot be backed up."))
    operator.post(operation_url(failed, "retry/"))
    assert run(failed).state == "failed"
    assert "test the connection of" not in text_of(operator.get(operation_url(failed)))


def test_the_sources_name_leads_to_its_page_for_those_who_may_see_it(
    operator: Client, new_key: NewKey, client: Client
) -> None:
    key = new_key()
    operation = key.operations.get()
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.set(
        Permission.objects.filter(codename__in=["view_managedkey", "view_keyoperation"])
    )
    client.force_login(reader)
    link = f'<a href="{_source_page(key)}">Vault A</a>'
    for address in (operation_url(operation), key_url(key)):
        subtitle = text_of(operator.get(address)).partition("page-subtitle")[2].partition("</p>")[0]
        assert link in subtitle
        page = text_of(client.get(address))
        assert "Vault A" in page
        assert _source_page(key) not in page


def test_an_inactive_source_does_not_lead_to_the_test_of_the_connection(
    operator: Client, source: CryptoSource, new_key: NewKey, run: Run, clock: Clock
) -> None:
    operation = _request(new_key(), K.ROTATE, clock)
    CryptoSource.objects.update(status=SourceStatus.INACTIVE)
    assert run(operation).state == "failed"
    assert "test the connection of" not in text_of(operator.get(operation_url(operation)))
