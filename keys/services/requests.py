"""Asking for operations: the one door for console, commands and, later, the API.

Each function checks the rules, writes the operation's row and its audit record in one transaction and
sends the id to a worker after the commit. Nothing here talks to an HSM.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from audit.actors import Actor
from audit.services import Outcome, record
from cryptosources.errors import SourceError
from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import (
    DigestMismatch,
    KeyAlgorithm,
    SignatureAlgorithm,
    require_digest,
)
from cryptosources.providers.api import ProviderKind
from cryptosources.services.gate import require_licensed, require_usable
from keys.lifecycle import (
    KNOWN_ENDS,
    NAME_FREE,
    OperationKind,
    OperationState,
    Residency,
    allowed,
    steps,
)
from keys.models import KeyOperation, ManagedKey
from keys.services import dispatch
from licensing.services import FeatureNotLicensed

P = ParamSpec("P")
#: Form fields whose errors are slips of the pen; a wrongly typed name before a purge is not.
_SLIPS = frozenset({"name", "digest", "algorithm"})
_NAME_TAKEN = "This source already has a key of that name."


def _recorded(ask: Callable[P, KeyOperation]) -> Callable[P, KeyOperation]:
    """Record a refusal as well: who tried what, and why not. Slips in a form's fields are no attempts."""

    @wraps(ask)
    def asking(*args: P.args, **asked: P.kwargs) -> KeyOperation:
        try:
            with transaction.atomic():
                return ask(*args, **asked)
        except (OperationRefused, SourceError, FeatureNotLicensed) as refusal:
            if getattr(refusal, "field", "") not in _SLIPS:
                _record_refusal(asked, str(refusal))
            raise

    return asking


class OperationRefused(Exception):
    """The operation makes no sense now; the text says why and what to do. Nothing was changed."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


@_recorded
def generate_key(
    *, source: CryptoSource, name: str, algorithm: KeyAlgorithm, actor: Actor, now: datetime
) -> KeyOperation:
    """Ask for a new key. OperationRefused (name taken or malformed) | SourceInactive | FeatureNotLicensed."""
    require_usable(source=source, now=now)
    key = ManagedKey(
        source=source,
        name=name,
        algorithm=algorithm.value,
        created_by=actor.name,
        created_at=now,
        updated_at=now,
    )
    _require_new_name(key)
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError as error:  # somebody else asked for the same name in this very moment
        raise OperationRefused(_NAME_TAKEN, field="name") from error
    return _open(key, OperationKind.GENERATE, {"algorithm": algorithm.value}, actor, now)


@_recorded
def request_operation(*, key: ManagedKey, kind: OperationKind, actor: Actor, now: datetime) -> KeyOperation:
    """Ask for backup, delete, recover, restore or rotate (purge and sign have doors of their own)."""
    if kind in (OperationKind.GENERATE, OperationKind.PURGE, OperationKind.SIGN):
        raise ValueError(f"{kind} has its own door")
    return _open(_locked(key), kind, {}, actor, now)


@_recorded
def request_purge(*, key: ManagedKey, typed_name: str, actor: Actor, now: datetime) -> KeyOperation:
    """Ask for a purge. The person has typed the key's name: their word when no verified backup exists.

    An override is recorded on the key when the purge succeeds; nothing the console starts by itself
    comes through here (product promise 1).
    """
    key = _locked(key)
    if typed_name != key.name:
        raise OperationRefused("Type the key's name exactly to purge it.", field="typed_name")
    if not key.purgeable:
        raise OperationRefused(
            "This HSM has purge protection: nobody can purge a deleted key before its retention ends."
        )
    override = "" if key.verified_backup_id else actor.name
    return _open(key, OperationKind.PURGE, {"override_by": override}, actor, now)


@_recorded
def request_signature(
    *, key: ManagedKey, algorithm: SignatureAlgorithm, digest: bytes, label: str, actor: Actor, now: datetime
) -> KeyOperation:
    """Ask for a signature over a digest, with the key's current version.

    ``label`` says what was signed (a file name) on the operation's page. OperationRefused on a digest
    whose length does not fit or an algorithm that the key does not have.
    """
    key = _locked(key)
    if algorithm not in key.signature_algorithms:
        raise OperationRefused(f"A key of type {key.algorithm} cannot sign {algorithm}.", field="algorithm")
    try:
        require_digest(algorithm, digest)
    except DigestMismatch as error:
        raise OperationRefused(str(error), field="digest") from error
    parameters = {
        "algorithm": algorithm.value,
        "digest": base64.b64encode(digest).decode(),
        "version": key.current_version,
        "label": label[:200],
    }
    return _open(key, OperationKind.SIGN, parameters, actor, now)


@_recorded
def retry_operation(*, operation: KeyOperation, actor: Actor, now: datetime) -> KeyOperation:
    """Take a failed operation up again at the step that failed; only a key's latest one of its kind."""
    key = _locked(operation.key)
    operation = KeyOperation.objects.select_for_update().get(pk=operation.pk)
    if operation.state != OperationState.FAILED:
        raise OperationRefused("Only a failed operation can be tried again.")
    if operation.what is OperationKind.PURGE:
        raise OperationRefused("Ask for the purge anew: whoever purges types the key's name.")
    if operation.exclusive and key.operations.filter(exclusive=True, requested_at__gt=operation.requested_at):
        raise OperationRefused("Something else was done with this key since; ask for the operation anew.")
    _require_gate(key, operation.what, now)
    _require_nothing_under_way(key, operation.what)
    if key.where is Residency.NOT_CREATED:
        _require_new_name(key)
        key.residency = Residency.CREATING
        key.save(update_fields=["residency"])
    operation.state = OperationState.PENDING
    operation.attempts, operation.sends = 0, 0
    operation.not_before = operation.finished_at = None
    operation.due_at = dispatch.next_look(now=now, sends=0)
    operation.error = operation.error_code = operation.remedy = ""
    operation.memo.pop(KNOWN_ENDS, None)
    operation.save()
    _audit(operation, actor, Outcome.REQUESTED, {"retry": True, "step": operation.step}, now)
    dispatch.send_on_commit(operation_id=operation.pk)
    return operation


