"""The pages about keys, through the front door: what they show and what they ask the services for."""

from collections.abc import Callable

from django.test import Client

from cryptosources.models import CryptoSource
from keys.lifecycle import OperationKind, Residency
from keys.models import KeyOperation, ManagedKey
from tests.keys.conftest import Run

NewKey = Callable[..., ManagedKey]
Do = Callable[[ManagedKey, OperationKind], KeyOperation]


def test_generating_a_key_leads_to_its_operation_and_then_to_the_key(
    operator: Client, source: CryptoSource, run: Run
) -> None:
    answer = operator.post(
        "/keys/managedkey/add/", {"source": str(source.pk), "name": "seal-1", "algorithm": "RSA-3072"}
    )
    operation = KeyOperation.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/keys/keyoperation/{operation.pk}/"
    assert operator.get(answer["Location"]).status_code == 200
    run(operation)
    page = operator.get(f"/keys/managedkey/{operation.key_id}/").content.decode()
    assert "RSA-HSM 3072" in page
    assert "-----BEGIN PUBLIC KEY-----" in page


def test_every_page_of_a_key_opens(
    operator: Client, backed_up: CryptoSource, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    for kind in ("delete", "purge", "rotate", "backup", "sign", "verify"):
        assert operator.get(f"/keys/managedkey/{key.pk}/{kind}/").status_code == 200, kind
    for place in ("/keys/managedkey/", "/keys/keyoperation/", "/keys/managedkey/add/"):
        assert operator.get(place).status_code == 200, place
    do(key, OperationKind.DELETE)
    key.refresh_from_db()
    assert key.where is Residency.DELETED
    assert "recoverable until" in operator.get("/keys/managedkey/").content.decode()
