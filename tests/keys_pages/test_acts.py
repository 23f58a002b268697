"""Backup, rotation, deletion, recovery, purge and restore from a key's page."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from cryptosources.models import CryptoSource, SourceStatus
from keys.lifecycle import OperationKind, Residency
from keys.models import KeyOperation, KeyUse, ManagedKey
from tests.keys.conftest import Run
from tests.keys_pages.conftest import Do, NewKey, asked, key_url, text_of
from tests.ui.markup import Markup, parse

K, R = OperationKind, Residency


def _read(client: Client, key: ManagedKey, part: str = "") -> Markup:
    return parse(text_of(client.get(key_url(key, part))))


def _offered(client: Client, key: ManagedKey) -> set[str]:
    """The acts that the key's page offers a way to."""
    markup = _read(client, key)
    ways = {a["href"] for a in markup.all("a")} | {f.get("action") or "" for f in markup.all("form")}
    acts = ("sign", "backup", "rotate", "restore", "recover", "delete", "purge")
    return {act for act in acts if key_url(key, f"{act}/") in ways}


def test_a_key_goes_through_its_whole_life_from_its_page(
    operator: Client, backed_up: CryptoSource, new_key: NewKey, run: Run
) -> None:
    key = new_key()
    for act, residency in [
        ("backup", R.RESIDENT),
        ("rotate", R.RESIDENT),
        ("delete", R.DELETED),
        ("recover", R.RESIDENT),
        ("delete", R.DELETED),
        ("purge", R.ABSENT),
        ("restore", R.RESIDENT),
    ]:
        assert act in _offered(operator, key), act
        operation = run(asked(operator.post(key_url(key, f"{act}/"), {"typed_name": key.name})))
        assert (operation.kind, operation.state) == (act, "succeeded")
        assert operation.actor_name == "the-operator"
        key.refresh_from_db()
        assert key.where is residency, act
        page = text_of(operator.get(f"/keys/keyoperation/{operation.pk}/"))
        assert "done" in page


@pytest.mark.parametrize(
    ("residency", "offered"),
    [
        (R.RESIDENT, {"sign", "backup", "rotate", "delete"}),
        (R.DELETED, {"recover", "purge"}),
        (R.ABSENT, {"restore"}),
        (R.CREATING, set()),
        (R.PURGED, set()),
        (R.NOT_CREATED, set()),
    ],
)
def test_only_possible_acts_are_offered(
    operator: Client, backed_up: CryptoSource, new_key: NewKey, residency: Residency, offered: set[str]
) -> None:
    key = new_key()
    ManagedKey.objects.update(residency=residency)
    assert _offered(operator, key) == offered


def test_greyed_acts_carry_their_reason(operator: Client, source: CryptoSource, new_key: NewKey) -> None:
    key = new_key()
    page = text_of(operator.get(key_url(key)))
    assert "Only a deleted key can be purged: delete it first." in page
    assert "quiet" in (_read(operator, key).by_id("why-purge").get("class") or "").split()
    CryptoSource.objects.update(status=SourceStatus.INACTIVE)
    page = text_of(operator.get(key_url(key)))
    assert "The crypto source “Vault A” is Inactive." in page
    assert _offered(operator, key) == {"backup", "delete"}


def test_while_something_is_under_way_only_signing_is_offered(operator: Client, new_key: NewKey) -> None:
    key = new_key()
    asked(operator.post(key_url(key, "backup/")))
    assert _offered(operator, key) == {"sign"}
    page = text_of(operator.get(key_url(key)))
    assert "The backup of this key is under way" in page


def test_an_act_that_is_not_possible_is_refused_in_words_and_changes_nothing(
    operator: Client, new_key: NewKey
) -> None:
    key = new_key()
    before = KeyOperation.objects.count()
    answer = operator.post(key_url(key, "restore/"), follow=True)
    assert "not possible: the key is in the HSM" in answer.content.decode()
    assert answer.redirect_chain == [(key_url(key), 302)]
    assert KeyOperation.objects.count() == before


@pytest.mark.parametrize("kind", ["generate", "nonsense", "note_versions"])
def test_other_kinds_have_no_door_here(operator: Client, new_key: NewKey, kind: str) -> None:
    key = new_key()
    assert operator.get(key_url(key, f"{kind}/")).status_code == 404
    assert operator.post(key_url(key, f"{kind}/")).status_code == 404


def test_looking_at_a_confirmation_asks_for_nothing(operator: Client, new_key: NewKey, do: Do) -> None:
    key = new_key()
    do(key, K.DELETE)
    before = KeyOperation.objects.count()
    for part in ("delete/", "purge/", "recover/", "restore/", "rotate/", "backup/"):
        assert operator.get(key_url(key, part)).status_code == 200
    assert KeyOperation.objects.count() == before


