"""New rows of keys and operations, and the record that they were asked for."""

from collections.abc import Mapping
from datetime import datetime

from audit.actors import Actor, ActorKind
from audit.services import Outcome, record
from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm
from cryptosources.providers.api import KeyAttributes
from keys.lifecycle import OperationKind, steps
from keys.models import KeyOperation, ManagedKey
from keys.services import dispatch


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


def dates_of(key: ManagedKey) -> dict[str, object]:
    """The current version's dates in an operation's row, ISO 8601: a rotation leaves them behind."""
    dates = {"not_before": key.not_before, "expires_at": key.expires_at}
    return {name: at.isoformat() for name, at in dates.items() if at}


def shown(parameters: Mapping[str, object]) -> dict[str, object]:
    """What of the parameters belongs in the audit record: not the digest, it may identify a document."""
    return {
        name: value
        for name, value in parameters.items()
        if name not in ("digest", "label") and value not in ("", None)
    }


def record_request(
    operation: KeyOperation, actor: Actor, details: Mapping[str, object], now: datetime
) -> None:
    record(
        action=f"key.{operation.kind}",
        actor=actor,
        subject_type="managed key",
        subject_id=str(operation.key_id),
        subject_name=operation.key.name,
        outcome=Outcome.REQUESTED,
        details={"operation": str(operation.pk), "source": operation.key.source.friendly_name, **details},
        now=now,
    )


def record_outcome(
    operation: KeyOperation, outcome: Outcome, details: Mapping[str, object], now: datetime
) -> None:
    """What became of it, in the name of whoever asked; details that are empty are left out."""
    actor = Actor(ActorKind(operation.actor_kind), operation.actor_identifier, operation.actor_name)
    record(
        action=f"key.{operation.kind}",
        actor=actor,
        subject_type="managed key",
        subject_id=str(operation.key_id),
        subject_name=operation.key.name,
        outcome=outcome,
        details={
            "operation": str(operation.pk),
            "source": operation.key.source.friendly_name,
            **{name: value for name, value in details.items() if value},
        },
        now=now,
    )
