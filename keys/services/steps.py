"""The steps of operations: each makes one change in the HSM and says what to write down.

Every step looks before it acts, so a step repeated after a crash finds what its first run did. Steps
write nothing themselves: they return a function that runs in the transaction which also settles the
claim, so a holder that lost its claim changes no row.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes, KeyInfo, KeyRef, KeySpec, KeyState
from cryptosources.providers.api import KeyBackup as BackupBlob
from cryptosources.providers.errors import (
    AccessDenied,
    ForeignBackup,
    KeyAlreadyExists,
    KeyMismatch,
    KeyNameReserved,
    KeyNotFound,
    OutcomeUnknown,
    ProviderError,
)
from cryptosources.providers.signatures import signature_is_valid
from cryptosources.services.gate import require_usable
from keys.lifecycle import CREATE_SENT, MOST_VERSIONS, ROTATE_SENT, UPDATE_SENT, Residency, Step
from keys.models import KeyBackup, KeyVersion
from keys.services import use, writes
from keys.services.context import StepContext, StepFailed, Write, residency_found
from keys.services.validity import TAGS_REMOVED, from_parameters, require_valid
from secretstore.errors import CannotOpen
from secretstore.secret import Secret
from secretstore.services import open_from, seal_into


def create(step: StepContext) -> Write:
    """Create the key, or adopt what an earlier run of this step created (its tags say so)."""
    _require_gate(step)
    info = step.look()
    if info is None:
        info = _create(step)
        versions = [info]
    elif step.is_ours(info):
        step.remember(**{CREATE_SENT: True})
        versions = _versions(step)
    else:
        where = "live" if info.state is KeyState.ACTIVE else "soft-deleted"
        raise StepFailed(
            f"The HSM already has a {where} key of this name that this console did not create. "
            "Choose another name.",
            residency=Residency.NOT_CREATED,
        )
    resident = Step(step.operation.steps[-1]) is Step.CREATE
    return lambda now: writes.created(step.key, info, versions, resident=resident, now=now)


def _create(step: StepContext) -> KeyInfo:
    spec = replace(_spec(step), not_before=step.key.not_before, expires_at=step.key.expires_at)
    return _sent(step, CREATE_SENT, lambda: step.provider.create_key(spec))


def _sent(step: StepContext, mark: str, call: Callable[[], KeyInfo], **found: object) -> KeyInfo:
    """Make the change, noting it (and ``found``) first: from then on it may be made, unless it is refused."""
    sent_before = step.operation.memo.get(mark, False)
    step.guard_use()
    step.remember(**{mark: True}, **found)
    try:
        return call()
    except ProviderError as error:
        if error.outcome_known and not sent_before:
            step.remember(**{mark: False})
        raise


def _spec(step: StepContext) -> KeySpec:
    """A version as the record has it, without dates; whatever the HSM holds meanwhile does not count."""
    key = step.key
    return KeySpec(key.name, KeyAlgorithm(key.algorithm), {**key.tags, **step.tags})


def back_up(step: StepContext) -> Write:
    """Take a backup and seal it; a repeat finds the row of its first run."""
    if KeyBackup.objects.filter(operation=step.operation).exists():
        return _nothing
    info = step.require_live()
    versions = _versions(step)
    step.guard()
    blob = step.provider.backup_key(step.ref)
    backup = KeyBackup(
        key=step.key,
        operation=step.operation,
        origin=blob.origin,
        size=len(blob.blob),
        sha256=hashlib.sha256(blob.blob).hexdigest(),
        versions=[version.ref.version for version in versions],
    )
    seal_into(backup, "sealed_blob", Secret(blob.blob))
    return lambda now: writes.backed_up(step.key, backup, info, versions, now=now)


def verify_backup(step: StepContext) -> Write:
    """Open the committed blob and let the HSM open it too: a restore over the live key must be refused.

    The refusal (*a key of that name exists*) shows that the HSM decrypted the blob and found our key's
    name in it; a blob it cannot use is answered otherwise. Without the right to restore, the form is
    all that can be checked, and the backup says so.
    """
    backup = KeyBackup.objects.get(operation=step.operation)
    blob = _opened(step, backup)
    step.require_live()
    step.guard()
    try:
        step.provider.restore_key(blob)
    except (KeyAlreadyExists, KeyNameReserved):
        proof = "hsm"
    except AccessDenied:
        proof = "decoded"
    else:
        raise StepFailed(
            "While its backup was verified the key vanished from the HSM and was restored from it. "
            "Somebody removed it outside this console; look at the key before anything else."
        )
    return lambda now: writes.verified(step.key, backup, proof, now=now)


def delete(step: StepContext) -> Write:
    """Soft-delete the key, if it is live and ours. A key that is gone already counts as deleted."""
    info = step.look()
    versions: list[KeyInfo] = []
    if info is not None and info.state is KeyState.ACTIVE:
        step.require_ours(info)
        versions = _versions(step)
        step.guard()
        step.provider.delete_key(step.ref)
        info = step.look()
        if info is not None and info.state is KeyState.ACTIVE:
            raise _not_settled(step)
    found = residency_found(step.key, info)
    return lambda now: writes.removed(step.key, found, info, versions, now=now)


def recover(step: StepContext) -> Write:
    """Undo a soft delete; a key that is live already counts as recovered."""
    _require_gate(step)
    info = step.look()
    if info is None:
        raise StepFailed(
            "The key is no longer among the HSM's deleted keys: its retention ended or it was purged.",
            residency=residency_found(step.key, None),
        )
    step.require_ours(info)
    return _bring_back(step, info)


def purge(step: StepContext) -> Write:
    """Remove a soft-deleted key for good.

    Only with a committed backup that still opens and names this source, or a person's override.
    """
    override = str(step.operation.parameters.get("override_by") or "")
    if not override:
        _require_purge_backup(step)
    info = step.look()
    if info is not None:
        if info.state is KeyState.ACTIVE:
            raise StepFailed("The key is live in the HSM: delete it first.", residency=Residency.RESIDENT)
        step.require_ours(info)
        step.guard()
        step.provider.purge_key(step.ref)
        if step.look() is not None:
            raise _not_settled(step)
    return lambda now: writes.purged(step.key, override_by=override, now=now)


def restore(step: StepContext) -> Write:
    """Put the key back from its verified backup, all versions; a repeat finds it there."""
    _require_gate(step)
    info = step.look()
    if info is not None:
        step.require_ours(info)
        return _bring_back(step, info)
    if step.key.verified_backup is None:
        raise StepFailed("No verified backup of this key is kept here.", residency=Residency.FAULTED)
    step.guard_use()
    try:
        info = step.provider.restore_key(_opened(step, step.key.verified_backup))
    except (KeyAlreadyExists, KeyNameReserved) as error:
        raise _not_settled(step) from error
    except (ForeignBackup, StepFailed, CannotOpen) as error:
        # A backup that does not open is no loop to be in: a person must look.
        raise StepFailed(str(error), code=type(error).__name__, residency=Residency.FAULTED) from error
    step.require_ours(info)
    versions = _all_versions(step)
    return lambda now: writes.resident(step.key, info, versions, now=now)


def note_versions(step: StepContext) -> Write:
    """Write down the versions before a rotation, so that a repeat can tell whether it happened."""
    _require_gate(step)
    step.require_live()
    names = [info.ref.version for info in _listed(step)]
    return lambda now: writes.memo(step.operation, {"versions": names}, now=now)


def rotate(step: StepContext) -> Write:
    """Add a version, unless an earlier attempt sent that and the version is there."""
    _require_gate(step)
    step.require_live()
    versions = _versions(step)
    if not _rotated_before(step, versions):
        versions.append(_rotate(step, versions))
    return lambda now: writes.rotated(step.key, versions, now=now)


def _rotated_before(step: StepContext, versions: Sequence[KeyInfo]) -> bool:
    """Somebody else's new version is none of ours: it came before we asked, or is of another type."""
    noted = set(step.operation.memo["versions"])
    wanted = KeyAlgorithm(step.key.algorithm)
    return step.operation.memo.get(ROTATE_SENT, False) and any(
        info.ref.version not in noted and info.algorithm is wanted and step.is_ours(info) for info in versions
    )


