"""Creating, changing, switching and deleting crypto sources.

Every write is one transaction with its audit record, and a conditional update on ``revision``: two
people cannot overwrite each other unnoticed.
"""

import uuid
from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from django.db import IntegrityError, transaction
from django.db.models import F, ProtectedError
from django.utils import timezone
from django.utils.formats import date_format

from audit.services import Actor, record
from cryptosources import rules, trusted_roots
from cryptosources.errors import (
    EditConflict,
    InvalidSource,
    SourceError,
    SourceGone,
    SourceInactive,
    SourceInUse,
    TestKeyOwed,
)
from cryptosources.models import (
    FRIENDLY_NAME_LENGTH,
    ConnectionTest,
    CryptoSource,
    SourceStatus,
    protecting_relations,
)
from cryptosources.rules import Columns, check
from cryptosources.services import throw_away
from cryptosources.services.gate import require_licensed, require_usable
from cryptosources.settings_value import SourceSettings
from secretstore.services import seal_into

__all__ = (
    "EditConflict",
    "InvalidSource",
    "SourceError",
    "SourceGone",
    "SourceInUse",
    "SourceInactive",
    "SourceSettings",
    "activate",
    "advice",
    "assumed_expiry",
    "check_settings",
    "create_source",
    "deactivate",
    "delete_source",
    "find_by_name",
    "is_tested",
    "keys_of",
    "require_usable",
    "suggested_name",
    "update_source",
)

ASSUMED_LIFE_YEARS: Final = 2
_TAKEN: Final = "Another crypto source has this Friendly Name (capital letters make no difference)."
_PURGE_PROTECTED: Final = (
    "This HSM has purge protection, as the last connection test found: nobody can remove a key before its "
    "retention ends, so keys cannot be restored for the next signature."
)
#: What a connection test tests. A change of anything else, such as a rename, leaves its result true.
_TESTED: Final = frozenset({*rules.AIMING_FIELDS, "sign_in_method", "sealed_secret", "backup_restore"})
_SWITCHED: Final = {
    SourceStatus.ACTIVE: "source.activated",
    SourceStatus.INACTIVE: "source.deactivated",
}


def assumed_expiry(now: datetime) -> date:
    """The end date of a Key whose owner named none: two years, the longest that Entra's page offers."""
    today = timezone.localdate(now)
    try:
        return today.replace(year=today.year + ASSUMED_LIFE_YEARS)
    except ValueError:  # 29 February
        return today.replace(year=today.year + ASSUMED_LIFE_YEARS, day=28)


def check_settings(*, entered: SourceSettings, existing: CryptoSource | None) -> Columns:
    """Every rule, those that need a look at the database too. Raises ``InvalidSource`` with all problems."""
    try:
        columns = check(entered, existing=existing)
    except InvalidSource as refused:
        if _name_taken(entered.friendly_name, existing):
            refused.problems.setdefault("friendly_name", [_TAKEN])
        raise
    problems: dict[str, list[str]] = {}
    if _name_taken(columns.friendly_name, existing):
        problems["friendly_name"] = [_TAKEN]
    if existing is not None and _purging_impossible(columns, existing):
        problems["backup_restore"] = [_PURGE_PROTECTED]
    if problems:
        raise InvalidSource(problems)
    return columns


def _purging_impossible(columns: Columns, existing: CryptoSource) -> bool:
    """Backup & restore is being switched on for an HSM that is known to keep deleted keys."""
    changes = columns.changes(existing)
    switched_on = bool(changes.get("backup_restore"))
    return switched_on and "dns_name" not in changes and existing.is_purge_protected()


def find_by_name(*, friendly_name: str) -> CryptoSource | None:
    """The source of that Friendly Name, without regard to case.

    Compares as Unicode does: SQLite's own ``lower()`` knows ASCII only. There are dozens of sources.
    """
    wanted = rules.folded(friendly_name)
    return next(
        (row for row in CryptoSource.objects.all() if rules.folded(row.friendly_name) == wanted), None
    )


def _name_taken(name: str, existing: CryptoSource | None) -> bool:
    holder = find_by_name(friendly_name=name)
    return holder is not None and (existing is None or holder.pk != existing.pk)


