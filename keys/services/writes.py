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
    _take(key, versions)
    _place(key, Residency.RESIDENT if resident else Residency.CREATING, now)


def backed_up(
    key: ManagedKey, backup: KeyBackup, info: KeyInfo, versions: Sequence[KeyInfo], *, now: datetime
) -> None:
    """Commit the sealed blob, not verified yet."""
    backup.taken_at = now
    backup.save(force_insert=True)
    key.recovery_level = info.recovery_level
    _take(key, versions)
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
    _take(key, versions)
    key.scheduled_purge_at = info.scheduled_purge_at if info else None
    if residency is Residency.FAULTED or (residency is Residency.ABSENT and not key.verified_backup_id):
        residency = Residency.PURGED
    _place(key, residency, now)


def purged(key: ManagedKey, *, override_by: str, now: datetime) -> None:
    """The key is gone from the HSM: absent when a backup can bring it back, purged for good otherwise."""
    if override_by:
        key.purge_override_by, key.purge_override_at = override_by, now
    key.scheduled_purge_at = None
    _place(key, Residency.ABSENT if key.verified_backup_id else Residency.PURGED, now)


def resident(key: ManagedKey, info: KeyInfo, versions: Sequence[KeyInfo], *, now: datetime) -> None:
    """The key is live again."""
    key.recovery_level = info.recovery_level or key.recovery_level
    key.purgeable = info.purgeable
    key.scheduled_purge_at = None
    _take(key, versions)
    _place(key, Residency.RESIDENT, now)


def rotated(key: ManagedKey, versions: Sequence[KeyInfo], *, now: datetime) -> None:
    """A version was added."""
    _take(key, versions)
    _place(key, Residency.RESIDENT, now)


def updated(key: ManagedKey, versions: Sequence[KeyInfo], *, now: datetime) -> None:
    """The current version has other dates or tags."""
    _take(key, versions)
    backup_outdated(key, now=now)


def backup_outdated(key: ManagedKey, *, now: datetime) -> None:
    """The HSM holds, or may hold, dates or tags that no backup has: none is in force any more."""
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


def newest(key: ManagedKey, versions: Sequence[KeyInfo]) -> KeyInfo | None:
    """The version that is, or becomes, the current one on record: the newest of the key's own type."""
    return max(_of_its_type(key, versions), key=_age, default=None)


def _take(key: ManagedKey, versions: Sequence[KeyInfo]) -> None:
    """Record the versions that the HSM shows, and what it holds for the current one.

    Older backups lack a version or an attribute that was not on record: then none is in force any more.
    """
    added, before = _add_versions(key, versions), _attributes(key)
    for info in versions:
        if info.ref.version == key.current_version:
            key.enabled, key.not_before, key.expires_at = info.enabled, info.not_before, info.expires_at
            key.tags = own_tags(info.tags)
    if added or _attributes(key) != before:
        key.verified_backup = None


def _attributes(key: ManagedKey) -> tuple[object, ...]:
    return key.enabled, key.not_before, key.expires_at, key.tags


def _add_versions(key: ManagedKey, versions: Sequence[KeyInfo]) -> bool:
    """Record versions not on record yet, the newest as the current one; whether there were any.

    A version of another type was added outside this console. It is left out: it could not sign as this
    key does, and the versions on record are untouched by it.
    """
    known = set(key.versions.values_list("version", flat=True))
    new = sorted((info for info in _of_its_type(key, versions) if info.ref.version not in known), key=_age)
    for info in new:
        KeyVersion.objects.create(
            key=key,
            version=info.ref.version or "",
            public_key_der=info.public_key_der or b"",
            created_at=info.created_at or key.created_at,
        )
    if new:
        key.current_version = new[-1].ref.version or ""
    return bool(new)


def _of_its_type(key: ManagedKey, versions: Sequence[KeyInfo]) -> list[KeyInfo]:
    return [info for info in versions if info.algorithm == key.algorithm and info.public_key_der]


def _age(info: KeyInfo) -> tuple[float, str]:
    return (info.created_at.timestamp() if info.created_at else 0.0, info.ref.version or "")


def _place(key: ManagedKey, residency: Residency, now: datetime, *, fault: str = "") -> None:
    key.residency = residency
    key.fault = fault
    _save(key, now)


def _save(key: ManagedKey, now: datetime) -> None:
    key.updated_at = now
    key.save()
