"""What finished steps write about a key. Called inside the transaction that settles the claim."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptosources.providers.api import KeyInfo
from keys.attributes import own_tags
from keys.lifecycle import Residency
from keys.models import KeyBackup, KeyOperation, KeyVersion, ManagedKey


def created(
    key: ManagedKey, info: KeyInfo, versions: Sequence[KeyInfo], *, resident: bool, now: datetime
) -> None:
    """The key is in the HSM. It counts as resident only once its backup, where one is owed, is verified."""
    key.recovery_level = info.recovery_level
    key.purgeable = info.purgeable
    _hold(key, info)
    _add_versions(key, versions)
    _place(key, Residency.RESIDENT if resident else Residency.CREATING, now)


def backed_up(
    key: ManagedKey, backup: KeyBackup, info: KeyInfo, versions: Sequence[KeyInfo], *, now: datetime
) -> None:
    """Commit the sealed blob, not verified yet."""
    backup.taken_at = now
    backup.save(force_insert=True)
    key.recovery_level = info.recovery_level
    _hold(key, info)
    _add_versions(key, versions)
    _save(key, now)


def verified(key: ManagedKey, backup: KeyBackup, proof: str, *, now: datetime) -> None:
    """The committed blob opens; it is the key's backup when it holds every version on record."""
    KeyBackup.objects.filter(pk=backup.pk).update(verified_at=now, proof=proof)
    if set(key.versions.values_list("version", flat=True)) <= set(backup.versions):
        key.verified_backup = backup
    if key.where in (Residency.CREATING, Residency.FAULTED):
        _place(key, Residency.RESIDENT, now)
    else:
        _save(key, now)


def removed(
    key: ManagedKey,
    residency: Residency,
    info: KeyInfo | None,
    versions: Sequence[KeyInfo],
    *,
    now: datetime,
) -> None:
    """The key is not live any more: soft-deleted, or gone altogether."""
    _add_versions(key, versions)
    key.scheduled_purge_at = info.scheduled_purge_at if info else None
    if residency is Residency.FAULTED:
        residency = Residency.PURGED
    _place(key, residency, now)


def purged(key: ManagedKey, *, override_by: str, now: datetime) -> None:
    """The key is gone from the HSM: absent when a backup can bring it back, purged for good otherwise."""
    if override_by:
        key.purge_override_by, key.purge_override_at = override_by, now
    key.scheduled_purge_at = None
    _place(key, Residency.ABSENT if key.verified_backup_id else Residency.PURGED, now)


def resident(key: ManagedKey, info: KeyInfo, *, now: datetime) -> None:
    """The key is live again."""
    key.recovery_level = info.recovery_level or key.recovery_level
    key.purgeable = info.purgeable
    key.scheduled_purge_at = None
    _hold(key, info)
    _place(key, Residency.RESIDENT, now)


def rotated(key: ManagedKey, info: KeyInfo, versions: Sequence[KeyInfo], *, now: datetime) -> None:
    """A version was added; ``info`` describes the newest."""
    _hold(key, info)
    _add_versions(key, versions)
    _place(key, Residency.RESIDENT, now)


def updated(key: ManagedKey, info: KeyInfo, *, now: datetime) -> None:
    """The version has other dates or tags. Older backups lack them, so none is in force any more."""
    _hold(key, info)
    key.verified_backup = None
    _save(key, now)


def signed(operation: KeyOperation, result: Mapping[str, str], *, request_id: str) -> None:
    KeyOperation.objects.filter(pk=operation.pk).update(result=dict(result), request_id=request_id)


def memo(operation: KeyOperation, found: Mapping[str, object], *, now: datetime) -> None:
    operation.memo = {**operation.memo, **found}
    KeyOperation.objects.filter(pk=operation.pk).update(memo=operation.memo)


def faulted(key: ManagedKey, residency: Residency, reason: str, *, now: datetime) -> None:
    """A step failed and the key was found elsewhere than recorded, or needs a person."""
    _place(key, residency, now, fault=reason if residency is Residency.FAULTED else "")


def _hold(key: ManagedKey, info: KeyInfo) -> None:
    """Record the current version's dates and tags as the HSM tells them."""
    key.enabled, key.not_before, key.expires_at = info.enabled, info.not_before, info.expires_at
    key.tags = own_tags(info.tags)


def _add_versions(key: ManagedKey, versions: Sequence[KeyInfo]) -> None:
    """Record versions not on record yet; the newest becomes current.

    Older backups lack them, so none is the key's verified backup any more.
    """
    known = set(key.versions.values_list("version", flat=True))
    new = [info for info in versions if info.ref.version not in known and info.public_key_der]
    new.sort(key=_age)
    for info in new:
        KeyVersion.objects.create(
            key=key,
            version=info.ref.version or "",
            public_key_der=info.public_key_der or b"",
            created_at=info.created_at or key.created_at,
        )
    if new:
        key.current_version = new[-1].ref.version or ""
        key.verified_backup = None


def _age(info: KeyInfo) -> tuple[float, str]:
    return (info.created_at.timestamp() if info.created_at else 0.0, info.ref.version or "")


def _place(key: ManagedKey, residency: Residency, now: datetime, *, fault: str = "") -> None:
    key.residency = residency
    key.fault = fault
    _save(key, now)


def _save(key: ManagedKey, now: datetime) -> None:
    key.updated_at = now
    key.save()