def suggested_name(source: CryptoSource) -> str:
    """A Friendly Name for a copy that no source has yet: “Copy of …”, then “Copy of … (2)”."""
    taken = {rules.folded(name) for name in CryptoSource.objects.values_list("friendly_name", flat=True)}
    for number in range(1, len(taken) + 2):
        ending = f" ({number})" if number > 1 else ""
        beginning = f"Copy of {source.friendly_name}"[: FRIENDLY_NAME_LENGTH - len(ending)]
        if rules.folded(beginning + ending) not in taken:
            break
    return beginning + ending


def create_source(
    *,
    entered: SourceSettings,
    active: bool = False,
    cloned_from: CryptoSource | None = None,
    actor: Actor,
    now: datetime,
) -> CryptoSource:
    """Raises ``InvalidSource`` | ``FeatureNotLicensed``. The Key is sealed; only workers can open it.

    ``cloned_from`` is for the record only: the settings are the entered ones.
    """
    require_licensed(kind=entered.kind, now=now)
    with transaction.atomic():
        columns = check_settings(entered=entered, existing=None)
        source = CryptoSource(
            id=uuid.uuid4(),
            status=SourceStatus.ACTIVE if active else SourceStatus.INACTIVE,
            created_at=now,
            created_by=actor.name,
            updated_at=now,
            updated_by=actor.name,
            **dict(columns.items()),
        )
        for name, value in _credential(entered, source, now).items():
            setattr(source, name, value)
        _save_unique(source)
        origin = {"cloned_from": _origin(cloned_from)} if cloned_from else {}
        _record("source.created", source, actor, now, {**_shown(source), **origin})
    return source


def _origin(source: CryptoSource) -> dict[str, str]:
    return {"id": str(source.pk), "friendly_name": source.friendly_name}


def _save_unique(source: CryptoSource) -> None:
    """Insert; a name taken in this very moment becomes the same problem as one taken before."""
    try:
        with transaction.atomic():
            source.save(force_insert=True)
    except IntegrityError as error:
        if "friendly_name" in str(error):
            raise InvalidSource({"friendly_name": [_TAKEN]}) from error
        raise


def _credential(entered: SourceSettings, source: CryptoSource, now: datetime) -> dict[str, object]:
    """The columns of the Key that change: the sealed value, its end date and where that date is from.

    A new Key for which no date is named has not the old one's: its date is assumed.
    """
    changed: dict[str, object] = {}
    if entered.key is not None:
        seal_into(source, "sealed_secret", entered.key)
        changed["sealed_secret"] = source.sealed_secret
    if entered.secret_expires_on is not None and entered.secret_expires_on != source.secret_expires_on:
        changed |= {"secret_expires_on": entered.secret_expires_on, "secret_expiry_assumed": False}
    elif entered.secret_expires_on is None and entered.key is not None:
        changed |= {"secret_expires_on": assumed_expiry(now), "secret_expiry_assumed": True}
    return changed


def update_source(
    *,
    source_id: uuid.UUID,
    based_on: int,
    entered: SourceSettings,
    active: bool | None = None,
    actor: Actor,
    now: datetime,
) -> CryptoSource:
    """Change a source that was shown at revision ``based_on``; ``active`` None leaves the status alone.

    Nothing is written when nothing differs. Raises ``EditConflict`` when the source has changed since,
    ``SourceGone``, ``InvalidSource`` or ``FeatureNotLicensed``.
    """
    require_licensed(kind=entered.kind, now=now)
    with transaction.atomic():
        source = _at_revision(source_id, based_on, entered.friendly_name)
        columns = check_settings(entered=entered, existing=source)
        before = _shown(source)
        changes = columns.changes(source) | _credential(entered, source, now)
        if active is not None and active != source.is_active:
            changes["status"] = SourceStatus.ACTIVE if active else SourceStatus.INACTIVE
        if not changes:
            return source
        _require_same_hsm(source, changes)
        _write(source, changes, actor, now)
        _record("source.updated", source, actor, now, _differences(before, source, changes))
        if "status" in changes:
            _record(_SWITCHED[SourceStatus(source.status)], source, actor, now, {})
    return source


