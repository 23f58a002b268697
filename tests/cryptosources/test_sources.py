"""The services that write sources: records, conflicts, switching, deleting."""

import uuid
from datetime import date, timedelta

import pytest
from django.db import IntegrityError

from audit.services import Actor, AuditRecord
from cryptosources.errors import EditConflict, InvalidSource, SourceGone, SourceInactive, SourceInUse
from cryptosources.models import CryptoSource
from cryptosources.services import sources
from cryptosources.settings_value import SourceSettings
from keys.models import ManagedKey
from licensing.services import FeatureNotLicensed
from secretstore.secret import Secret
from secretstore.services import open_from
from tests.cryptosources.conftest import InstallLicence
from tests.cryptosources.factories import ACTOR, KEY, NOW, azure_settings, make_source, memory_settings

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("licensed")]
LATER = NOW + timedelta(minutes=5)
BOB = Actor.command("bob")


def records(action: str) -> list[AuditRecord]:
    return list(AuditRecord.objects.filter(action=action))


def update(source: CryptoSource, entered: SourceSettings, *, active: bool | None = None) -> CryptoSource:
    return sources.update_source(
        source_id=source.pk,
        based_on=source.revision,
        entered=entered,
        active=active,
        actor=BOB,
        now=LATER,
    )


def add_key(source: CryptoSource, name: str) -> None:
    ManagedKey.objects.create(source=source, name=name, algorithm="EC-P256", created_at=NOW, updated_at=NOW)


# --- Creating -----------------------------------------------------------------------------------


def test_a_new_source_is_stored_and_recorded_without_its_key() -> None:
    source = make_source(azure_settings())
    source.refresh_from_db()
    assert (source.revision, source.created_by, source.is_active) == (1, "tests", True)
    assert open_from(source, "sealed_secret").reveal_text() == KEY
    (record,) = records("source.created")
    assert (record.subject_id, record.actor_name) == (str(source.pk), "tests")
    assert record.details["dns_name"] == "https://contoso.managedhsm.azure.net"
    assert KEY not in str(record.details)


def test_a_source_starts_inactive_unless_told_otherwise() -> None:
    assert not make_source(azure_settings(), active=False).is_active


@pytest.mark.parametrize(
    ("entered", "stored", "assumed"),
    [(date(2027, 5, 1), date(2027, 5, 1), False), (None, date(2028, 11, 23), True)],
)
def test_an_end_date_that_nobody_entered_is_assumed_and_marked(
    entered: date | None, stored: date, assumed: bool
) -> None:
    source = make_source(azure_settings(secret_expires_on=entered))
    assert (source.secret_expires_on, source.secret_expiry_assumed) == (stored, assumed)


@pytest.mark.parametrize("name", ["CONTOSO HSM", " contoso  hsm "])
def test_a_taken_name_is_refused(name: str) -> None:
    make_source(azure_settings())
    with pytest.raises(InvalidSource) as refused:
        make_source(azure_settings(name))
    assert list(refused.value.problems) == ["friendly_name"]


def test_letters_beyond_ascii_have_cases_too() -> None:
    make_source(azure_settings("Straße Öst"))
    with pytest.raises(InvalidSource):
        make_source(azure_settings("STRASSE öST"))


def test_a_name_taken_between_check_and_write_is_the_same_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(azure_settings())
    monkeypatch.setattr(sources, "_name_taken", lambda *_: False)
    with pytest.raises(InvalidSource) as refused:
        make_source(azure_settings("contoso hsm"))
    assert list(refused.value.problems) == ["friendly_name"]


def test_without_its_record_no_source_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise IntegrityError("the record cannot be written")

    monkeypatch.setattr(sources, "record", fail)
    with pytest.raises(IntegrityError):
        make_source(azure_settings())
    assert not CryptoSource.objects.exists()


def test_an_unlicensed_type_is_refused(install: InstallLicence) -> None:
    install("source:something_else")
    with pytest.raises(FeatureNotLicensed):
        make_source(azure_settings())
    assert not CryptoSource.objects.exists()


# --- Changing -----------------------------------------------------------------------------------