def _rotate(step: StepContext, versions: Sequence[KeyInfo]) -> KeyInfo:
    """Send the rotation, noting anew what is there before it."""
    if len(versions) >= MOST_VERSIONS:
        raise StepFailed(
            f"The key has {len(versions)} versions, and an HSM keeps at most {MOST_VERSIONS} of one key. "
            "Generate a new key instead; nothing was changed."
        )
    spec, names = _spec(step), [info.ref.version for info in versions]
    try:
        return _sent(step, ROTATE_SENT, lambda: step.provider.rotate_key(spec), versions=names)
    except KeyNotFound:
        step.require_live()
        raise


def update(step: StepContext) -> Write:
    """Set dates, enabled state and tags of the current version; a repeat finds them set.

    It is the newest of the key's type, on record or not. Dates that were set outside this console
    meanwhile are replaced; tags that others set and the person was not shown stay.
    """
    _require_gate(step)
    step.require_live()
    versions = _versions(step)
    current = writes.newest(step.key, versions)
    if current is None:
        raise KeyMismatch("The HSM shows no version of the key on record.", key=step.key.name)
    wanted = _wanted_attributes(step, current)
    if attributes_of(current) == wanted:
        return lambda now: writes.updated(step.key, versions, now=now)
    held = _sent(step, UPDATE_SENT, lambda: step.provider.update_key(current.ref, wanted))
    updated = [held if info is current else info for info in versions]

    def write(now: datetime) -> None:
        writes.updated(step.key, updated, now=now)

    if attributes_of(held) != wanted:
        raise StepFailed(
            "The HSM answered, but holds other dates or tags than were asked for: it cannot be set so. "
            "Where it kept a date that was to go, set a later one instead.",
            write=write,
        )
    return write


