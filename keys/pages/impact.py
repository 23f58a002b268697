"""What a dangerous operation would touch: shown to the person before they decide."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db.models import Max, Q, Sum

from keys.lifecycle import OperationKind
from keys.models import KeyBackup, ManagedKey
from keys.wording import dates

#: Days over which recent use is counted, today included.
RECENT_DAYS = 30


@dataclass(frozen=True, slots=True)
class Impact:
    """What depends on a key now, and what can undo the operation."""

    versions: int
    backups: list[KeyBackup]
    verified: KeyBackup | None
    recent_signatures: int
    last_used: date | None
    dates_left_behind: str
    undo: str
    for_good: bool

    @property
    def others(self) -> list[KeyBackup]:
        """The backups that are not the key's verified one: unverified, or lacking a version."""
        return [backup for backup in self.backups if backup != self.verified]

    @property
    def in_use(self) -> bool:
        return self.recent_signatures > 0


def impact_of(key: ManagedKey, kind: OperationKind, *, now: datetime) -> Impact:
    """Reads the database only; blobs stay there."""
    use = key.use.aggregate(
        last=Max("day"), recent=Sum("signatures", filter=Q(day__gte=recent_start(now)), default=0)
    )
    backups = list(key.backups.defer("sealed_blob"))
    verified = next((backup for backup in backups if backup.pk == key.verified_backup_id), None)
    return Impact(
        versions=key.versions.count(),
        backups=backups,
        verified=verified,
        recent_signatures=use["recent"],
        last_used=use["last"],
        dates_left_behind=_dates_left_behind(key, kind),
        undo=_undo(kind, verified),
        for_good=kind is OperationKind.PURGE and verified is None,
    )


def recent_start(now: datetime) -> date:
    """The first day (UTC) that counts as recent use."""
    return now.astimezone(UTC).date() - timedelta(days=RECENT_DAYS - 1)


def _dates_left_behind(key: ManagedKey, kind: OperationKind) -> str:
    """A rotation's new version starts without dates."""
    return dates(key.not_before, key.expires_at) if kind is OperationKind.ROTATE else ""


def _undo(kind: OperationKind, verified: KeyBackup | None) -> str:
    if kind is OperationKind.ROTATE:
        return (
            "Nothing takes a version away again. Earlier versions stay in the HSM, "
            "and their signatures keep verifying. The new version has the key's tags, is enabled, "
            "and has no validity dates."
        )
    restore = "Restore puts the key back from its verified backup" if verified else ""
    if kind is OperationKind.PURGE:
        return (
            f"{restore}, all versions."
            if restore
            else (
                "Nothing. No verified backup is kept here, so the key can never sign again. "
                "Its public keys stay on record, and signatures made with it keep verifying."
            )
        )
    after = (
        f" After that, {restore[0].lower()}{restore[1:]}."
        if restore
        else (" After that nothing brings it back: no verified backup is kept here.")
    )
    return f"Recover brings the key back, with all versions, until the HSM's retention ends.{after}"
