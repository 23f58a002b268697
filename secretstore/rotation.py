"""Moving every sealed value to the active keys: resumable, and never over a newer value."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import transaction
from django.db.models import BinaryField, F, Func, Q, QuerySet

from audit.actors import Actor
from audit.services import record
from secretstore.core import PrivateRing, PublicRing, marks
from secretstore.errors import CannotOpen, KeysMissing
from secretstore.fields import SealedField
from secretstore.rings import private_ring, public_ring
from secretstore.services import binding_of

_Row = tuple[Any, bytes]


@dataclass(frozen=True, slots=True)
class Progress:
    """One committed batch. ``seen`` of ``total`` values of this column are done with in this run.

    ``closed`` names the rows whose value no key here opens; they were left as they are.
    """

    column: str
    seen: int
    total: int
    moved: int
    closed: tuple[str, ...]


def sealed_fields() -> list[SealedField]:
    """Every column of the installation that holds sealed values."""
    models = apps.get_models(include_auto_created=True)
    fields = (field for model in models for field in model._meta.local_concrete_fields)
    return [field for field in fields if isinstance(field, SealedField)]


def rows_to_move(ring: PublicRing) -> int:
    """How many values are sealed to other keys than a value sealed now would be."""
    return sum(_outstanding(field, ring).count() for field in sealed_fields())


def rotate(*, actor: Actor, clock: Callable[[], datetime], batch_size: int) -> Iterator[Progress]:
    """Move all values to the active keys, a batch a transaction. Workers only.

    May be killed anywhere and run again: values already moved are not looked at twice. A value that
    somebody else writes meanwhile is left to them. SealedForWorkers | KeysMissing | BadRing.
    """
    public, private = public_ring(), private_ring()
    if public.active.key_id not in private.key_ids:
        raise KeysMissing(
            f"The workers' private ring lacks the active key {public.active.key_id}: replace it first."
        )
    mover = _Mover(public, private, actor, clock)
    for field in sealed_fields():
        yield from mover.move_column(field, batch_size)


@dataclass(frozen=True, slots=True)
class _Mover:
    public: PublicRing
    private: PrivateRing
    actor: Actor
    clock: Callable[[], datetime]

    def move_column(self, field: SealedField, batch_size: int) -> Iterator[Progress]:
        rows = _outstanding(field, self.public).order_by("pk")
        total, seen, last = rows.count(), 0, Q()
        while batch := list(rows.filter(last).values_list("pk", field.attname)[:batch_size]):
            moved, closed = self._move(field, batch)
            seen, last = seen + len(batch), Q(pk__gt=batch[-1][0])
            yield Progress(_label(field), seen, max(total, seen), moved, closed)

    def _move(self, field: SealedField, batch: list[_Row]) -> tuple[int, tuple[str, ...]]:
        renewed = [(pk, old, self._reseal(field, pk, old)) for pk, old in batch]
        closed = tuple(str(pk) for pk, _old, new in renewed if new is None)
        rows = _rows(field)
        with transaction.atomic():
            moved = sum(
                rows.filter(pk=pk, **{field.attname: old}).update(**{field.attname: new})
                for pk, old, new in renewed
                if new is not None
            )
            if moved:
                self._record(field, moved)
        return moved, closed

    def _reseal(self, field: SealedField, pk: Any, old: bytes) -> bytes | None:
        binding = binding_of(field, pk)
        try:
            secret = self.private.open(old, binding)
        except CannotOpen:
            return None
        return self.public.seal(secret, binding, recovery=field.recovery)

    def _record(self, field: SealedField, moved: int) -> None:
        key_id = self.public.active.key_id
        record(
            action="secrets.moved",
            actor=self.actor,
            subject_type="sealing key",
            subject_id=key_id,
            subject_name=key_id,
            details={"column": _label(field), "values": moved},
            now=self.clock(),
        )


def _rows(field: SealedField) -> QuerySet[Any]:
    rows: QuerySet[Any] = field.model._base_manager.all()
    return rows


def _outstanding(field: SealedField, ring: PublicRing) -> QuerySet[Any]:
    """Rows whose value names other recipients; decided in the database, by the bytes that name them."""
    expected = marks(ring.recipients(recovery=field.recovery))
    parts = {
        f"mark_{offset}": Func(
            F(field.attname), offset + 1, len(mark), function="SUBSTR", output_field=BinaryField()
        )
        for offset, mark in expected.items()
    }
    wanted = {f"mark_{offset}": mark for offset, mark in expected.items()}
    sealed = _rows(field).filter(**{f"{field.attname}__isnull": False})
    marked: QuerySet[Any] = sealed.alias(**parts)
    return marked.exclude(**wanted)


def _label(field: SealedField) -> str:
    return f"{field.model._meta.label}.{field.name}"