def _require_same_hsm(source: CryptoSource, changes: Mapping[str, object]) -> None:
    """Keys live in the HSM where they were made: another address would make them seem gone.

    Remains of a throw-away key too: their row is looked at again on the day the HSM drops them.
    """
    if "dns_name" in changes and source.throw_away_keys.exists():
        raise InvalidSource({"dns_name": [str(TestKeyOwed(source.friendly_name, "moved to another HSM"))]})
    keys = keys_of(source_id=source.pk) if "dns_name" in changes else 0
    if keys:
        stand = "1 key stands" if keys == 1 else f"{keys} keys stand"
        raise InvalidSource(
            {
                "dns_name": [
                    f"{stand} on this source, in the HSM at this address. Make a new crypto source instead."
                ]
            }
        )


def _at_revision(source_id: uuid.UUID, revision: int, name: str) -> CryptoSource:
    source = CryptoSource.objects.select_for_update().filter(pk=source_id).first()
    if source is None:
        raise SourceGone(name)
    if source.revision != revision:
        raise EditConflict(source.friendly_name, source.updated_by)
    return source


def _write(source: CryptoSource, changes: Mapping[str, object], actor: Actor, now: datetime) -> None:
    """Conditional update; brings ``source`` up to date. Raises ``EditConflict`` | ``InvalidSource``."""
    revision = source.revision
    mine = CryptoSource.objects.filter(pk=source.pk, revision=revision)
    values = {**changes, "updated_at": now, "updated_by": actor.name}
    try:
        with transaction.atomic():
            changed = mine.update(**values, revision=F("revision") + 1)
    except IntegrityError as error:
        if "friendly_name" in str(error):
            raise InvalidSource({"friendly_name": [_TAKEN]}) from error
        raise
    source.refresh_from_db()
    if not changed:
        raise EditConflict(source.friendly_name, source.updated_by)
    if not changes.keys() & _TESTED:
        _keep_tests(source, revision)


def _keep_tests(source: CryptoSource, revision: int) -> None:
    """What was tested at ``revision`` is still the same: the tests speak for the present one, too."""
    source.tests.filter(source_revision=revision).update(source_revision=source.revision)


def is_tested(source: CryptoSource) -> bool:
    """Has a test come to its end since anything that matters to it was changed?"""
    ended = source.tests.filter(state=ConnectionTest.State.FINISHED)
    return ended.filter(source_revision=source.revision).exists()


def activate(*, source_id: uuid.UUID, actor: Actor, now: datetime) -> bool:
    """Make a source Active. False when it was so already. Raises ``SourceGone`` | ``FeatureNotLicensed``."""
    source = CryptoSource.objects.filter(pk=source_id).first()
    if source is not None:
        require_licensed(kind=source.provider_kind, now=now)
    return _switch(source_id, SourceStatus.ACTIVE, actor, now)


def deactivate(*, source_id: uuid.UUID, actor: Actor, now: datetime) -> bool:
    """Make a source Inactive, at once for queued work too. False when it was so already. ``SourceGone``."""
    return _switch(source_id, SourceStatus.INACTIVE, actor, now)


def _switch(source_id: uuid.UUID, status: SourceStatus, actor: Actor, now: datetime) -> bool:
    with transaction.atomic():
        changed = (
            CryptoSource.objects.filter(pk=source_id)
            .exclude(status=status)
            .update(status=status, revision=F("revision") + 1, updated_at=now, updated_by=actor.name)
        )
        source = CryptoSource.objects.filter(pk=source_id).first()
        if source is None:
            raise SourceGone("The crypto source")
        if changed:
            _keep_tests(source, source.revision - 1)
            _record(_SWITCHED[status], source, actor, now, {})
    return bool(changed)


def advice(*, source: CryptoSource, before: CryptoSource | None = None, now: datetime) -> list[str]:
    """What is allowed but probably not meant, as sentences to show after saving.

    ``before`` is the source as it was; what was odd then already and stands as it stood is not repeated.
    """
    found = []
    if before is None or before.remove_after_seconds != source.remove_after_seconds:
        found += rules.seconds_advice(source.remove_after_seconds)
    if before is None or _account(before) != _account(source):
        found += _same_account_advice(source)
    return found + _expiry_advice(source, now)


