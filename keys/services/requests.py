"""Asking for operations: the one door for console, commands and, later, the API.

Each function checks the rules, writes the operation's row and its audit record in one transaction and
sends the id to a worker after the commit. Nothing here talks to an HSM.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import ParamSpec
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from audit.actors import Actor
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
)
from keys.models import KeyOperation, ManagedKey
from keys.services import dispatch
from keys.services.refusals import OperationRefused, recorded
from keys.services.rows import dates_of, new_key, new_operation, record_request, shown
from keys.services.validity import PLAIN, TAGS_REMOVED, as_parameters, fit, fit_for_a_new_key, why_not_valid

P = ParamSpec("P")
_NAME_TAKEN = "This source already has a key of that name."


@recorded(OperationKind.GENERATE)
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

    ``attributes``: dates and the operators' tags. The same form sent twice (the same ``token`` with the
    same content) asks once: the second call returns what the first one made.
    """
    attributes = fit_for_a_new_key(attributes, now=now)
    parameters = {"algorithm": algorithm.value, **as_parameters(attributes)}
    if (asked := _asked_before(token, source, name, parameters)) is not None:
        return asked
    require_usable(source=source, now=now)
    key = new_key(source=source, name=name, algorithm=algorithm, attributes=attributes, actor=actor, now=now)
    _require_new_name(key)
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError as error:  # somebody else, or this form, asked for it in this very moment
        if (asked := _asked_before(token, source, name, parameters)) is not None:
            return asked
        raise OperationRefused(_NAME_TAKEN, field="name") from error
    unused = token if token and not KeyOperation.objects.filter(pk=token).exists() else None
    return _open(key, OperationKind.GENERATE, parameters, actor, now, pk=unused)


def _asked_before(
    token: UUID | None, source: CryptoSource, name: str, parameters: Mapping[str, object]
) -> KeyOperation | None:
    """What this form has made already; *back* in a browser may bring its token again for something else."""
    if token is None:
        return None
    rows = KeyOperation.objects.filter(pk=token, kind=OperationKind.GENERATE).select_related("key__source")
    made = rows.filter(key__source=source, key__name=name).first()
    return made if made is not None and made.parameters == parameters else None


@recorded()
def request_operation(*, key: ManagedKey, kind: OperationKind, actor: Actor, now: datetime) -> KeyOperation:
    """Ask for backup, delete, recover, restore or rotate (the others have doors of their own)."""
    if kind in (OperationKind.GENERATE, OperationKind.PURGE, OperationKind.SIGN, OperationKind.UPDATE):
        raise ValueError(f"{kind} has its own door")
    key = _locked(key)
    parameters = dates_of(key) if kind is OperationKind.ROTATE else {}
    return _open(key, kind, parameters, actor, now)


@recorded(OperationKind.UPDATE)
def request_update(
    *, key: ManagedKey, attributes: KeyAttributes, actor: Actor, now: datetime
) -> KeyOperation:
    """Ask for other dates, another enabled state, other tags: ``attributes`` instead of those on record.

    Tags that the record does not know stay as they are. OperationRefused for dates or tags that no key
    can have.
    """
    attributes = fit(attributes)
    key = _locked(key)
    parameters = as_parameters(attributes)
    if removed := sorted(set(key.tags) - set(attributes.tags)):
        parameters[TAGS_REMOVED] = removed
    return _open(key, OperationKind.UPDATE, parameters, actor, now)


@recorded(OperationKind.PURGE)
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


@recorded(OperationKind.SIGN)
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


@recorded()
def retry_operation(*, operation: KeyOperation, actor: Actor, now: datetime) -> KeyOperation:
    """Take a failed operation up again at the step that failed; only a key's latest one of its kind."""
    key = _locked(operation.key)
    operation = KeyOperation.objects.select_for_update().get(pk=operation.pk)
    _require_gate(key, operation.what, now)
    take_up(operation, key, actor=actor, now=now)
    return operation


def take_up(
    operation: KeyOperation, key: ManagedKey, *, actor: Actor, now: datetime, start: datetime | None = None
) -> None:
    """Retry inside a transaction that has locked both rows and asked the gate.

    ``start``: not before then, for one of many. OperationRefused, with nothing written.
    """
    if operation.state != OperationState.FAILED:
        raise OperationRefused("Only a failed operation can be tried again.")
    if operation.what is OperationKind.PURGE:
        raise OperationRefused("Ask for the purge anew: whoever purges types the key's name.")
    if operation.exclusive and key.operations.filter(exclusive=True, requested_at__gt=operation.requested_at):
        raise OperationRefused("Something else was done with this key since; ask for the operation anew.")
    _require_nothing_under_way(key, operation.what)
    if key.where is Residency.NOT_CREATED:
        _require_new_name(key)
        key.residency = Residency.CREATING
        key.save(update_fields=["residency"])
    operation.state = OperationState.PENDING
    operation.attempts, operation.sends = 0, 0
    operation.not_before, operation.finished_at = start, None
    operation.due_at = start or dispatch.next_look(now=now, sends=0)
    operation.error = operation.error_code = operation.remedy = ""
    operation.memo.pop(KNOWN_ENDS, None)
    operation.save()
    record_request(operation, actor, {"retry": True, "step": operation.step}, now)
    if start is None or start <= now:
        dispatch.send_on_commit(operation_id=operation.pk)


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
    record_request(operation, actor, shown(parameters), now)
    dispatch.send_on_commit(operation_id=operation.pk)
    return operation


_WHERE = {
    Residency.CREATING: "the key is still being created.",
    Residency.RESIDENT: "the key is in the HSM.",
    Residency.DELETED: "the key is deleted (recoverable). Recover it, or purge it, first.",
    Residency.ABSENT: "the key is not in the HSM; its backup is kept here. Restore it first.",
    Residency.PURGED: "the key was purged without a backup; nothing is left of it.",
    Residency.NOT_CREATED: "the HSM never created this key.",
    Residency.FAULTED: "the key waits for a person; its page says why.",
}