def test_an_edit_is_recorded_with_before_and_after() -> None:
    source = make_source(azure_settings())
    changed = update(source, azure_settings("Renamed", key=None, backup_restore=True))
    assert (changed.friendly_name, changed.revision, changed.updated_by) == ("Renamed", 2, "bob")
    assert open_from(changed, "sealed_secret").reveal_text() == KEY
    (record,) = records("source.updated")
    assert record.details == {
        "friendly_name": {"from": "Contoso HSM", "to": "Renamed"},
        "backup_restore": {"from": False, "to": True},
    }


def test_a_replaced_key_is_recorded_as_replaced_and_no_more() -> None:
    source = make_source(azure_settings())
    changed = update(source, azure_settings(key=Secret("another-secret")))
    assert open_from(changed, "sealed_secret").reveal_text() == "another-secret"
    (record,) = records("source.updated")
    assert record.details == {"key": "replaced"}


def test_saving_without_a_change_writes_nothing() -> None:
    source = make_source(azure_settings())
    assert update(source, azure_settings(key=None)).revision == 1
    assert records("source.updated") == []


def test_an_assumed_end_date_is_marked_until_another_is_entered() -> None:
    source = make_source(azure_settings(secret_expires_on=None))
    same = update(source, azure_settings("Renamed", key=None, secret_expires_on=source.secret_expires_on))
    assert same.secret_expiry_assumed
    entered = update(same, azure_settings("Renamed", key=None, secret_expires_on=date(2027, 1, 1)))
    assert not entered.secret_expiry_assumed


def test_the_second_of_two_editors_is_told_who_was_first() -> None:
    source = make_source(azure_settings())
    update(source, azure_settings("By bob", key=None))
    with pytest.raises(EditConflict) as refused:
        sources.update_source(
            source_id=source.pk,
            based_on=source.revision,
            entered=azure_settings("By ada", key=None),
            actor=ACTOR,
            now=LATER,
        )
    assert refused.value.changed_by == "bob"
    assert CryptoSource.objects.get().friendly_name == "By bob"


def test_a_stale_form_does_not_make_an_inactive_source_active_again() -> None:
    source = make_source(azure_settings())
    sources.deactivate(source_id=source.pk, actor=BOB, now=LATER)
    with pytest.raises(EditConflict):
        update(source, azure_settings(key=None), active=True)
    assert not CryptoSource.objects.get().is_active


def test_an_edit_that_loses_the_race_after_its_check_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = make_source(azure_settings())
    real = sources.check_settings

    def overtaken(**arguments: object) -> object:
        CryptoSource.objects.update(revision=7, updated_by="the other one")
        return real(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sources, "check_settings", overtaken)
    with pytest.raises(EditConflict) as refused:
        update(source, azure_settings("Renamed", key=None))
    assert refused.value.changed_by == "the other one"
    assert CryptoSource.objects.get().friendly_name == "Contoso HSM"
    assert records("source.updated") == []


@pytest.mark.parametrize(
    ("outcome", "refused"), [("passed", False), ("skipped", False), ("warning", True), ("failed", True)]
)
def test_purge_protection_refuses_backup_and_restore(outcome: str, refused: bool) -> None:
    source = make_source(azure_settings())
    found = {"name": "purge_protection", "outcome": outcome}
    for hour, steps in ((0, [{"name": "purge_protection", "outcome": "warning"}]), (1, [found])):
        source.tests.create(
            requested_by="ada",
            created_at=NOW,
            sent_at=NOW,
            state="finished",
            healthy=True,
            finished_at=NOW + timedelta(hours=hour),
            steps=steps,
        )
    if refused:
        with pytest.raises(InvalidSource) as told:
            update(source, azure_settings(key=None, backup_restore=True))
        assert list(told.value.problems) == ["backup_restore"]
        elsewhere = azure_settings(dns_name="fabrikam.managedhsm.azure.net", backup_restore=True)
        assert update(source, elsewhere).backup_restore
    else:
        assert update(source, azure_settings(key=None, backup_restore=True)).backup_restore


def test_editing_a_deleted_source_says_so() -> None:
    source = make_source(azure_settings())
    CryptoSource.objects.filter(pk=source.pk).delete()
    with pytest.raises(SourceGone):
        update(source, azure_settings(key=None))


# --- Active, Inactive, usable -------------------------------------------------------------------


def test_switching_is_recorded_once() -> None:
    source = make_source(active=True)
    assert sources.deactivate(source_id=source.pk, actor=BOB, now=LATER)
    assert not sources.deactivate(source_id=source.pk, actor=BOB, now=LATER)
    assert sources.activate(source_id=source.pk, actor=BOB, now=LATER)
    assert (len(records("source.deactivated")), len(records("source.activated"))) == (1, 1)
    assert CryptoSource.objects.get().revision == 3


