"""Sealed columns: who opens them, where, and what they refuse."""

import logging
from pathlib import Path
from uuid import uuid4

import pytest
from django.core import serializers
from django.db import connection
from django.db.models import Model
from pytest_django import Settings

from cryptosources.models import CryptoSource
from keys.models import KeyBackup
from secretstore import keyfiles
from secretstore.core import Binding, PrivateRing
from secretstore.fields import Sealed, SealedField
from secretstore.secret import Secret
from secretstore.services import (
    BadRing,
    CannotOpen,
    KeysMissing,
    SealedForWorkers,
    key_ring_info,
    open_from,
    seal_into,
)
from tests.secretstore.rows import NOW, sealed_backup, sealed_source

CANARY = "canary-71c2e0"

pytestmark = pytest.mark.usefixtures("ring_folder")


@pytest.mark.django_db
def test_a_stored_secret_opens_in_a_worker() -> None:
    stored = CryptoSource.objects.get(pk=sealed_source("One", CANARY).pk)
    assert open_from(stored, "sealed_secret").reveal_text() == CANARY


@pytest.mark.django_db
def test_the_column_holds_no_clear_text() -> None:
    sealed_source("One", CANARY)
    with connection.cursor() as cursor:
        cursor.execute("SELECT sealed_secret FROM cryptosources_cryptosource")
        raw = bytes(cursor.fetchone()[0])
    assert raw.startswith(b"KMS\x01")
    assert CANARY.encode() not in raw


@pytest.mark.django_db
def test_a_blob_opens_with_the_offline_recovery_key(ring_folder: Path) -> None:
    backup = sealed_backup(sealed_source("One", CANARY), "key-1", b"blob" * 1000)
    stored = KeyBackup.objects.get(pk=backup.pk)
    ring = PrivateRing.from_json((ring_folder / keyfiles.RECOVERY).read_text())
    place = Binding("keys_keybackup", "sealed_blob", str(backup.pk))
    assert ring.open(stored.sealed_blob, place).reveal() == b"blob" * 1000
    assert open_from(stored, "sealed_blob").reveal() == b"blob" * 1000


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["web", "beat", ""])
def test_other_processes_seal_but_do_not_open(settings: Settings, role: str) -> None:
    settings.ROLE = role
    source = sealed_source("One", CANARY)
    with pytest.raises(SealedForWorkers):
        open_from(source, "sealed_secret")


@pytest.mark.django_db
def test_a_value_copied_to_another_row_does_not_open() -> None:
    first, second = sealed_source("One", CANARY), sealed_source("Two", "another")
    CryptoSource.objects.filter(pk=second.pk).update(sealed_secret=first.sealed_secret)
    second.refresh_from_db()
    with pytest.raises(CannotOpen):
        open_from(second, "sealed_secret")


@pytest.mark.django_db
def test_a_clone_with_a_new_primary_key_does_not_open() -> None:
    source = sealed_source("One", CANARY)
    source.pk = uuid4()
    with pytest.raises(CannotOpen):
        open_from(source, "sealed_secret")


def test_a_value_copied_to_another_table_does_not_open() -> None:
    source, backup = CryptoSource(), KeyBackup()
    backup.pk = source.pk
    seal_into(source, "sealed_secret", Secret(CANARY))
    backup.sealed_blob = source.sealed_secret
    with pytest.raises(CannotOpen):
        open_from(backup, "sealed_blob")


def test_an_empty_value_does_not_open() -> None:
    with pytest.raises(CannotOpen, match="empty"):
        open_from(CryptoSource(), "sealed_secret")


@pytest.mark.django_db
@pytest.mark.parametrize("clear", [CANARY.encode(), b"", Secret(CANARY), CANARY])
def test_clear_text_cannot_be_stored(clear: object) -> None:
    source = CryptoSource(friendly_name="One", kind="memory", created_at=NOW, updated_at=NOW)
    source.sealed_secret = clear
    with pytest.raises((ValueError, TypeError)) as caught:
        source.save()
    assert "canary" not in f"{caught.value!r} {caught.value}"


def test_sealing_needs_a_primary_key_and_a_sealed_field() -> None:
    source = CryptoSource()
    with pytest.raises(TypeError, match="not a SealedField"):
        seal_into(source, "friendly_name", Secret(CANARY))
    source.pk = None
    with pytest.raises(ValueError, match="primary key"):
        seal_into(source, "sealed_secret", Secret(CANARY))


