"""Asking for operations: the one door for console, commands and, later, the API.

Each function checks the rules, writes the operation's row and its audit record in one transaction and
sends the id to a worker after the commit. Nothing here talks to an HSM.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Final, ParamSpec
from uuid import UUID

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
from cryptosources.providers.api import KeyAttributes, ProviderKind
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
from keys.services.refusals import OperationRefused
from keys.services.validity import PLAIN, as_parameters, fit, fit_for_a_new_key, why_not_valid
from licensing.services import FeatureNotLicensed

P = ParamSpec("P")
#: Form fields whose errors are slips of the pen; a wrongly typed name before a purge is not.
SLIPS: Final = frozenset({"name", "digest", "algorithm", "not_before", "expires_at", "tags"})
_NAME_TAKEN = "This source already has a key of that name."


def _recorded(
    kind: OperationKind | None = None,
) -> Callable[[Callable[P, KeyOperation]], Callable[P, KeyOperation]]:
    """Record a refusal as well: who tried what, and why not. Slips in a form's fields are no attempts.

    ``kind`` None: the arguments tell it (``kind``, or the ``operation`` to be tried again).
    """

    def decorate(ask: Callable[P, KeyOperation]) -> Callable[P, KeyOperation]:
        @wraps(ask)
        def asking(*args: P.args, **asked: P.kwargs) -> KeyOperation:
            try:
                with transaction.atomic():
                    return ask(*args, **asked)
            except (OperationRefused, SourceError, FeatureNotLicensed) as refusal:
                if getattr(refusal, "field", "") not in SLIPS:
                    _record_refusal(kind, asked, str(refusal))
                raise

        return asking

    return decorate


@_recorded(OperationKind.GENERATE)
def generate_key(
    *,
    source: CryptoSource,
    name: str,
    algorithm: KeyAlgorithm,
    actor: Actor,
    now: datetime,
    attributes: KeyAttributes = PLAIN,
    token: UUID | None = None,
) -> KeyOperation:
    """Ask for a new key. OperationRefused (name taken or malformed) | SourceInactive | FeatureNotLicensed.

    ``attributes``: dates and the operators' tags. The same form sent twice (the same ``token`` and the
    same name) asks once: the second call returns what the first one made.
    """
    if (asked := _asked_before(token, source, name)) is not None:
        return asked
    require_usable(source=source, now=now)
    attributes = fit_for_a_new_key(attributes, now=now)
    key = new_key(source=source, name=name, algorithm=algorithm, attributes=attributes, actor=actor, now=now)
    _require_new_name(key)
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError as error:  # somebody else asked for the same name in this very moment
        raise OperationRefused(_NAME_TAKEN, field="name") from error
    unused = token if token and not KeyOperation.objects.filter(pk=token).exists() else None
    parameters = {"algorithm": algorithm.value, **as_parameters(attributes)}
    return _open(key, OperationKind.GENERATE, parameters, actor, now, pk=unused)


def _asked_before(token: UUID | None, source: CryptoSource, name: str) -> KeyOperation | None:
    """What this form has made already; *back* in a browser may bring its token again for another name."""
    if token is None:
        return None
    made = KeyOperation.objects.filter(pk=token, kind=OperationKind.GENERATE)
    return made.filter(key__source=source, key__name=name).select_related("key__source").first()


@_recorded()
def request_operation(*, key: ManagedKey, kind: OperationKind, actor: Actor, now: datetime) -> KeyOperation:
    """Ask for backup, delete, recover, restore or rotate (the others have doors of their own)."""
    if kind in (OperationKind.GENERATE, OperationKind.PURGE, OperationKind.SIGN, OperationKind.UPDATE):
        raise ValueError(f"{kind} has its own door")
    return _open(_locked(key), kind, {}, actor, now)


@_recorded(OperationKind.UPDATE)
def request_update(
    *, key: ManagedKey, attributes: KeyAttributes, actor: Actor, now: datetime
) -> KeyOperation:
    """Ask for other dates, another enabled state, other tags: ``attributes`` is all that the key will have.

    OperationRefused for dates or tags that no key can have.
    """
    attributes = fit(attributes)
    return _open(_locked(key), OperationKind.UPDATE, as_parameters(attributes), actor, now)


@_recorded(OperationKind.PURGE)
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


@_recorded(OperationKind.SIGN)
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
    if reason := why_not_valid(key, now=now):
        raise OperationRefused(reason)
    parameters = {
        "algorithm": algorithm.value,
        "digest": base64.b64encode(digest).decode(),
        "version": key.current_version,
        "label": label[:200],
    }
    return _open(key, OperationKind.SIGN, parameters, actor, now)


@_recorded()
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
    key: ManagedKey,
    kind: OperationKind,
    parameters: Mapping[str, object],
    actor: Actor,
    now: datetime,
    *,
    pk: UUID | None = None,
) -> KeyOperation:
    _require_gate(key, kind, now)
    if not allowed(kind, Residency(key.residency)):
        raise OperationRefused(f"{kind.value.capitalize()} is not possible: {_WHERE[key.where]}")
    _require_nothing_under_way(key, kind)
    operation = new_operation(key=key, kind=kind, parameters=parameters, actor=actor, now=now)
    operation.pk = pk or operation.pk
    operation.save(force_insert=True)
    _audit(operation, actor, Outcome.REQUESTED, _shown(parameters), now)
    dispatch.send_on_commit(operation_id=operation.pk)
    return operation


def new_key(
    *,
    source: CryptoSource,
    name: str,
    algorithm: KeyAlgorithm,
    attributes: KeyAttributes,
    actor: Actor,
    now: datetime,
) -> ManagedKey:
    """The row of a key to be created, not saved."""
    return ManagedKey(
        source=source,
        name=name,
        algorithm=algorithm.value,
        not_before=attributes.not_before,
        expires_at=attributes.expires_at,
        tags=dict(attributes.tags),
        created_by=actor.name,
        created_at=now,
        updated_at=now,
    )


def new_operation(
    *, key: ManagedKey, kind: OperationKind, parameters: Mapping[str, object], actor: Actor, now: datetime
) -> KeyOperation:
    """The row of an operation, not saved: at its first step, due when a worker should have taken it."""
    plan = steps(kind, backed_up=key.source.backup_restore)
    return KeyOperation(
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


def _record_refusal(kind: OperationKind | None, asked: Mapping[str, Any], reason: str) -> None:
    """In a transaction of its own: the refused one was rolled back."""
    operation: KeyOperation | None = asked.get("operation")
    key: ManagedKey | None = operation.key if operation else asked.get("key")
    subject: ManagedKey | CryptoSource = key or asked["source"]
    what = kind or (operation.what if operation else asked["kind"])
    record(
        action=f"key.{what}",
        actor=asked["actor"],
        subject_type="managed key" if key else "crypto source",
        subject_id=str(subject.pk),
        subject_name=str(subject),
        outcome=Outcome.REFUSED,
        details={"reason": reason},
        now=asked["now"],
    )


def _shown(parameters: Mapping[str, object]) -> dict[str, object]:
    """What of the parameters belongs in the audit record: not the digest, it may identify a document."""
    return {
        name: value
        for name, value in parameters.items()
        if name not in ("digest", "label") and value not in ("", None)
    }


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
