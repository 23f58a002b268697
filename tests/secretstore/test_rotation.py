"""rotate_secrets: every row moves, none is lost, newer values win."""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from audit.actors import Actor
from audit.models import AuditRecord
from cryptosources.models import CryptoSource
from secretstore import keyfiles, rotation
from secretstore.core import Binding, PrivateRing, recipients
from secretstore.rings import public_ring
from secretstore.secret import Secret
from secretstore.services import CannotOpen, KeysMissing, SealedForWorkers, open_from, seal_into
from tests.secretstore.rows import sealed_backup, sealed_source

NOW = datetime(2026, 3, 14, tzinfo=UTC)
COLUMNS = {"cryptosources.CryptoSource.sealed_secret", "keys.KeyBackup.sealed_blob"}


def rotate_secrets(**options: Any) -> str:
    out = StringIO()
    call_command("rotate_secrets", stdout=out, **options)
    return out.getvalue()


def add_key(folder: Path) -> str:
    return keyfiles.add_key(folder, now=NOW).active.key_id


def rotate(batch_size: int = 100) -> Iterator[rotation.Progress]:
    return rotation.rotate(actor=Actor.command("tests"), clock=lambda: NOW, batch_size=batch_size)


def test_all_sealed_columns_of_the_installation_are_found() -> None:
    found = {f"{field.model._meta.label}.{field.name}" for field in rotation.sealed_fields()}
    assert found >= COLUMNS


@pytest.mark.django_db
def test_every_row_moves_to_the_active_key_and_says_the_same(ring_folder: Path) -> None:
    sources = [sealed_source(f"Source {n}", f"secret {n}") for n in range(5)]
    backups = [sealed_backup(sources[0], f"key-{n}", bytes([n]) * 2000) for n in range(3)]
    active = add_key(ring_folder)
    assert rotation.rows_to_move(public_ring()) == 8
    output = rotate_secrets(batch_size=2)
    assert rotation.rows_to_move(public_ring()) == 0
    assert "cryptosources.CryptoSource.sealed_secret: 5 of 5" in output
    keyfiles.remove_old_keys(ring_folder)
    for number, source in enumerate(CryptoSource.objects.order_by("friendly_name")):
        assert recipients(source.sealed_secret or b"") == (active,)
        assert open_from(source, "sealed_secret").reveal_text() == f"secret {number}"
    for number, backup in enumerate(backups):
        backup.refresh_from_db()
        assert open_from(backup, "sealed_blob").reveal() == bytes([number]) * 2000


@pytest.mark.django_db
def test_moved_blobs_still_open_with_the_recovery_key(ring_folder: Path) -> None:
    backup = sealed_backup(sealed_source("One", "x"), "key-1", b"blob")
    add_key(ring_folder)
    rotate_secrets()
    backup.refresh_from_db()
    ring = PrivateRing.from_json((ring_folder / keyfiles.RECOVERY).read_text())
    assert ring.open(backup.sealed_blob, Binding("keys_keybackup", "sealed_blob", str(backup.pk)))


@pytest.mark.django_db
def test_rows_on_the_active_key_and_empty_ones_are_left_alone(ring_folder: Path) -> None:
    CryptoSource.objects.create(friendly_name="Empty", kind="memory", created_at=NOW, updated_at=NOW)
    source = sealed_source("One", "secret")
    rotate_secrets()
    assert CryptoSource.objects.get(pk=source.pk).sealed_secret == source.sealed_secret
    assert not AuditRecord.objects.exists()


@pytest.mark.django_db
def test_each_batch_is_on_record(ring_folder: Path) -> None:
    for number in range(3):
        sealed_source(f"Source {number}", "secret")
    active = add_key(ring_folder)
    list(rotate(batch_size=2))
    records = AuditRecord.objects.filter(action="secrets.moved").order_by("pk")
    assert [(r.subject_id, r.details["values"]) for r in records] == [(active, 2), (active, 1)]
    assert records[0].details["column"] == "cryptosources.CryptoSource.sealed_secret"