@pytest.mark.django_db
def test_neither_repr_nor_log_nor_dump_shows_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    source = sealed_source("One", CANARY)
    with caplog.at_level(logging.DEBUG):
        secret = open_from(source, "sealed_secret")
        logging.getLogger("tests").info("%s %r %s", secret, source.__dict__, source.sealed_secret)
        backup = CryptoSource(pk=uuid4(), sealed_secret=source.sealed_secret)
        with pytest.raises(CannotOpen) as caught:
            open_from(backup, "sealed_secret")
    dump = serializers.serialize("json", CryptoSource.objects.all())
    for text in (caplog.text, repr(caught.value), dump):
        assert CANARY not in text
    assert repr(source.sealed_secret) == f"<sealed, {len(source.sealed_secret or b'')} bytes>"


@pytest.mark.django_db
def test_a_dump_of_sealed_rows_can_be_loaded_again() -> None:
    source = sealed_source("One", CANARY)
    dump = serializers.serialize("json", CryptoSource.objects.all())
    CryptoSource.objects.all().delete()
    for item in serializers.deserialize("json", dump):
        item.save()
    assert open_from(CryptoSource.objects.get(pk=source.pk), "sealed_secret").reveal_text() == CANARY


def test_the_field_describes_itself_to_migrations() -> None:
    field = KeyBackup._meta.get_field("sealed_blob")
    assert isinstance(field, SealedField)
    _name, path, args, kwargs = field.deconstruct()
    assert (path, args, kwargs) == ("secretstore.fields.SealedField", [], {"recovery": True})
    assert isinstance(field.to_python(b"KMS"), Sealed)


# --- Rings ------------------------------------------------------------------------------------------


def _seal() -> Model:
    source = CryptoSource()
    seal_into(source, "sealed_secret", Secret(CANARY))
    return source


def test_without_rings_nothing_is_sealed_or_opened(settings: Settings) -> None:
    source = _seal()
    settings.PRIVATE_KEYS_FILE = settings.PUBLIC_KEYS_FILE = ""
    with pytest.raises(KeysMissing):
        open_from(source, "sealed_secret")
    with pytest.raises(KeysMissing):
        _seal()


def test_a_ring_that_cannot_be_read_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.PUBLIC_KEYS_FILE = str(tmp_path / "nothing.json")
    with pytest.raises(BadRing, match=r"nothing\.json"):
        _seal()


def test_the_private_ring_may_come_from_the_environment(settings: Settings, ring_folder: Path) -> None:
    source = _seal()
    settings.PRIVATE_KEYS = (ring_folder / keyfiles.PRIVATE).read_text()
    settings.PRIVATE_KEYS_FILE = ""
    assert open_from(source, "sealed_secret").reveal_text() == CANARY


def test_the_recovery_key_is_no_workers_ring(settings: Settings, ring_folder: Path) -> None:
    source = _seal()
    settings.PRIVATE_KEYS_FILE = str(ring_folder / keyfiles.RECOVERY)
    with pytest.raises(BadRing, match="recovery"):
        open_from(source, "sealed_secret")


def test_a_replaced_ring_counts_at_once(ring_folder: Path) -> None:
    before = key_ring_info()
    old = _seal()
    keyfiles.add_key(ring_folder, now=NOW)
    new = _seal()
    assert key_ring_info().active_id != before.active_id
    assert key_ring_info().recovery_id == before.recovery_id
    for source in (old, new):
        assert open_from(source, "sealed_secret").reveal_text() == CANARY


def test_a_removed_key_opens_nothing_any_more(ring_folder: Path) -> None:
    source = _seal()
    keyfiles.add_key(ring_folder, now=NOW)
    keyfiles.remove_old_keys(ring_folder)
    with pytest.raises(CannotOpen):
        open_from(source, "sealed_secret")


def test_the_demos_keys_are_of_no_use_outside_the_demo(settings: Settings, tmp_path: Path) -> None:
    keyfiles.create(tmp_path / "demo", demo=True, now=NOW)
    settings.PUBLIC_KEYS_FILE = str(tmp_path / "demo" / keyfiles.PUBLIC)
    settings.PRIVATE_KEYS_FILE = str(tmp_path / "demo" / keyfiles.PRIVATE)
    settings.DEMO = True
    source = _seal()
    settings.DEMO = False
    with pytest.raises(BadRing, match="demo"):
        _seal()
    with pytest.raises(BadRing, match="demo"):
        open_from(source, "sealed_secret")
