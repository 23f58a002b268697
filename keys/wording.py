"""What the console calls things: key types, places, operations and steps, in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cryptosources.providers.algorithms import SignatureAlgorithm
from cryptosources.providers.api import KeyAttributes
from keys.attributes import Validity
from keys.lifecycle import NAME_FREE, OperationKind, OperationState, Residency, Step
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

VALIDITIES: Final = {
    Validity.VALID: "valid",
    Validity.EXPIRING: "expires soon",
    Validity.NOT_YET_VALID: "not yet valid",
    Validity.EXPIRED: "expired",
    Validity.DISABLED: "disabled",
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

_WAITS: Final = "waits for a worker"
STATES: Final = {
    OperationState.PENDING: Words(_WAITS, "info"),
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
    """The words in a badge, with the note beside it; words without a badge stand quietly."""
    if not words.badge:
        return format_html('<span class="quiet">{}</span>', words.text)
    mark = format_html('<span class="badge badge-{}">{}</span>', words.badge, words.text)
    return format_html('{} <span class="quiet nowrap">{}</span>', mark, words.note) if words.note else mark


def nothing(shown: str) -> SafeString:
    """A cell of a list that says nothing: a narrow window leaves it out."""
    return format_html('<span class="nothing">{}</span>', shown)


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
    """How the operation stands: who has it now, or what it waits for."""
    state, start = OperationState(operation.state), operation.not_before
    step = operation.step.replace("_", " ")
    if state is OperationState.PENDING and operation.error:
        return Words("paused", "warn", f"tried again at {clock_time(start)}" if start else "")
    if state is OperationState.PENDING and start is not None and start > timezone.now():
        return Words("queued", "muted", f"starts at {clock_time(start)}")
    if state is OperationState.RUNNING:
        held = operation.claim_token is not None
        return Words("running", "info", step) if held else Words(_WAITS, "info", f"next: {step}")
    return STATES[state]


def validity(key: ManagedKey, now: datetime) -> Words:
    """Whether the key may sign now, in a badge; a key that simply may has none (``badge`` is empty)."""
    match key.validity(now):
        case Validity.DISABLED:
            return Words("disabled", "muted")
        case Validity.EXPIRED:
            return Words("expired", "bad", f"on {day(_given(key.expires_at))}")
        case Validity.NOT_YET_VALID:
            return Words("not yet valid", "warn", f"from {day(_given(key.not_before))}")
        case Validity.EXPIRING:
            return Words(f"expires in {days_left(_given(key.expires_at) - now)}", "warn")
        case Validity.VALID:
            return Words(f"until {day(key.expires_at)}" if key.expires_at else "no end", "")


def validity_in_full(key: ManagedKey, now: datetime) -> SafeString:
    """Whether the key may sign now, and its dates to the minute."""
    if key.where in NAME_FREE:
        return badge(Words("over", ""))
    words, told = validity(key, now), dates(key.not_before, key.expires_at)
    if words.badge:
        return format_html("{} {}", badge(Words(words.text, words.badge)), told)
    return format_html("{}", told) if told else badge(words)


def dates(start: datetime | None, end: datetime | None) -> str:
    """``from 3 Feb 2027, 12:00, until 10 Dec 2027, 12:00``; empty for none."""
    given = [(word, at) for word, at in (("from", start), ("until", end)) if at]
    return ", ".join(f"{word} {date_format(timezone.localtime(at), 'j M Y, H:i')}" for word, at in given)


def attributes(held: KeyAttributes) -> str:
    """``enabled, from 3 Feb 2027, 12:00:00, no end, tags a=b``: all that an update sets."""
    parts = ["enabled" if held.enabled else "disabled"]
    if held.not_before:
        parts.append(f"from {date_format(timezone.localtime(held.not_before), 'j M Y, H:i:s')}")
    end = held.expires_at
    parts.append(f"until {date_format(timezone.localtime(end), 'j M Y, H:i:s')}" if end else "no end")
    tags = ", ".join(f"{name}={value}" for name, value in sorted(held.tags.items()))
    return ", ".join([*parts, f"tags {tags}" if tags else "no tags"])


def _given(at: datetime | None) -> datetime:
    if at is None:
        raise ValueError("a validity without the date it comes from")
    return at


def days_left(left: timedelta) -> str:
    """``12 days``, ``1 day``, ``5 hours`` or ``less than an hour``."""
    hours = int(left.total_seconds() // 3600)
    for amount, unit in ((hours // 24, "day"), (hours, "hour")):
        if amount:
            return f"{amount} {unit}" if amount == 1 else f"{amount} {unit}s"
    return "less than an hour"


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


def plain_day(at: date) -> str:
    """``3 Feb 2027``; a day of the counters is a day in UTC."""
    return date_format(at, "j M Y")


def clock_time(at: datetime) -> str:
    """``14:03:10``, in the console's time zone; with the day when it is not today's."""
    local = timezone.localtime(at)
    form = "H:i:s" if local.date() == timezone.localdate() else "j M Y, H:i:s"
    return date_format(local, form)


def names(several: Sequence[str]) -> str:
    """``eseal-001, eseal-002 … eseal-050``."""
    if len(several) <= 3:
        return ", ".join(several)
    return f"{several[0]}, {several[1]} … {several[-1]}"


def about(length: timedelta) -> str:
    """A length for an expectation: ``about 50 seconds``, ``about 4 minutes``."""
    seconds = max(round(length.total_seconds()), 1)
    if seconds < 100:
        return f"about {seconds} second{'' if seconds == 1 else 's'}"
    return f"about {round(seconds / 60)} minutes"


def span(length: timedelta) -> str:
    """``0.4 s``, ``12 s``, ``2 min 5 s`` or ``3 h 20 min``."""
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