@pytest.mark.django_db
def test_a_value_written_meanwhile_is_not_overwritten(
    ring_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sealed_source("One", "old")
    add_key(ring_folder)
    reseal = rotation._Mover._reseal

    def slow_reseal(*args: Any) -> bytes | None:
        newer = CryptoSource.objects.get(pk=source.pk)
        seal_into(newer, "sealed_secret", Secret("new"))
        newer.save()
        return reseal(*args)

    monkeypatch.setattr(rotation._Mover, "_reseal", slow_reseal)
    assert sum(step.moved for step in rotate()) == 0
    source.refresh_from_db()
    assert open_from(source, "sealed_secret").reveal_text() == "new"


@pytest.mark.django_db
def test_a_value_written_meanwhile_under_the_old_key_is_moved_in_the_next_pass(
    ring_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web process that still has the former public ring saves while the command runs."""
    first, second = sorted([sealed_source("A", "a"), sealed_source("B", "b")], key=lambda row: str(row.pk))
    former = public_ring()
    add_key(ring_folder)
    reseal = rotation._Mover._reseal
    written: list[int] = []

    def late_write(self: Any, field: Any, pk: Any, old: bytes) -> bytes | None:
        if pk == second.pk and not written:
            place = Binding("cryptosources_cryptosource", "sealed_secret", str(first.pk))
            value = former.seal(Secret("newer"), place)
            written.append(CryptoSource.objects.filter(pk=first.pk).update(sealed_secret=value))
        return reseal(self, field, pk, old)

    monkeypatch.setattr(rotation._Mover, "_reseal", late_write)
    rotate_secrets(batch_size=1)
    assert written == [1]
    assert rotation.rows_to_move(public_ring()) == 0
    first.refresh_from_db()
    assert open_from(first, "sealed_secret").reveal_text() == "newer"


@pytest.mark.django_db
def test_a_row_that_no_key_opens_is_named_and_the_others_move(ring_folder: Path) -> None:
    broken, sound = sealed_source("Broken", "x"), sealed_source("Sound", "y")
    CryptoSource.objects.filter(pk=broken.pk).update(sealed_secret=sound.sealed_secret)
    active = add_key(ring_folder)
    with pytest.raises(CommandError, match=str(broken.pk)) as caught:
        rotate_secrets()
    assert "1 values are not moved" in str(caught.value)
    sound.refresh_from_db()
    assert recipients(sound.sealed_secret or b"") == (active,)


@pytest.mark.django_db
def test_workers_need_the_new_key_first(ring_folder: Path) -> None:
    sealed_source("One", "secret")
    former = (ring_folder / keyfiles.PRIVATE).read_text()
    active = add_key(ring_folder)
    (ring_folder / keyfiles.PRIVATE).write_text(former)
    with pytest.raises(KeysMissing, match=active):
        list(rotate())
    with pytest.raises(CommandError, match=active):
        rotate_secrets()


@pytest.mark.django_db
def test_only_workers_rotate(ring_folder: Path, settings: Settings) -> None:
    settings.ROLE = "web"
    with pytest.raises(SealedForWorkers):
        list(rotate())


@pytest.mark.django_db
def test_old_keys_stay_while_a_row_needs_them(ring_folder: Path) -> None:
    source = sealed_source("One", "secret")
    call_command("make_sealing_keys", out=ring_folder, rotate=True, stdout=StringIO())
    with pytest.raises(CommandError, match="1 sealed values still need an older key"):
        call_command("make_sealing_keys", out=ring_folder, remove_old=True, stdout=StringIO())
    assert open_from(source, "sealed_secret").reveal_text() == "secret"
    rotate_secrets()
    call_command("make_sealing_keys", out=ring_folder, remove_old=True, stdout=StringIO())
    assert len(keyfiles.read_private(ring_folder).key_ids) == 1
    with pytest.raises(CannotOpen):
        open_from(source, "sealed_secret")
    assert open_from(CryptoSource.objects.get(), "sealed_secret").reveal_text() == "secret"