def test_an_edit_that_switches_is_recorded_as_such_too() -> None:
    source = make_source(azure_settings())
    changed = update(source, azure_settings(key=None), active=False)
    assert not changed.is_active
    assert records("source.updated")[0].details == {"status": {"from": "active", "to": "inactive"}}
    assert len(records("source.deactivated")) == 1


def test_inactive_stops_use_at_once_even_through_a_stale_instance() -> None:
    source = make_source(azure_settings())
    sources.require_usable(source=source, now=NOW)
    sources.deactivate(source_id=source.pk, actor=BOB, now=LATER)
    assert source.is_active
    with pytest.raises(SourceInactive, match="Contoso HSM"):
        sources.require_usable(source=source, now=NOW)


def test_a_licence_that_ends_stops_use_and_switching_on_but_not_switching_off(
    install: InstallLicence,
) -> None:
    source = make_source(azure_settings())
    install("source:something_else")
    with pytest.raises(FeatureNotLicensed):
        sources.require_usable(source=source, now=NOW)
    with pytest.raises(FeatureNotLicensed):
        update(source, azure_settings("Renamed", key=None))
    assert sources.deactivate(source_id=source.pk, actor=BOB, now=LATER)
    with pytest.raises(FeatureNotLicensed):
        sources.activate(source_id=source.pk, actor=BOB, now=LATER)
    assert not CryptoSource.objects.get().is_active


def test_a_deleted_source_is_not_usable() -> None:
    source = make_source()
    CryptoSource.objects.filter(pk=source.pk).delete()
    with pytest.raises(SourceGone):
        sources.require_usable(source=source, now=NOW)


# --- Deleting -----------------------------------------------------------------------------------


def test_a_source_without_keys_is_deleted_with_its_tests_and_recorded() -> None:
    source = make_source(azure_settings())
    source.tests.create(requested_by="ada", created_at=NOW, sent_at=NOW)
    assert sources.delete_source(source_id=source.pk, actor=BOB, now=LATER) == "Contoso HSM"
    assert not CryptoSource.objects.exists()
    (record,) = records("source.deleted")
    assert (record.subject_id, record.subject_name) == (str(source.pk), "Contoso HSM")


@pytest.mark.parametrize(("names", "words"), [(["a"], "1 key depends"), (["a", "b"], "2 keys depend")])
def test_keys_keep_their_source(names: list[str], words: str) -> None:
    source = make_source()
    for name in names:
        add_key(source, name)
    with pytest.raises(SourceInUse, match=words):
        sources.delete_source(source_id=source.pk, actor=BOB, now=LATER)
    assert CryptoSource.objects.exists()
    assert records("source.deleted") == []


def test_a_key_made_while_its_source_is_deleted_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source()
    add_key(source, "late")
    monkeypatch.setattr(sources, "keys_of", lambda **_: 0)
    with pytest.raises(SourceInUse):
        sources.delete_source(source_id=source.pk, actor=BOB, now=LATER)
    assert CryptoSource.objects.exists()


def test_the_second_of_two_deletes_leaves_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source()

    def overtaken(**_: object) -> int:
        CryptoSource.objects.filter(pk=source.pk).delete()
        return 0

    monkeypatch.setattr(sources, "keys_of", overtaken)
    with pytest.raises(SourceGone):
        sources.delete_source(source_id=source.pk, actor=BOB, now=LATER)
    assert records("source.deleted") == []


def test_deleting_what_is_gone_says_so() -> None:
    with pytest.raises(SourceGone):
        sources.delete_source(source_id=uuid.uuid4(), actor=BOB, now=LATER)


# --- Second looks -------------------------------------------------------------------------------


def test_advice_names_what_is_allowed_but_odd() -> None:
    source = make_source(
        azure_settings(
            secret_expires_on=date(2026, 11, 1),
            backup_restore=True,
            keep_after_signing=True,
            remove_after_seconds=5,
        )
    )
    found = sources.advice(source=source, now=NOW)
    assert len(found) == 2
    assert "5 seconds" in found[0]
    assert "ended" in found[1]
    assert sources.advice(source=make_source(memory_settings()), now=NOW) == []
