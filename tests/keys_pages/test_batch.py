"""Generating many keys from the form, and the page of the batch."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import localtime, now

from cryptosources.models import CryptoSource
from cryptosources.providers.errors import AccessDenied, UnsupportedOperation
from cryptosources.providers.memory import MemoryHsm
from keys.models import KeyBatch, KeyOperation, ManagedKey
from tests.keys.conftest import Run
from tests.keys_pages.conftest import NewKey, SignIn, error_at, text_of
from tests.ui.markup import parse

ADD = "/keys/managedkey/add/"


def _entered(chosen: CryptoSource, /, **changes: str) -> dict[str, str]:
    usual = {"name": "eseal-", "algorithm": "EC-P-256", "count": "3", "first": "1", "digits": "3"}
    return {"source": str(chosen.pk), **usual} | changes


def _batch(answer: Any) -> KeyBatch:
    assert answer.status_code == 302
    batch = KeyBatch.objects.get(pk=answer["Location"].rstrip("/").rpartition("/")[2])
    assert answer["Location"] == _url(batch)
    return batch


def _url(batch: KeyBatch, part: str = "") -> str:
    return f"/keys/keyoperation/batch/{batch.pk}/{part}"


def _names() -> list[str]:
    return sorted(ManagedKey.objects.values_list("name", flat=True))


def test_many_keys_are_asked_for_in_one_form(operator: Client, source: CryptoSource) -> None:
    batch = _batch(operator.post(ADD, _entered(source, first="9", digits="2")))
    assert _names() == ["eseal-09", "eseal-10", "eseal-11"]
    page = text_of(operator.get(_url(batch)))
    assert "0 of 3 keys are done" in page
    assert "about one key a second" in page
    assert f'data-live="{_url(batch, "live/")}"' in page


def test_one_key_needs_no_number(operator: Client, source: CryptoSource) -> None:
    answer = operator.post(ADD, _entered(source, count="1", name="plain"))
    assert "/batch/" not in answer["Location"]
    assert _names() == ["plain"]


def test_the_form_sent_twice_makes_the_keys_once(operator: Client, source: CryptoSource) -> None:
    token = parse(text_of(operator.get(ADD))).by_id("id_token").get("value") or ""
    assert re.fullmatch(r"[0-9a-f-]{36}", token)
    first = operator.post(ADD, _entered(source, token=token))
    assert operator.post(ADD, _entered(source, token=token))["Location"] == first["Location"]
    single = operator.post(ADD, _entered(source, token=token, count="1", name="one"))
    again = operator.post(ADD, _entered(source, token=token, count="1", name="one"))
    assert single["Location"] == again["Location"]
    assert len(_names()) == 4


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"count": "501"}, "count", "500"),
        ({"count": "0"}, "count", "1"),
        ({"count": "many"}, "count", "whole number"),
        ({"first": "-1"}, "first", "0"),
        ({"first": "998"}, "digits", "use 4 digits"),
        ({"name": "has space"}, "name", "letters, digits and hyphens"),
    ],
)
def test_numbers_that_do_not_work_are_told_at_their_field(
    operator: Client, source: CryptoSource, changes: dict[str, str], field: str, told: str
) -> None:
    assert told in error_at(text_of(operator.post(ADD, _entered(source, **changes))), field)
    assert _names() == []


def test_taken_names_stand_at_the_name_and_the_preview_stays(
    operator: Client, source: CryptoSource, new_key: NewKey
) -> None:
    new_key("eseal-002")
    page = text_of(operator.post(ADD, _entered(source, count="50")))
    assert "eseal-002. Nothing was created" in error_at(page, "name")
    assert "50 keys: eseal-001, eseal-002 … eseal-050." in parse(page).by_id("names-preview").text
    assert _names() == ["eseal-002"]


def test_the_batch_tells_what_failed_and_tries_it_again(
    operator: Client, source: CryptoSource, hsm: MemoryHsm, run: Run
) -> None:
    batch = _batch(operator.post(ADD, _entered(source)))
    hsm.fail_next("create", UnsupportedOperation("The HSM is full.", code="Forbidden", remedy="Purge."))
    for operation in batch.operations.order_by("not_before"):
        run(operation)
    page = text_of(operator.get(_url(batch)))
    for told in ("2 of 3 keys are done", "1 failed", "The HSM is full.", "Purge.", "eseal-001"):
        assert told in page
    assert "data-live=" not in page
    assert operator.post(_url(batch, "retry/")).status_code == 302
    run(batch.operations.get(key__name="eseal-001"))
    told = operator.get(_url(batch, "live/")).json()
    assert told["finished"]
    assert "All keys are in the HSM" in told["html"]


def test_one_key_of_several_is_done(operator: Client, source: CryptoSource, run: Run) -> None:
    batch = _batch(operator.post(ADD, _entered(source)))
    run(batch.operations.get(key__name="eseal-001"))
    assert "1 of 3 keys is done" in text_of(operator.get(_url(batch)))


def test_each_operation_and_the_lists_lead_to_the_batch(operator: Client, source: CryptoSource) -> None:
    batch = _batch(operator.post(ADD, _entered(source)))
    operator.post(ADD, _entered(source, count="1", name="apart"))
    operation = batch.operations.first()
    assert operation is not None
    assert f'href="{_url(batch)}"' in text_of(operator.get(f"/keys/keyoperation/{operation.pk}/"))
    for address in ("/keys/keyoperation/", "/keys/managedkey/"):
        page = text_of(operator.get(f"{address}?batch={batch.pk}")).partition("<tbody>")[2]
        assert page.count("eseal-00") == 3, address
        assert "apart" not in page, address


def test_a_batchs_page_takes_the_same_queries_however_many_keys(
    operator: Client, source: CryptoSource
) -> None:
    def queries(batch: KeyBatch) -> int:
        KeyOperation.objects.filter(batch=batch).update(
            state="failed", finished_at=batch.requested_at, error="away"
        )
        with CaptureQueriesContext(connection) as asked:
            text_of(operator.get(_url(batch)))
        return len(asked)

    few = _batch(operator.post(ADD, _entered(source, count="2")))
    many = _batch(operator.post(ADD, _entered(source, count="60", name="other-")))
    operator.get(_url(few))
    assert queries(many) == queries(few)


def test_an_auditor_sees_a_batch_and_retries_nothing(
    sign_in: SignIn, operator: Client, source: CryptoSource
) -> None:
    batch = _batch(operator.post(ADD, _entered(source)))
    auditor = sign_in("auditor")
    page = text_of(auditor.get(_url(batch)))
    assert "Retry failed" not in page
    assert auditor.post(_url(batch, "retry/")).status_code == 403


def test_a_batch_leads_to_its_source_and_to_the_test_of_the_connection(
    operator: Client, source: CryptoSource, hsm: MemoryHsm, run: Run
) -> None:
    batch = _batch(operator.post(ADD, _entered(source)))
    address = f"/cryptosources/cryptosource/{source.pk}/"
    assert f'href="{address}">Vault A</a>. Asked by' in text_of(operator.get(_url(batch)))
    hsm.fail_next("create", AccessDenied("No right to create.", missing_right="create"))
    for operation in batch.operations.order_by("not_before"):
        run(operation)
    failed = text_of(operator.get(_url(batch))).partition('id="failed"')[2]
    assert failed.lower().count("test the connection of") == 1
    assert f'href="{address}"' in failed


@pytest.mark.parametrize("ahead", [True, False])
def test_keys_that_are_valid_later_are_not_called_ready(
    operator: Client, source: CryptoSource, run: Run, ahead: bool
) -> None:
    start = localtime(now() + timedelta(days=2 if ahead else -2))
    dated = {"not_before": start.strftime("%Y-%m-%dT%H:%M")}
    batch = _batch(operator.post(ADD, _entered(source, **dated)))
    for operation in batch.operations.order_by("not_before"):
        run(operation)
    later = f"and may sign from {start.day} {start:%b %Y, %H:%M}:00 on."
    expected = later if ahead else "ready to sign."
    page = text_of(operator.get(_url(batch)))
    assert "All keys are in the HSM" in page
    assert expected in page
    one = text_of(operator.get(f"/keys/keyoperation/{operation.pk}/"))
    assert "The key is in the HSM" in one
    assert expected in one