# --- Impact ---------------------------------------------------------------------------------------


def test_the_impact_of_a_deletion_is_shown_first(
    operator: Client, backed_up: CryptoSource, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    today = timezone.now().date()
    for days, count in ((0, 3), (29, 4), (30, 100)):
        KeyUse.objects.create(key=key, day=today - timedelta(days=days), signatures=count)
    page = _facts(_read(operator, key, "delete/"))
    assert page["Versions"] == "1"
    assert page["Signatures, 30 days"].startswith("7")
    assert page["Last use"].startswith(f"{today.day} ")
    assert "1 version" in page["Verified backup"]
    assert page["What can undo it"].startswith("Recover brings the key back")
    assert "restore puts the key back" in page["What can undo it"]


def test_the_impact_without_a_backup_says_that_nothing_undoes_a_purge(
    operator: Client, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    assert "nothing brings it back" in _facts(_read(operator, key, "delete/"))["What can undo it"]
    do(key, K.DELETE)
    page = _read(operator, key, "purge/")
    assert _facts(page)["What can undo it"].startswith("Nothing.")
    assert "There is no verified backup." in text_of(operator.get(key_url(key, "purge/")))


def test_a_backup_that_lacks_a_version_is_not_called_verified(
    operator: Client, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    do(key, K.BACKUP)
    assert "1 version" in _facts(_read(operator, key, "delete/"))["Verified backup"]
    do(key, K.ROTATE)
    facts = _facts(_read(operator, key, "delete/"))
    assert facts["Verified backup"].startswith("none")
    assert "1 version" in facts["Other backups"]


def _facts(markup: Markup) -> dict[str, str]:
    """dt → the text of its dd and of what the dd holds, up to the next dt."""
    found: dict[str, str] = {}
    label = ""
    for element in markup.elements:
        if element.tag == "dt":
            label = element.text.strip()
            found[label] = ""
        elif label and element.tag in ("dd", "span", "code", "time"):
            found[label] = " ".join(f"{found[label]} {element.text}".split())
        elif element.tag in ("p", "form", "section"):
            label = ""
    return found


# --- Purge ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["", "seal", "SEAL-1"])
def test_a_purge_wants_the_name_typed_exactly(operator: Client, new_key: NewKey, do: Do, typed: str) -> None:
    key = new_key()
    do(key, K.DELETE)
    page = text_of(operator.post(key_url(key, "purge/"), {"typed_name": typed}))
    assert "Type the key&#x27;s name exactly" in page
    assert parse(page).by_id("id_typed_name_error")
    assert not key.operations.filter(kind="purge").exists()


def test_a_purge_without_a_backup_keeps_the_persons_word(
    operator: Client, new_key: NewKey, do: Do, run: Run
) -> None:
    key = new_key()
    do(key, K.DELETE)
    operation = run(asked(operator.post(key_url(key, "purge/"), {"typed_name": key.name})))
    key.refresh_from_db()
    assert (key.where, key.purge_override_by) == (R.PURGED, "the-operator")
    assert "on the word of the-operator" in text_of(operator.get(f"/keys/keyoperation/{operation.pk}/"))
    assert "Nothing more can be done with this key." in text_of(operator.get(key_url(key)))


def test_purge_protection_is_explained_and_the_button_is_not_there(
    operator: Client, new_key: NewKey, do: Do
) -> None:
    key = new_key()
    do(key, K.DELETE)
    ManagedKey.objects.update(purgeable=False)
    page = text_of(operator.get(key_url(key, "purge/")))
    assert "Purge protection is on in this HSM" in page
    assert "typed_name" not in page
    assert _offered(operator, key) == {"recover"}
    answer = operator.post(key_url(key, "purge/"), {"typed_name": key.name}, follow=True)
    assert "nobody can purge a deleted key" in answer.content.decode()


def test_two_backups_of_one_minute_are_told_apart(operator: Client, new_key: NewKey, do: Do) -> None:
    key = new_key()
    for second in (7, 42):
        do(key, K.BACKUP)
        key.backups.filter(taken_at__gt=datetime(2026, 3, 1, tzinfo=UTC)).update(
            taken_at=datetime(2026, 2, 3, 12, 0, second, tzinfo=UTC),
            verified_at=datetime(2026, 2, 3, 12, 0, second + 1, tzinfo=UTC),
        )
    page = text_of(operator.get(key_url(key, "delete/")))
    for told in ("12:00:07", "12:00:42", "12:00:43"):
        assert told in page
    assert "12:00:42" in text_of(operator.get(key_url(key))).partition('id="backups"')[0]