def _wanted_attributes(step: StepContext, current: KeyInfo) -> KeyAttributes:
    """What was asked for, with our tags and those of others: on the key, but not among what was shown."""
    parameters = step.operation.parameters
    asked = from_parameters(parameters)
    gone = parameters.get(TAGS_REMOVED, ())
    kept = {name: value for name, value in current.tags.items() if name not in gone}
    return replace(asked, tags={**kept, **asked.tags, **step.tags})


def attributes_of(info: KeyInfo) -> KeyAttributes:
    return KeyAttributes(info.enabled, info.not_before, info.expires_at, info.tags)


def sign(step: StepContext) -> Write:
    """Sign the digest with the version named when it was asked for, and check it with the public key.

    A repeat after a crash may make the HSM sign twice; only one result is ever written. A key out of
    its dates never gets as far as the HSM.
    """
    require_valid(step.key, now=step.clock(), version=step.operation.parameters["version"])
    parameters = step.operation.parameters
    algorithm = SignatureAlgorithm(parameters["algorithm"])
    digest = base64.b64decode(parameters["digest"])
    version = KeyVersion.objects.get(key=step.key, version=parameters["version"])
    step.guard_use()
    try:
        signature = step.provider.sign_digest(KeyRef(step.key.name, version.version), digest, algorithm)
    except KeyNotFound:
        step.require_live()
        raise
    public_key = bytes(version.public_key_der)
    if not signature_is_valid(
        public_key_der=public_key, digest=digest, signature=signature.value, algorithm=algorithm
    ):
        raise KeyMismatch(
            "The HSM's signature does not verify under the public key on record; it is not handed out.",
            operation="sign",
            key=step.key.name,
            request_id=signature.request_id,
        )
    result = {"signature": base64.b64encode(signature.value).decode(), "version": version.version}

    def write(now: datetime) -> None:
        writes.signed(step.operation, result, request_id=signature.request_id)
        use.count_signatures(key=step.key, count=1, now=now)

    return write


