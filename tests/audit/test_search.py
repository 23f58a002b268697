"""Finding records: each way to narrow, the order, and how far text is looked for."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.actors import Actor, ActorKind
from audit.models import AuditRecord, Outcome
from audit.search import COUNTED, BadCursor, Cursor, Search, count, everything, find, settled
from audit.services import record
from audit.wording import ACTIONS, OPERATION, SUBJECTS
from keys.lifecycle import OperationKind

ROOMS = ("cryptosources", "keymanager", "keys", "licensing", "secretstore")
ACTION = re.compile(r'"((?:source|key|person|licence|secrets)(?!\.jws)\.[a-z][a-z_]*(?:\.[a-z_]+)*)"')
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def write(name: str, *, minutes: float = 0, **changes: object) -> AuditRecord:
    values: dict[str, object] = {
        "action": "key.sign",
        "actor": Actor.system("worker"),
        "subject_type": "managed key",
        "subject_id": "7",
        "now": NOW + timedelta(minutes=minutes),
        **changes,
    }
    return record(subject_name=name, **values)  # type: ignore[arg-type]


def names(search: Search) -> list[str]:
    return [stored.subject_name for stored in find(search).records]


@pytest.mark.parametrize(
    "search",
    [
        Search(action="source.deleted"),
        Search(action="source"),
        Search(outcome=Outcome.FAILED),
        Search(who=ActorKind.COMMAND),
        Search(by="purge_all"),
        Search(subject="source"),
        Search(subject="source", identifier="8"),
        Search(since=date(2026, 3, 15)),
        Search(text="fabri"),
        Search(text="PURGE_ALL"),
        Search(text='"quoted" Zürich'),
        Search(text="5a1b-22"),
    ],
    ids=str,
)
def test_each_way_to_narrow(search: Search) -> None:
    write("Contoso", action="sources.none")
    write(
        "Fabrikam",
        action="source.deleted",
        outcome=Outcome.FAILED,
        actor=Actor.command("purge_all"),
        subject_type="crypto source",
        subject_id="8",
        details={"request_id": "5a1b-22", "reason": 'said "quoted" Zürich'},
        now=NOW + timedelta(days=1),
    )
    assert names(search) == ["Fabrikam"]
    assert count(search) == (None if search.text else 1)


def test_both_ends_of_a_period_belong_to_it() -> None:
    midnight = datetime(2026, 3, 14, tzinfo=UTC)
    for name, at in {
        "before": midnight - timedelta(microseconds=1),
        "first": midnight,
        "last": midnight + timedelta(days=1, microseconds=-1),
        "after": midnight + timedelta(days=1),
    }.items():
        write(name, now=at)
    day = date(2026, 3, 14)
    assert names(Search(since=day, until=day)) == ["last", "first"]


def test_an_operation_is_found_by_its_identifier_however_it_is_written() -> None:
    operation = uuid4()
    write("asked", details={"operation": str(operation)})
    write("done", minutes=1, details={"operation": str(operation)})
    write("another", details={"operation": str(uuid4())})
    for text in (str(operation), operation.hex, str(operation).upper()):
        search = settled(Search(text=text))
        assert names(search) == ["done", "asked"]
        assert count(search) == 2


def test_both_spellings_of_a_source_are_found() -> None:
    for number, spelled in enumerate(("cryptosource", "crypto source")):
        write(spelled, minutes=number, subject_type=spelled, subject_id="8")
    assert names(Search(subject="source", identifier="8")) == ["crypto source", "cryptosource"]


def test_a_subject_is_found_by_its_identifier() -> None:
    key = uuid4()
    write("made", subject_id=str(key))
    write("mentions it", details={"reason": str(key)})
    assert names(settled(Search(text=key.hex))) == ["made"]
    assert names(settled(Search(text=key.hex, action="source"))) == []


def test_an_identifier_that_is_nobodys_is_looked_for_as_text() -> None:
    test = str(uuid4())
    write("tested", details={"test": test})
    assert names(settled(Search(text=test))) == ["tested"]


def test_equal_times_are_cut_by_number_without_gap_or_double() -> None:
    for number in range(7):
        write(str(number))
    first = find(Search(), size=3)
    second = find(Search(), before=first.older, size=3)
    third = find(Search(), before=second.older, size=3)
    pages = [[stored.subject_name for stored in page.records] for page in (first, second, third)]
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    assert third.older is None


def test_text_is_looked_for_in_so_many_records_at_a_time() -> None:
    write("wanted")
    for number in range(1, 10):
        write(f"other {number}", minutes=number)
    found = find(Search(text="wanted"), window=4)
    assert not found.records
    assert found.searched_to == NOW + timedelta(minutes=6)
    further = find(Search(text="wanted"), before=found.older, window=4)
    assert further.searched_to == NOW + timedelta(minutes=2)
    last = find(Search(text="wanted"), before=further.older, window=4)
    assert [stored.subject_name for stored in last.records] == ["wanted"]
    assert (last.older, last.searched_to) == (None, None)


def test_a_full_page_of_text_goes_on_where_it_ended() -> None:
    for number in range(10):
        write(f"wanted {number}", minutes=number)
    page = find(Search(text="wanted"), size=2, window=5)
    assert page.searched_to is None
    assert page.older == Cursor.of(page.records[-1])


def test_everything_comes_once_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.search.BATCH", 4)
    for number in range(10):
        write(str(number), minutes=number // 4)
    batches = [[stored.subject_name for stored in batch] for batch in everything(Search())]
    assert batches == [["9", "8", "7", "6"], ["5", "4", "3", "2"], ["1", "0"]]


def test_counting_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.search.COUNTED", 3)
    for number in range(6):
        write(str(number))
    assert count(Search()) == 4
    assert COUNTED > 1000


@pytest.mark.parametrize(
    "text", ["", "_", "nonsense_1", "2026-03-14T09:26:53_1", f"2026-03-14T09:26:53Z_{2**63}"]
)
def test_a_cursor_is_read_back_or_refused(text: str) -> None:
    cursor = Cursor(NOW, 5)
    assert Cursor.parse(str(cursor)) == cursor
    with pytest.raises(BadCursor):
        Cursor.parse(text)


def test_pages_named_in_the_wording_exist() -> None:
    from django.apps import apps
    from django.contrib.auth.models import Permission
    from django.urls import reverse

    for kind in (*SUBJECTS, OPERATION):
        if kind.page:
            identifier = "1" if kind.slug in ("person", "licence") else str(uuid4())
            assert reverse(kind.page, args=[identifier])
            assert apps.get_model(kind.model)
            assert Permission.objects.filter(codename=kind.permission.partition(".")[2]).exists()


def test_every_action_that_is_recorded_has_words() -> None:
    """Plain text in the code of this console; those of keys are made of the kinds of operation."""
    root = Path(__file__).parents[2]
    files = (file for room in ROOMS for file in (root / room).rglob("*.py"))
    written = {name for file in files for name in ACTION.findall(file.read_text())}
    assert {"source.test_key.created", "licence.installed"} <= written
    assert (written | {f"key.{kind}" for kind in OperationKind}) - set(ACTIONS) == set()


# --- Every question is answered from an index -----------------------------------------------------


@pytest.fixture
def many_records() -> None:
    """Half of them ask, half of them tell; two records for each operation, a thousand for each key."""
    asked = [
        AuditRecord(
            at=NOW + timedelta(seconds=number),
            actor_kind="person",
            actor_identifier=str(number % 7),
            actor_name=f"person {number % 7}",
            action=f"key.{'sign' if number % 50 else 'purge'}",
            subject_type="managed key",
            subject_id=str(UUID(int=number % 20)),
            subject_name=f"key {number % 20}",
            outcome="failed" if number % 100 == 1 else ("succeeded" if number % 2 else "requested"),
            details={"operation": str(UUID(int=1_000_000 + number // 2))},
        )
        for number in range(20_000)
    ]
    AuditRecord.objects.bulk_create(asked, batch_size=2_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE audit_auditrecord")


def plans(search: Search) -> list[str]:
    """How the database answers each question of one page and its count."""
    with CaptureQueriesContext(connection) as asked:
        wanted = settled(search)
        find(wanted)
        count(wanted)
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        found = []
        for question in asked:
            cursor.execute(f"{explain} {question['sql']}")
            found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
    return found


@pytest.mark.usefixtures("many_records")
@pytest.mark.parametrize("number", [1_000_000 + 9_999, 7], ids=["an operation", "a key"])
def test_an_identifier_is_looked_for_in_an_index_alone(number: int) -> None:
    for plan in plans(Search(text=str(UUID(int=number)))):
        assert "index" in plan.lower()
        assert "Seq Scan" not in plan
        assert "SCAN audit_auditrecord" not in plan


@pytest.mark.usefixtures("many_records")
def test_a_page_is_read_off_an_index_in_its_order() -> None:
    key = str(UUID(int=7))
    for search in (Search(), Search(identifier=key), Search(by="3"), Search(action="key.purge")):
        plan = search.records()[:50].explain()
        assert "index" in plan.lower()
        assert "Seq Scan" not in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.usefixtures("many_records")
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite does not see that one is one of two")
def test_what_went_wrong_has_an_index_of_its_own() -> None:
    assert "audit_unhappy_at" in Search(outcome=Outcome.FAILED).records()[:50].explain()
