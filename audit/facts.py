"""The details of one record as facts to read: a label, and a text, a list, a change or a link."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.apps import apps
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.exceptions import ValidationError
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format

from audit.models import AuditRecord
from audit.wording import OPERATION, SubjectKind, detail_words, subject_kind

Reader = AbstractUser | AnonymousUser


@dataclass(frozen=True, slots=True)
class Fact:
    """One detail. ``before`` is set for a change; ``url`` leads to what it names."""

    label: str
    value: str
    before: str | None = None
    url: str = ""
    code: bool = False


def facts(record: AuditRecord, reader: Reader) -> list[Fact]:
    """All details of a record, in their own order."""
    return [_fact(name, value, reader) for name, value in _flat(record.details)]


def subject_url(record: AuditRecord, reader: Reader) -> str:
    """The page of what the record is about; empty when it is gone, has none, or is not for this reader."""
    return _page(subject_kind(record.subject_type), record.subject_id, reader)


def _flat(details: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Nested details as one list; a change (from, to) stays whole."""
    for name, value in details.items():
        if isinstance(value, Mapping) and not _is_change(value):
            yield from _flat(value, f"{prefix}{name}: ")
        else:
            yield f"{prefix}{name}", value


def _is_change(value: Mapping[str, object]) -> bool:
    return set(value) == {"from", "to"}


def _fact(name: str, value: object, reader: Reader) -> Fact:
    outer, separator, inner = name.rpartition(": ")
    label = f"{detail_words(outer)}{separator}{detail_words(inner)}" if outer else detail_words(inner)
    if isinstance(value, Mapping):
        return Fact(label, _text(value["to"]), before=_text(value["from"]))
    url = _page(OPERATION, str(value), reader) if name == "operation" else ""
    return Fact(label, _text(value), url=url, code=inner in ("operation", "test", "code", "request_id"))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{detail_words(str(name))}: {_text(item)}" for name, item in value.items())
    if isinstance(value, str):
        return _moment(value) or value or "none"
    return "none" if value is None else str(value)


def _moment(text: str) -> str:
    """A time as services write it into details, in the reader's zone; empty for any other text."""
    if "T" not in text:
        return ""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return date_format(timezone.localtime(at), "j F Y, H:i:s e") if at.tzinfo else ""


def _page(kind: SubjectKind, identifier: str, reader: Reader) -> str:
    if not kind.page or not reader.has_perm(kind.permission) or not _exists(kind, identifier):
        return ""
    try:
        return reverse(kind.page, args=[identifier])
    except NoReverseMatch:
        return ""


def _exists(kind: SubjectKind, identifier: str) -> bool:
    try:
        return bool(apps.get_model(kind.model)._base_manager.filter(pk=identifier).exists())
    except (LookupError, ValueError, ValidationError):
        return False
