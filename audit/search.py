"""Finding records: what to look for, page by page, newest first.

A page starts below the last record of the page before (a cursor, never an offset), so records that come in
meanwhile shift nothing. Text is looked for in so many records at a time: a page tells how far back it looked.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final, Self
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from audit.actors import ActorKind
from audit.models import AuditRecord, OperationOf, Outcome
from audit.wording import subject_of_slug

PAGE: Final = 50
#: How many records at a time are searched for text that no index knows.
WINDOW: Final = 100_000
#: Beyond so many the page says "more than".
COUNTED: Final = 10_000
BATCH: Final = 1_000
#: No record is outside of these days, and each of them has a midnight in every time zone.
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)

Records = QuerySet[AuditRecord]


class BadCursor(ValueError):
    """The place to go on from is not one that a page gave."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order of records: everything before it is older."""

    at: datetime
    pk: int

    @classmethod
    def of(cls, record: AuditRecord) -> Self:
        return cls(record.at, record.pk)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From its text in an address; BadCursor."""
        at, _, pk = text.partition("_")
        try:
            moment = datetime.fromisoformat(at)
            number = int(pk)
        except ValueError as error:
            raise BadCursor(text) from error
        if moment.tzinfo is None or not FIRST_DAY <= moment.date() <= LAST_DAY or not 0 <= number < 2**63:
            raise BadCursor(text)
        return cls(moment, number)

    def __str__(self) -> str:
        return f"{self.at.isoformat()}_{self.pk}"

    def older(self, records: Records) -> Records:
        """``at`` alone bounds the index; the record's number decides between equal times."""
        return records.filter(at__lte=self.at).exclude(at=self.at, pk__gte=self.pk)

    def not_older(self, records: Records) -> Records:
        return records.filter(at__gte=self.at).exclude(at=self.at, pk__lt=self.pk)


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; an empty field does not narrow.

    ``action`` is a whole action, or the first part of its name for all of its group. ``subject`` is a slug of
    audit.wording and ``identifier`` one subject of that kind; ``operation`` is one operation. Days count in
    the console's time zone, between FIRST_DAY and LAST_DAY, and both ends belong to the period.
    """

    text: str = ""
    action: str = ""
    outcome: Outcome | None = None
    who: ActorKind | None = None
    by: str = ""
    subject: str = ""
    identifier: str = ""
    operation: str = ""
    since: date | None = None
    until: date | None = None

    @property
    def narrows(self) -> bool:
        return self != Search()

    def records(self) -> Records:
        """Everything that fits but for the text, newest first."""
        records: Records = AuditRecord.objects.filter(self._fits()).order_by("-at", "-pk")
        if self.operation:
            records = _of_operation(records, self.operation)
        if self.since:
            records = records.filter(at__gte=_midnight(self.since))
        if self.until:
            records = records.filter(at__lt=_midnight(self.until + timedelta(days=1)))
        return records

    def _fits(self) -> Q:
        fits = Q()
        if self.action:
            fits &= Q(action=self.action) if "." in self.action else Q(action__startswith=f"{self.action}.")
        if self.outcome:
            fits &= Q(outcome=self.outcome)
        if self.who:
            fits &= Q(actor_kind=self.who)
        if self.by:
            fits &= Q(actor_identifier=self.by)
        if self.subject:
            kind = subject_of_slug(self.subject)
            fits &= Q(subject_type__in=kind.types if kind else ())
        if self.identifier:
            fits &= Q(subject_id=self.identifier)
        return fits


@dataclass(frozen=True, slots=True)
class Page:
    """``older`` starts the next page; ``searched_to`` is set when the text was not looked for any further."""

    records: Sequence[AuditRecord]
    older: Cursor | None
    searched_to: datetime | None = None


def settled(search: Search) -> Search:
    """The search to hand to all of the others: text that identifies a subject or an operation narrows to it.

    It is asked here once. Each question is one equality in the order of its own index: PostgreSQL takes both
    together, or without the order, for a reason to read the whole table.
    """
    identifier = _identifier(search.text)
    if not identifier:
        return search
    newest_first = AuditRecord.objects.order_by("-at")
    if not search.identifier and newest_first.filter(subject_id=identifier).first():
        return replace(search, text="", identifier=identifier)
    if not search.operation and _of_operation(newest_first, identifier).first():
        return replace(search, text="", operation=identifier)
    return search


def find(search: Search, *, before: Cursor | None = None, size: int = PAGE, window: int = WINDOW) -> Page:
    """One page of at most ``size`` records, looking for text in ``window`` of them."""
    records = search.records()
    if before:
        records = before.older(records)
    return _find_text(records, search.text, size, window) if search.text else _cut(records, size)


def count(search: Search) -> int | None:
    """How many fit, counted up to COUNTED + 1; None for text, which would mean looking everywhere."""
    return None if search.text else search.records().order_by()[: COUNTED + 1].count()


def everything(search: Search, *, before: Cursor | None = None) -> Iterator[Sequence[AuditRecord]]:
    """All that fits, in batches, each read when it is wanted: memory holds one."""
    while True:
        page = find(search, before=before, size=BATCH)
        if page.records:
            yield page.records
        if page.older is None:
            return
        before = page.older


def _find_text(records: Records, text: str, size: int, window: int) -> Page:
    ends = records[window - 1 : window].first()
    if ends is None:
        return _cut(_mentioning(records, text), size)
    last = Cursor.of(ends)
    page = _cut(_mentioning(last.not_older(records), text), size)
    return page if page.older else Page(page.records, last, searched_to=last.at)


def _cut(records: Records, size: int) -> Page:
    found = list(records[: size + 1])
    return Page(found[:size], Cursor.of(found[size - 1]) if len(found) > size else None)


def _of_operation(records: Records, operation: str) -> Records:
    return records.alias(of_operation=OperationOf("details")).filter(of_operation=operation)


def _identifier(text: str) -> str:
    """The text as records spell the identifier of a subject or an operation; empty when it is none."""
    try:
        return str(UUID(text))
    except ValueError:
        return ""


def _mentioning(records: Records, text: str) -> Records:
    fields = ("subject_name", "actor_name", "action", "subject_id")
    spelled = json.dumps(text, ensure_ascii=connection.vendor == "sqlite")[1:-1]
    mentions = Q(*((f"{field}__icontains", text) for field in fields), _connector=Q.OR)
    in_details = Q(in_details__icontains=spelled)
    return records.alias(in_details=Cast("details", TextField())).filter(mentions | in_details)


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
