"""Records as CSV or JSON Lines, written while they are read: memory holds one batch.

An export is an act of its own: one record says that it was asked for, a second one how it ended.

CSV is for people with a spreadsheet: all cells are quoted, and nothing in them is a formula, whichever
separator the program splits at. No first line names ours (``sep=,``): one spreadsheet knows it, all others
read it as a record. JSON Lines hold every value as it is stored.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from django.utils import timezone

from audit.models import AuditRecord
from audit.search import Cursor, Search, everything, settled
from audit.services import Actor, Outcome, record
from audit.wording import action_words

Row = dict[str, object]

#: A spreadsheet takes a cell that starts with one of these for a formula (OWASP, CSV Injection).
_FORMULA: Final = "=+@＝＋－＠-"
_AT_START: Final = re.compile(rf" *[\t\r\n{_FORMULA}]")
#: Where a program that splits at another separator starts a cell.
_WITHIN: Final = re.compile(rf"""([;,\t\r\n])(?=[ "']*[{_FORMULA}])""")
_BYTE_ORDER_MARK: Final = "\ufeff"
COLUMNS: Final = (
    "number",
    "at",
    "action",
    "action_in_words",
    "outcome",
    "actor_kind",
    "actor_identifier",
    "actor_name",
    "subject_type",
    "subject_id",
    "subject_name",
    "details",
)


class Format(StrEnum):
    """How an export is written; the value is the file's extension."""

    CSV = "csv"
    JSON_LINES = "jsonl"


CONTENT_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON_LINES: "application/jsonl; charset=utf-8",
}


def export(
    *, search: Search, told: Mapping[str, str], form: Format, actor: Actor, now: datetime
) -> Iterator[str]:
    """The text of the export, piece by piece, newest record first. ``told`` is the search for the record.

    The request is recorded before this returns, and the export holds what is older than that. Reading to the
    end, or giving up before it, adds the second record, with how many records went out.
    """
    details: Row = {"format": form.value, "filter": dict(told)}
    asked = _record(actor, Outcome.REQUESTED, details, now)
    return _written(search, Cursor.of(asked), form, actor, details)


def neutral(cell: str) -> str:
    """The cell as text in which no spreadsheet finds a formula: an apostrophe before each suspicious start.

    Of the cell, and of each part that is a cell for a program that splits at semicolons, tabs or lines.
    """
    within = _WITHIN.sub(r"\1'", cell)
    return f"'{within}" if _AT_START.match(cell) else within


def _written(search: Search, before: Cursor, form: Format, actor: Actor, details: Row) -> Iterator[str]:
    written, outcome = 0, Outcome.FAILED
    try:
        if form is Format.CSV:
            yield _BYTE_ORDER_MARK + _csv_line(COLUMNS)
        for batch in everything(settled(search), before=before):
            rows = [_row(stored) for stored in batch]
            yield "".join(_LINES[form](row) for row in rows)
            written += len(rows)
        outcome = Outcome.SUCCEEDED
    finally:
        _record(actor, outcome, {**details, "records": written}, timezone.now())


def _row(stored: AuditRecord) -> Row:
    made: Row = {
        "number": stored.pk,
        "at": stored.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "action_in_words": action_words(stored.action),
    }
    return {name: made[name] if name in made else getattr(stored, name) for name in COLUMNS}


class _Echo:
    """A file for csv.writer whose ``write`` gives the text back."""

    def write(self, text: str) -> str:
        return text


def _csv_line(cells: Sequence[str]) -> str:
    return str(csv.writer(_Echo(), quoting=csv.QUOTE_ALL).writerow(cells))


def _csv(row: Row) -> str:
    details = json.dumps(row["details"], ensure_ascii=False)
    return _csv_line([neutral(str(value)) for value in {**row, "details": details}.values()])


def _json_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


_LINES: Final[Mapping[Format, Callable[[Row], str]]] = {Format.CSV: _csv, Format.JSON_LINES: _json_line}


def _record(actor: Actor, outcome: Outcome, details: Row, now: datetime) -> AuditRecord:
    return record(
        action="audit.export",
        actor=actor,
        subject_type="audit record",
        subject_id="export",
        subject_name="audit records",
        outcome=outcome,
        details=details,
        now=now,
    )