STEPS: dict[Step, Callable[[StepContext], Write]] = {
    Step.CREATE: create,
    Step.BACK_UP: back_up,
    Step.VERIFY_BACKUP: verify_backup,
    Step.DELETE: delete,
    Step.RECOVER: recover,
    Step.PURGE: purge,
    Step.RESTORE: restore,
    Step.NOTE_VERSIONS: note_versions,
    Step.ROTATE: rotate,
    Step.UPDATE: update,
    Step.SIGN: sign,
}


def _require_gate(step: StepContext) -> None:
    """Inactive or unlicensed stops the work here, where it would reach the HSM, queued or not."""
    require_usable(source=step.key.source, now=step.clock())


def _bring_back(step: StepContext, info: KeyInfo) -> Write:
    """A soft-deleted key of ours is recovered; a live one is taken as it is."""
    if info.state is KeyState.SOFT_DELETED:
        step.guard_use()
        info = step.provider.recover_key(step.ref)
        step.require_ours(info)
    versions = _all_versions(step)
    return lambda now: writes.resident(step.key, info, versions, now=now)


def _listed(step: StepContext) -> list[KeyInfo]:
    step.guard()
    return list(step.provider.list_versions(step.key.name))


def _versions(step: StepContext) -> list[KeyInfo]:
    """All versions as the HSM holds them now, with their public keys, which listings do not carry."""
    known = {version.version: version for version in step.key.versions.all()}
    return [_whole(step, info, known.get(info.ref.version or "")) for info in _listed(step)]


def _whole(step: StepContext, listed: KeyInfo, recorded: KeyVersion | None) -> KeyInfo:
    if recorded is None:
        step.guard()
        return step.provider.describe_key(listed.ref)
    return replace(
        listed,
        public_key_der=bytes(recorded.public_key_der),
        algorithm=KeyAlgorithm(step.key.algorithm),
        created_at=recorded.created_at,
    )


def _all_versions(step: StepContext) -> list[KeyInfo]:
    """As :func:`_versions`; StepFailed when one on record is missing."""
    versions = _versions(step)
    recorded = set(step.key.versions.values_list("version", flat=True))
    if missing := recorded - {info.ref.version for info in versions}:
        raise StepFailed(
            f"{len(missing)} version(s) on record did not come back with the backup.",
            residency=Residency.FAULTED,
        )
    return versions


def _opened(step: StepContext, backup: KeyBackup) -> BackupBlob:
    """The committed blob, opened, its checksum compared and its form checked; StepFailed otherwise."""
    blob = open_from(backup, "sealed_blob").reveal()
    if hashlib.sha256(blob).hexdigest() != backup.sha256:
        raise StepFailed("The backup's checksum does not fit: the stored blob was altered or damaged.")
    opened = BackupBlob(blob, backup.origin, name=step.key.name)
    step.provider.check_backup(opened)
    return opened


def _require_purge_backup(step: StepContext) -> None:
    backup = step.key.verified_backup
    if backup is None:
        raise StepFailed("No verified backup of this key is kept here: back it up before it is purged.")
    if backup.origin != step.provider.origin:
        raise StepFailed(
            f"The backup was made by {backup.origin}, not by this source's HSM. "
            "Recover the key and back it up again."
        )
    _opened(step, backup)


def _not_settled(step: StepContext) -> OutcomeUnknown:
    return OutcomeUnknown(
        "The HSM does not show the change yet.", operation=step.operation.step, key=step.key.name
    )


def _nothing(now: datetime) -> None:
    """There is nothing to write down: an earlier run of this step did."""
