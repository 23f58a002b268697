"""Sealing and opening values of database rows, and moving them all to a new key."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Model

from secretstore.core import Binding
from secretstore.errors import BadRing, CannotOpen, KeysMissing, SealedForWorkers, SecretStoreError
from secretstore.fields import Sealed, SealedField
from secretstore.rings import private_ring, public_ring
from secretstore.secret import Secret

__all__ = (
    "BadRing",
    "CannotOpen",
    "KeyRingInfo",
    "KeysMissing",
    "SealedForWorkers",
    "SecretStoreError",
    "key_ring_info",
    "open_from",
    "seal_into",
)


@dataclass(frozen=True, slots=True)
class KeyRingInfo:
    """Which keys seal now. Ids are the first 8 bytes of a public key's SHA-256 in hexadecimal."""

    active_id: str
    active_since: datetime
    recovery_id: str
    demo: bool


def key_ring_info() -> KeyRingInfo:
    """KeysMissing | BadRing."""
    ring = public_ring()
    return KeyRingInfo(ring.active.key_id, ring.active.created_at, ring.recovery.key_id, ring.demo)


def seal_into(instance: Model, field: str, secret: Secret) -> None:
    """Seal a secret into a row's attribute; the caller saves. The row's primary key must be set.

    Any process with the public ring may call this. KeysMissing | BadRing.
    """
    column = sealed_field(type(instance), field)
    sealed = public_ring().seal(secret, binding_of(column, instance.pk), recovery=column.recovery)
    setattr(instance, field, Sealed(sealed))


def open_from(instance: Model, field: str) -> Secret:
    """Open a row's sealed attribute. Workers only.

    SealedForWorkers in any other process; CannotOpen for an empty, altered or misplaced value or one
    sealed to a key that is not in the ring; KeysMissing | BadRing.
    """
    ring = private_ring()
    column = sealed_field(type(instance), field)
    sealed = getattr(instance, field)
    if sealed is None:
        raise CannotOpen(f"{instance._meta.label}.{field} of {instance.pk} is empty.")
    return ring.open(bytes(sealed), binding_of(column, instance.pk))


def sealed_field(model: type[Model], name: str) -> SealedField:
    """The model's field of that name; TypeError when it is not a SealedField."""
    field = model._meta.get_field(name)
    if not isinstance(field, SealedField):
        raise TypeError(f"{model._meta.label}.{name} is not a SealedField.")
    return field


def binding_of(field: SealedField, row_id: object) -> Binding:
    """Where a row's value belongs; ValueError without a primary key."""
    if row_id is None:
        raise ValueError("Set the primary key before sealing: the value is bound to it.")
    return Binding(field.model._meta.db_table, field.column or field.attname, str(row_id))
