"""What the console calls things: key types, places, operations and steps, in plain words."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cryptosources.providers.algorithms import SignatureAlgorithm
from keys.lifecycle import OperationKind, OperationState, Residency, Step
from keys.models import KeyBackup, KeyOperation, ManagedKey


@dataclass(frozen=True, slots=True)
class Words:
    """A label, the kind of badge that carries it, and what stands beside the badge."""

    text: str
    badge: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ActWords:
    """An operation: its button, its place in a sentence, what it does, and what it has done in the end."""

    label: str
    noun: str
    effect: str
    done: str


ACTS: Final = {
    OperationKind.GENERATE: ActWords(
        "Generate",
        "generation",
        "Creates the key in the HSM.",
        "The key is in the HSM, ready to sign.",
    ),
    OperationKind.SIGN: ActWords(
        "Sign",
        "signature",
        "Signs a file or a digest with the current version.",
        "The signature verifies under the public key on record.",
    ),
    OperationKind.BACKUP: ActWords(
        "Back up",
        "backup",
        "Takes a backup blob with all versions, keeps it sealed here, and verifies it.",
        "The backup blob is kept here, sealed and verified.",
    ),
    OperationKind.ROTATE: ActWords(
        "Rotate",
        "rotation",
        "Adds a version that signs from then on; earlier versions keep verifying.",
        "The key has a new version, which signs from now on.",
    ),
    OperationKind.UPDATE: ActWords(
        "Change validity and tags",
        "change of validity and tags",
        "Sets from when until when the key signs, takes it out of use or back, and sets its tags.",
        "The HSM holds the dates and tags that were asked for.",
    ),
    OperationKind.RESTORE: ActWords(
        "Restore",
        "restore",
        "Puts the key back into the HSM from its verified backup, all versions.",
        "The key is in the HSM again, with all versions.",
    ),
    OperationKind.RECOVER: ActWords(
        "Recover",
        "recovery",
        "Undoes the deletion: the key is live in the HSM again, with all versions.",
        "The key is live in the HSM again, with all versions.",
    ),
    OperationKind.DELETE: ActWords(
        "Delete",
        "deletion",
        "Takes the key out of use. The HSM keeps it recoverable until its retention ends.",
        "The key is deleted. Recover brings it back until its retention ends.",
    ),
    OperationKind.PURGE: ActWords(
        "Purge",
        "purge",
        "Removes the deleted key from the HSM for good, before its retention ends.",
        "The key is gone from the HSM.",
    ),
}

STEPS: Final = {
    Step.CREATE: "Create the key in the HSM",
    Step.BACK_UP: "Take a backup and seal it",
    Step.VERIFY_BACKUP: "Verify the backup",
    Step.DELETE: "Delete the key in the HSM",
    Step.RECOVER: "Recover the deleted key",
    Step.PURGE: "Purge the deleted key",
    Step.RESTORE: "Restore the key from its backup",
    Step.NOTE_VERSIONS: "Note the versions there are",
    Step.ROTATE: "Add a version",
    Step.UPDATE: "Set dates and tags in the HSM",
    Step.SIGN: "Sign the digest in the HSM",
}

PLACES: Final = {
    Residency.CREATING: Words("being created", "info"),
    Residency.RESIDENT: Words("in the HSM", "ok"),
    Residency.DELETED: Words("deleted", "warn", "recoverable"),
    Residency.ABSENT: Words("not in the HSM", "muted", "backup kept"),
    Residency.PURGED: Words("purged", "muted", "no backup"),
    Residency.NOT_CREATED: Words("never created", "muted"),
    Residency.FAULTED: Words("needs a person", "bad"),
}

#: Why an operation that needs the key elsewhere is not possible now.
NOT_FROM_HERE: Final = {
    Residency.CREATING: "The key is still being created.",
    Residency.RESIDENT: "The key is in the HSM.",
    Residency.DELETED: "The key is deleted: recover it first.",
    Residency.ABSENT: "The key is not in the HSM: restore it first.",
    Residency.PURGED: "The key was purged without a backup; nothing is left of it.",
    Residency.NOT_CREATED: "The HSM never created this key.",
    Residency.FAULTED: "The key needs a person first.",
}

STATES: Final = {
    OperationState.PENDING: Words("waiting", "info"),
    OperationState.RUNNING: Words("running", "info"),
    OperationState.SUCCEEDED: Words("done", "ok"),
    OperationState.FAILED: Words("failed", "bad"),
}

_PROOFS: Final = {
    "hsm": Words("opened by the HSM", "ok"),
    "decoded": Words("form checked only", "warn"),
    "": Words("not verified", "muted"),
}


def badge(words: Words) -> SafeString:
    """The words in a badge, with the note beside it."""
    mark = format_html('<span class="badge badge-{}">{}</span>', words.badge, words.text)
    return format_html('{} <span class="quiet">{}</span>', mark, words.note) if words.note else mark


def moment(at: datetime) -> SafeString:
    """A time for a cell of a list, as ``components/time.html`` shows it."""
    shown = date_format(timezone.localtime(at), "j M Y, H:i")
    return format_html('<time datetime="{}" data-relative>{}</time>', at.isoformat(), shown)


def key_type(algorithm: str) -> str:
    """``RSA-HSM 3072`` or ``EC-HSM P-256``: the key type as the HSM names it."""
    family, _, size = algorithm.partition("-")
    return f"{family}-HSM {size}"


def place(key: ManagedKey) -> Words:
    """Where the key is; a deleted one with the end of its retention, when the HSM told it."""
    if key.where is Residency.DELETED and key.scheduled_purge_at is not None:
        return Words("deleted", "warn", f"recoverable until {day(key.scheduled_purge_at)}")
    return PLACES[key.where]


def state(operation: KeyOperation) -> Words:
    """How the operation stands; one that waits after an error says so."""
    if operation.state == OperationState.PENDING and operation.error:
        return Words("will be tried again", "warn")
    return STATES[OperationState(operation.state)]


def proof(backup: KeyBackup) -> Words:
    """How a backup was verified."""
    return _PROOFS[backup.proof]


def title(operation: KeyOperation) -> str:
    """``Back up invoice-2026`` (the key's row must be at hand)."""
    link = {OperationKind.SIGN: "with ", OperationKind.UPDATE: "of "}.get(operation.what, "")
    return f"{ACTS[operation.what].label} {link}{operation.key.name}"


def describe(algorithm: SignatureAlgorithm) -> str:
    """``PS256: RSA-PSS with SHA-256``."""
    family = {"RS": "RSA PKCS#1 v1.5", "PS": "RSA-PSS", "ES": "ECDSA"}[algorithm.value[:2]]
    curve = ", curve secp256k1" if algorithm is SignatureAlgorithm.ES256K else ""
    return f"{algorithm}: {family} with SHA-{algorithm.hash_name.removeprefix('sha')}{curve}"


def day(at: datetime) -> str:
    """``3 Feb 2027``, in the console's time zone."""
    return date_format(timezone.localtime(at), "j M Y")


def span(length: timedelta) -> str:
    """``0.4 s``, ``12 s``, ``2 min 5 s`` or ``3 h 20 min``."""
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