def _locked(key: ManagedKey) -> ManagedKey:
    return ManagedKey.objects.select_for_update(of=("self",)).select_related("source").get(pk=key.pk)


def _require_new_name(key: ManagedKey) -> None:
    try:
        key.clean_fields(exclude=["source"])
    except ValidationError as error:
        raise OperationRefused(" ".join(error.messages), field="name") from error
    taken = ManagedKey.objects.filter(source=key.source, name__iexact=key.name).exclude(pk=key.pk)
    if taken.exclude(residency__in=[r.value for r in NAME_FREE]).exists():
        raise OperationRefused(_NAME_TAKEN, field="name")


def _require_gate(key: ManagedKey, kind: OperationKind, now: datetime) -> None:
    if kind.gated:
        require_usable(source=key.source, now=now)
    else:
        require_licensed(kind=ProviderKind(key.source.kind), now=now)


def _require_nothing_under_way(key: ManagedKey, kind: OperationKind) -> None:
    other = key.operations.under_way().filter(exclusive=True).first() if kind.exclusive else None
    if other is not None:
        raise OperationRefused(
            f"{other.get_kind_display()} is under way for this key since "
            f"{other.requested_at:%H:%M:%S} UTC; wait until it ends."
        )


def _open(
    key: ManagedKey, kind: OperationKind, parameters: Mapping[str, object], actor: Actor, now: datetime
) -> KeyOperation:
    _require_gate(key, kind, now)
    if not allowed(kind, Residency(key.residency)):
        raise OperationRefused(f"{kind.value.capitalize()} is not possible: {_WHERE[key.where]}")
    _require_nothing_under_way(key, kind)
    plan = steps(kind, backed_up=key.source.backup_restore)
    operation = KeyOperation.objects.create(
        key=key,
        kind=kind.value,
        exclusive=kind.exclusive,
        step=plan[0].value,
        steps=[step.value for step in plan],
        parameters=dict(parameters),
        due_at=dispatch.next_look(now=now, sends=0),
        actor_kind=actor.kind.value,
        actor_identifier=actor.identifier,
        actor_name=actor.name,
        requested_at=now,
    )
    _audit(operation, actor, Outcome.REQUESTED, _shown(parameters), now)
    dispatch.send_on_commit(operation_id=operation.pk)
    return operation


def _record_refusal(asked: Mapping[str, Any], reason: str) -> None:
    """In a transaction of its own: the refused one was rolled back."""
    operation: KeyOperation | None = asked.get("operation")
    key: ManagedKey | None = operation.key if operation else asked.get("key")
    subject: ManagedKey | CryptoSource = key or asked["source"]
    kind = operation.kind if operation else asked.get("kind", _KINDS[bool(key), "digest" in asked])
    record(
        action=f"key.{kind}",
        actor=asked["actor"],
        subject_type="managed key" if key else "crypto source",
        subject_id=str(subject.pk),
        subject_name=str(subject),
        outcome=Outcome.REFUSED,
        details={"reason": reason},
        now=asked["now"],
    )


_KINDS = {
    (False, False): OperationKind.GENERATE,
    (True, False): OperationKind.PURGE,
    (True, True): OperationKind.SIGN,
}


def _shown(parameters: Mapping[str, object]) -> dict[str, object]:
    """What of the parameters belongs in the audit record: not the digest, it may identify a document."""
    return {name: value for name, value in parameters.items() if name not in ("digest", "label") and value}


def _audit(
    operation: KeyOperation, actor: Actor, outcome: Outcome, details: Mapping[str, object], now: datetime
) -> None:
    record(
        action=f"key.{operation.kind}",
        actor=actor,
        subject_type="managed key",
        subject_id=str(operation.key_id),
        subject_name=operation.key.name,
        outcome=outcome,
        details={"operation": str(operation.pk), "source": operation.key.source.friendly_name, **details},
        now=now,
    )


_WHERE = {
    Residency.CREATING: "the key is still being created.",
    Residency.RESIDENT: "the key is in the HSM.",
    Residency.DELETED: "the key is deleted (recoverable). Recover it, or purge it, first.",
    Residency.ABSENT: "the key is not in the HSM; its backup is kept here. Restore it first.",
    Residency.PURGED: "the key was purged without a backup; nothing is left of it.",
    Residency.NOT_CREATED: "the HSM never created this key.",
    Residency.FAULTED: "the key waits for a person; its page says why.",
}
