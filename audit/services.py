"""Writing the record. Callers do it inside the transaction of the act itself."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from audit.actors import Actor, ActorKind
from audit.models import AppendOnlyError, AuditRecord, Outcome

__all__ = ("Actor", "ActorKind", "AppendOnlyError", "AuditRecord", "Outcome", "UnfitDetails", "record")

_ACTION: Final = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)+")


class UnfitDetails(TypeError):
    """Details hold something else than text, numbers, truth values, lists and mappings of these."""


def record(
    *,
    action: str,
    actor: Actor,
    subject_type: str,
    subject_id: str,
    subject_name: str,
    outcome: Outcome = Outcome.SUCCEEDED,
    details: Mapping[str, object] | None = None,
    now: datetime,
) -> AuditRecord:
    """Add one record, in the caller's transaction: the act and its record stand or fall together.

    ``action`` is dotted (``source.created``). Long names are cut to the column's length, so that a
    record never fails for a name. UnfitDetails when ``details`` hold bytes, a Secret or any other
    object; ValueError for another spelling of ``action``.
    """
    if not _ACTION.fullmatch(action):
        raise ValueError(f"{action!r} is not a dotted action name.")
    return AuditRecord.objects.create(
        at=now,
        actor_kind=actor.kind.value,
        actor_identifier=_fit(actor.identifier, 200),
        actor_name=_fit(actor.name, 200),
        action=action,
        subject_type=subject_type,
        subject_id=subject_id,
        subject_name=_fit(subject_name, 300),
        outcome=outcome.value,
        details=_plain(details or {}, "details"),
    )


def _fit(text: str, length: int) -> str:
    return _text(text)[:length]


def _text(text: str) -> str:
    """PostgreSQL stores no NUL character, in text or in JSON."""
    return str(text).replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _plain(value: object, place: str) -> object:
    """A copy of the value in plain JSON types; UnfitDetails names the place, never the value."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(item, f"{place}.{_key(key, place)}") for key, item in value.items()}
    raise UnfitDetails(f"{place} is a {type(value).__name__}, which an audit record does not hold.")


def _key(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise UnfitDetails(f"A key of {place} is not text.")
    return _text(key)
