"""The export: complete, harmless in a spreadsheet, bounded in memory, and itself recorded."""

import csv
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Literal, cast

import pytest
from django.contrib.auth.models import Group, User
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import reverse

from audit.export import COLUMNS, Format, export, neutral
from audit.models import AuditRecord
from audit.search import Search
from audit.services import Actor, Outcome, record

NOW = datetime(2026, 3, 14, 9, 26, 53, 123456, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ALICE = Actor.command("tests")

pytestmark = pytest.mark.django_db


def write(name: str, *, minutes: int = 0, details: dict[str, object] | None = None) -> AuditRecord:
    return record(
        action="source.created",
        actor=ALICE,
        subject_type="cryptosource",
        subject_id="42",
        subject_name=name,
        details=details,
        now=NOW + timedelta(minutes=minutes),
    )


def exported(search: Search, form: Format) -> str:
    return "".join(export(search=search, told={}, form=form, actor=ALICE, now=LATER))


def test_csv_holds_everything_newest_first() -> None:
    write("older, with a comma", details={"reason": 'said "no"\nand left'})
    newer = write("newer Zürich", minutes=1)
    text = exported(Search(subject="source"), Format.CSV)
    assert text.startswith('\ufeff"number","at","action",')
    rows = list(csv.DictReader(StringIO(text.removeprefix("\ufeff"))))
    assert [row["subject_name"] for row in rows] == ["newer Zürich", "older, with a comma"]
    assert rows[0]["number"] == str(newer.pk)
    assert rows[0]["at"] == "2026-03-14T09:27:53.123456Z"
    assert rows[0]["action_in_words"] == "Create a crypto source"
    assert json.loads(rows[1]["details"]) == {"reason": 'said "no"\nand left'}


def test_json_lines_are_one_object_a_line() -> None:
    write("=1+1", details={"nested": {"from": 1, "to": None}})
    lines = exported(Search(subject="source"), Format.JSON_LINES).splitlines()
    (found,) = [json.loads(line) for line in lines]
    assert tuple(found) == COLUMNS
    assert (found["subject_name"], found["details"]) == ("=1+1", {"nested": {"from": 1, "to": None}})


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "  =", "＝", "＠"])
def test_no_cell_is_a_formula(start: str) -> None:
    name = f"{start}cmd|' /C calc'!A0"
    assert neutral(name) == f"'{name}"
    write(name)
    rows = list(csv.DictReader(StringIO(exported(Search(subject="source"), Format.CSV), newline="")))
    assert rows[0]["subject_name"] == f"'{name}"


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=repr)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONE])
@pytest.mark.parametrize(
    "name",
    ["a;=1", "a; =1", 'a;"=1', 'a;""=1', "a;';=1", "a\t+1", "a\n-1", "a\r@x", "a,=1", "\t=1", "a;＝1"],
)
def test_no_cell_is_a_formula_for_a_program_that_splits_elsewhere(
    name: str, quoting: Literal[0, 3], separator: str
) -> None:
    write(name, details={"tags": {name: name}})
    text = StringIO(exported(Search(subject="source"), Format.CSV), newline="")
    cells = [cell for row in csv.reader(text, delimiter=separator, quoting=quoting) for cell in row]
    assert not [cell for cell in cells if cell.lstrip(' "\ufeff').startswith(("=", "+", "-", "@", "＝"))]


def test_every_cell_is_quoted() -> None:
    write("Contoso")
    for line in exported(Search(subject="source"), Format.CSV).removeprefix("\ufeff").splitlines():
        assert line[0] == line[-1] == '"'
        assert line.count('","') == len(COLUMNS) - 1


@pytest.mark.parametrize("harmless", ["", "a=1", "eseal-2026", "12", '{"a": "=1"}', "2026-03-14T09:26:53Z"])
def test_harmless_cells_stay_as_they_are(harmless: str) -> None:
    assert neutral(harmless) == harmless


def test_the_export_is_recorded_with_what_was_asked_for_and_how_many_went_out() -> None:
    for number in range(3):
        write(str(number))
    told = {"subject": "source"}
    text = export(search=Search(subject="source"), told=told, form=Format.CSV, actor=ALICE, now=LATER)
    asked = AuditRecord.objects.get(action="audit.export")
    assert (asked.outcome, asked.details) == (Outcome.REQUESTED, {"format": "csv", "filter": told})
    "".join(text)
    done = AuditRecord.objects.get(action="audit.export", outcome=Outcome.SUCCEEDED)
    assert done.details["records"] == 3


def test_an_export_that_is_broken_off_is_recorded_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.search.BATCH", 2)
    for number in range(6):
        write(str(number))
    text = iter(
        export(search=Search(subject="source"), told={}, form=Format.JSON_LINES, actor=ALICE, now=LATER)
    )
    next(text)
    next(text)
    text.close()  # type: ignore[attr-defined]  # what a server does when the browser goes away
    ended = AuditRecord.objects.filter(action="audit.export").order_by("-pk")[0]
    assert (ended.outcome, ended.details["records"]) == (Outcome.FAILED, 2)


def test_the_page_sends_a_file_of_what_is_filtered() -> None:
    write("Contoso")
    write("Fabrikam")
    user = User.objects.create_user("ada", is_staff=True)
    user.groups.set(Group.objects.filter(name="auditor"))
    client = Client()
    client.force_login(user)
    url = reverse("admin:audit_auditrecord_export")
    answer = cast(StreamingHttpResponse, client.post(url, {"format": "jsonl", "q": "fabri"}))
    assert answer.streaming
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-')
    assert answer["Content-Type"] == "application/jsonl; charset=utf-8"
    body = b"".join(cast(Iterable[bytes], answer.streaming_content)).decode()
    assert [json.loads(line)["subject_name"] for line in body.splitlines()] == ["Fabrikam"]
    done = AuditRecord.objects.get(action="audit.export", outcome=Outcome.SUCCEEDED)
    assert (done.actor_name, done.details["filter"]) == ("ada", {"q": "fabri"})
    assert client.post(url, {"format": "xls"}).status_code == 404
    assert client.post(url, {"format": "csv", "outcome": "x"}).status_code == 400