def _account(source: CryptoSource) -> tuple[str, uuid.UUID | None]:
    return source.dns_name, source.application_id


def _same_account_advice(source: CryptoSource) -> list[str]:
    dns_name, application_id = _account(source)
    if application_id is None:
        return []
    same = CryptoSource.objects.filter(dns_name=dns_name, application_id=application_id)
    return [
        f"“{other}” reaches the same HSM with the same Application ID. One of the two is enough, "
        "unless you mean to keep their keys apart."
        for other in same.exclude(pk=source.pk)[:1]
    ]


def _expiry_advice(source: CryptoSource, now: datetime) -> list[str]:
    found = []
    ends_on = date_format(source.secret_expires_on, "j M Y") if source.secret_expires_on else ""
    days = source.secret_days_left(timezone.localdate(now))
    if days is not None and days < 0:
        found.append(f"The Key ended on {ends_on}: signing in will be refused.")
    if source.secret_expiry_assumed:
        found.append(f"The Key's end date, {ends_on}, is assumed. Enter the one that Entra shows.")
    found += [
        f"The root certificate “{root.subject}” has expired."
        for root in trusted_roots.parse(source.trusted_roots)
        if root.not_after < now
    ]
    return found


def keys_of(*, source_id: uuid.UUID) -> int:
    """How many keys depend on the source."""
    return sum(
        relation.related_model._base_manager.filter(**{relation.field.name: source_id}).count()
        for relation in protecting_relations()
    )


def delete_source(*, source_id: uuid.UUID, actor: Actor, now: datetime) -> str:
    """Delete a source with its Key; returns its name.

    Raises ``SourceInUse`` while keys depend on it, ``TestKeyOwed`` while a test's key is to be removed.
    """
    source = CryptoSource.objects.filter(pk=source_id).first()
    if source is None:
        raise SourceGone("The crypto source")
    if keys := keys_of(source_id=source_id):
        raise SourceInUse(source.friendly_name, keys)
    if throw_away.owed(source).exists():
        raise TestKeyOwed(source.friendly_name, "deleted")
    try:
        with transaction.atomic():
            source.throw_away_keys.filter(remains_until__isnull=False).delete()  # the HSM's own to drop
            _record("source.deleted", source, actor, now, _shown(source))  # while it has its id
            _count, deleted = source.delete()
            if not deleted.get(CryptoSource._meta.label):
                raise SourceGone(source.friendly_name)
    except (ProtectedError, IntegrityError) as error:  # a key was made in this very moment
        raise SourceInUse(source.friendly_name, keys_of(source_id=source_id)) from error
    return source.friendly_name


_SHOWN: Final = (
    "status",
    "friendly_name",
    "kind",
    "dns_name",
    "token_endpoint",
    "application_id",
    "secret_expires_on",
    "backup_restore",
    "keep_after_signing",
    "remove_after_seconds",
    "trusted_roots",
    "sign_in_method",
)


def _shown(source: CryptoSource) -> dict[str, object]:
    """The settings as an audit record holds them: everything but the Key."""
    plain = (bool, int, type(None))
    values = {name: getattr(source, name) for name in _SHOWN}
    return {name: value if isinstance(value, plain) else str(value) for name, value in values.items()}


def _differences(
    before: Mapping[str, object], source: CryptoSource, changes: Mapping[str, object]
) -> dict[str, object]:
    after = _shown(source)
    told: dict[str, object] = {
        name: {"from": before[name], "to": after[name]} for name in _SHOWN if before[name] != after[name]
    }
    if "sealed_secret" in changes:
        told["key"] = "replaced"
    return told


def _record(
    action: str, source: CryptoSource, actor: Actor, now: datetime, details: Mapping[str, object]
) -> None:
    record(
        action=action,
        actor=actor,
        subject_type="crypto source",
        subject_id=str(source.pk),
        subject_name=source.friendly_name,
        details=details,
        now=now,
    )
