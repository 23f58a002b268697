"""Who may open and do what: the four roles, people without one, and people who are not signed in."""

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from cryptosources.models import CryptoSource
from keys.lifecycle import OperationKind
from keys.models import KeyOperation, ManagedKey
from tests.keys_pages.conftest import Do, NewKey, SignIn, key_url, operation_url

READ, OPERATE = "read", "operate"
MAY = {
    "operator": {READ, OPERATE},
    "administrator": {READ, OPERATE},
    "auditor": {READ},
    "ops": {READ},
}
KEY_PAGES = {
    "": READ,
    "live/": READ,
    "public-key.pem": READ,
    "public-key.jwk": READ,
    "verify/": READ,
    "sign/": OPERATE,
    **{f"{kind}/": OPERATE for kind in ("backup", "rotate", "restore", "recover", "delete", "purge")},
}


def _pages(key: ManagedKey, operation: KeyOperation) -> dict[str, str]:
    return {
        "/keys/managedkey/": READ,
        "/keys/managedkey/add/": OPERATE,
        **{key_url(key, part): needed for part, needed in KEY_PAGES.items()},
        "/keys/keyoperation/": READ,
        **{operation_url(operation, part): READ for part in ("", "live/", "status.json")},
    }


@pytest.mark.parametrize("role", sorted(MAY))
def test_a_role_opens_exactly_its_pages(sign_in: SignIn, new_key: NewKey, role: str) -> None:
    key, client = new_key(), sign_in(role)
    for address, needed in _pages(key, key.operations.get()).items():
        expected = 200 if needed in MAY[role] else 403
        assert client.get(address).status_code == expected, address


@pytest.mark.parametrize("role", sorted(MAY))
def test_only_operators_and_administrators_ask_for_operations(
    sign_in: SignIn, source: CryptoSource, new_key: NewKey, do: Do, role: str
) -> None:
    key, client = new_key(), sign_in(role)
    failed = do(key, OperationKind.BACKUP)
    asked_before = KeyOperation.objects.count()
    addresses = [
        "/keys/managedkey/add/",
        operation_url(failed, "retry/"),
        *(key_url(key, part) for part, needed in KEY_PAGES.items() if needed == OPERATE),
    ]
    for address in addresses:
        status = client.post(address, {"typed_name": key.name}).status_code
        assert (status == 403) == (OPERATE not in MAY[role]), address
    if OPERATE not in MAY[role]:
        assert KeyOperation.objects.count() == asked_before


@pytest.mark.parametrize("role", ["auditor", "ops"])
def test_readers_see_no_buttons_for_operations(sign_in: SignIn, new_key: NewKey, role: str) -> None:
    key, client = new_key(), sign_in(role)
    page = client.get(key_url(key)).content.decode()
    assert "What you can do" not in page
    for part in ("sign/", "delete/", "backup/"):
        assert key_url(key, part) not in page
    assert "/keys/managedkey/add/" not in client.get("/keys/managedkey/").content.decode()


def test_a_person_without_a_role_sees_nothing(new_key: NewKey) -> None:
    key = new_key()
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    for address in _pages(key, key.operations.get()):
        assert client.get(address).status_code == 403, address


def test_without_signing_in_everything_leads_to_the_door(new_key: NewKey) -> None:
    key = new_key()
    for address in _pages(key, key.operations.get()):
        answer = Client().get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith("/login/"), address


def test_djangos_own_edit_and_delete_pages_do_not_exist(sign_in: SignIn, new_key: NewKey) -> None:
    key, client = new_key(), sign_in("administrator")
    operation = key.operations.get()
    for base in (f"/keys/managedkey/{key.pk}", f"/keys/keyoperation/{operation.pk}"):
        for part in ("change/", "history/"):
            assert client.get(f"{base}/{part}").status_code == 404, part
    assert client.get(operation_url(operation, "delete/")).status_code == 404
    assert client.get("/keys/keyoperation/add/").status_code == 404


def test_uploads_are_checked_for_the_csrf_token_all_the_same(sign_in: SignIn, new_key: NewKey) -> None:
    key = new_key()
    strict = sign_in("operator", enforce_csrf_checks=True)
    entered = {"what": "digest", "digest": "00" * 32, "algorithm": "ES256"}
    assert strict.post(key_url(key, "sign/"), entered).status_code == 403
    strict.get(key_url(key, "sign/"))
    token = strict.cookies["csrftoken"].value
    assert strict.post(key_url(key, "sign/"), {**entered, "csrfmiddlewaretoken": token}).status_code == 302
    upload = {"what": "file", "file": SimpleUploadedFile("x", b"content"), "algorithm": "ES256"}
    assert strict.post(key_url(key, "sign/"), {**upload, "csrfmiddlewaretoken": token}).status_code == 302
