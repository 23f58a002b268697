"""The lists of keys and operations: search, filters, pages, words, and how many queries they take."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cryptosources.models import CryptoSource, SourceStatus
from keys.admin import KeyOperationAdmin, ManagedKeyAdmin
from keys.attributes import Validity
from keys.models import KeyBackup, KeyOperation, KeyUse, KeyVersion, ManagedKey
from secretstore.secret import Secret
from secretstore.services import seal_into
from tests.keys_pages.conftest import NewKey, SignIn, key_url, text_of
from tests.ui.markup import parse

KEYS, OPERATIONS = "/keys/managedkey/", "/keys/keyoperation/"
QUERIES = 15


def _key(source: CryptoSource, name: str, **changes: Any) -> ManagedKey:
    now = timezone.now()
    values = {"algorithm": "EC-P-256", "residency": "resident", "created_by": "alice"} | changes
    key = ManagedKey.objects.create(source=source, name=name, created_at=now, updated_at=now, **values)
    KeyVersion.objects.create(key=key, version="v1", public_key_der=b"", created_at=now)
    backup = KeyBackup(key=key, origin="memory:x", size=1, taken_at=now, verified_at=now, proof="hsm")
    seal_into(backup, "sealed_blob", Secret(b"a blob"))
    backup.save()
    ManagedKey.objects.filter(pk=key.pk).update(verified_backup=backup)
    KeyUse.objects.create(key=key, day=now.date(), signatures=2)
    KeyUse.objects.create(key=key, day=now.date() - timedelta(days=40), signatures=500)
    return key


def _operation(key: ManagedKey, **changes: Any) -> KeyOperation:
    now = timezone.now()
    values = {
        "kind": "backup",
        "exclusive": False,
        "state": "succeeded",
        "step": "back_up",
        "steps": ["back_up"],
        "due_at": now,
        "requested_at": now,
        "finished_at": now,
        "actor_name": "alice",
    } | changes
    return KeyOperation.objects.create(key=key, **values)


def _names(page: str) -> list[str]:
    return [element.text for element in parse(page).with_class("key-name")]


def _count_queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        text_of(client.get(address))
    return len(queries)


@pytest.mark.parametrize("address", [KEYS, OPERATIONS])
def test_a_list_takes_the_same_few_queries_however_long_it_is(
    operator: Client, source: CryptoSource, address: str
) -> None:
    _operation(_key(source, "first"))
    short = _count_queries(operator, address)
    for number in range(30):
        _operation(_key(source, f"key-{number}"))
    assert _count_queries(operator, address) == short
    assert short <= QUERIES


@pytest.mark.parametrize(
    ("room", "narrowed"),
    [
        (ManagedKeyAdmin, {}),
        (KeyOperationAdmin, {}),
        (KeyOperationAdmin, {"state": "failed"}),
        (KeyOperationAdmin, {"kind": "sign"}),
        (KeyOperationAdmin, {"actor_name": "alice"}),
    ],
)
def test_a_page_of_a_list_is_read_from_an_index_without_sorting(
    db: None, rf: RequestFactory, room: type[ManagedKeyAdmin | KeyOperationAdmin], narrowed: dict[str, str]
) -> None:
    model = ManagedKey if room is ManagedKeyAdmin else KeyOperation
    rows = room(model, site).get_queryset(rf.get("/")).filter(**narrowed)  # type: ignore[arg-type]  # model and room fit
    page = rows.order_by(*room.ordering)[:50]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # empty tables make the planner sort; not if it need not
            cursor.execute("SET LOCAL enable_sort = off")
        assert "Sort" not in (plan := page.explain())
        assert "TEMP B-TREE" not in plan


def test_a_keys_page_takes_the_same_queries_whatever_its_history(
    operator: Client, source: CryptoSource, new_key: NewKey
) -> None:
    key = new_key()
    short = _count_queries(operator, key_url(key))
    for number in range(20):
        _operation(key, kind="sign", step="sign", steps=["sign"])
        KeyUse.objects.create(
            key=key, day=timezone.now().date() - timedelta(days=number + 1), signatures=number
        )
    assert _count_queries(operator, key_url(key)) == short


def test_lists_never_load_a_blob_or_a_sources_key(operator: Client, source: CryptoSource) -> None:
    key = _key(source, "first")
    _operation(key)
    for address in (KEYS, OPERATIONS, key_url(key), key_url(key, "delete/"), "/keys/managedkey/add/"):
        with CaptureQueriesContext(connection) as queries:
            operator.get(address)
        for query in queries:
            assert "sealed" not in query["sql"].split("FROM")[0], address


def test_a_row_tells_type_source_place_validity_and_recent_use(
    operator: Client, source: CryptoSource
) -> None:
    today = datetime.now(UTC).date()
    _key(source, "seal-1", algorithm="RSA-4096")
    page = text_of(operator.get(KEYS))
    for label, shown in (
        ("Type", "RSA-HSM 4096"),
        ("Source", "Vault A"),
        ("Where", "in the HSM"),
        ("Validity", "no end"),
        ("Last used", f"{today.day} {today:%b %Y}"),
        ("Signatures, 30 days", "2"),
    ):
        assert re.search(rf'data-label="{label}"[^>]*>(<span[^>]*>)?{shown}<', page), label


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"residency": "deleted", "scheduled_purge_at": datetime(2027, 2, 3, tzinfo=UTC)},
            "recoverable until 3 Feb 2027",
        ),
        ({"residency": "deleted"}, "recoverable"),
        ({"residency": "purged"}, "no backup"),
        ({"residency": "creating"}, "being created"),
        ({"residency": "not_created"}, "never created"),
        ({"residency": "faulted", "fault": "look"}, "needs a person"),
    ],
)
def test_places_are_told_in_plain_words(
    operator: Client, source: CryptoSource, changes: dict[str, Any], told: str
) -> None:
    _key(source, "seal-1", **changes)
    assert told in text_of(operator.get(KEYS)).partition("<tbody>")[2]


def test_keys_are_searched_by_name_and_filtered_by_source_place_and_type(
    operator: Client, source: CryptoSource
) -> None:
    other = CryptoSource.objects.create(friendly_name="Vault B", kind="memory", status=SourceStatus.ACTIVE)
    _key(source, "invoice-1")
    _key(source, "invoice-2", residency="deleted")
    _key(other, "seal-1", algorithm="RSA-2048")
    for query, names in {
        "": ["invoice-1", "invoice-2", "seal-1"],
        "?q=INVOICE": ["invoice-1", "invoice-2"],
        f"?source={other.pk}": ["seal-1"],
        "?residency=deleted": ["invoice-2"],
        "?algorithm=RSA-2048": ["seal-1"],
        "?q=invoice&residency=resident": ["invoice-1"],
        "?q=vault+b": ["seal-1"],
        "?source=nonsense&residency=nonsense&algorithm=nonsense": ["invoice-1", "invoice-2", "seal-1"],
    }.items():
        assert _names(text_of(operator.get(KEYS + query))) == names, query
    assert "Nothing matches" in text_of(operator.get(f"{KEYS}?q=nothing-like-it"))


@pytest.mark.parametrize(
    ("changes", "validity", "told"),
    [
        ({}, "valid", "no end"),
        ({"expires_at": timedelta(days=400)}, "valid", "until"),
        ({"expires_at": timedelta(days=12, hours=1)}, "expiring", "expires in 12 days"),
        ({"expires_at": timedelta(hours=5, minutes=1)}, "expiring", "expires in 5 hours"),
        ({"expires_at": timedelta(seconds=-1)}, "expired", "expired"),
        ({"not_before": timedelta(days=2)}, "not_yet_valid", "not yet valid"),
        ({"enabled": False}, "disabled", "disabled"),
    ],
)
def test_validity_is_told_in_words_and_is_a_filter(
    operator: Client, source: CryptoSource, changes: dict[str, Any], validity: str, told: str
) -> None:
    now = timezone.now()
    dated = {n: now + value if isinstance(value, timedelta) else value for n, value in changes.items()}
    _key(source, "this-one", **dated)
    for each in Validity:
        page = text_of(operator.get(f"{KEYS}?validity={each}"))
        assert _names(page) == (["this-one"] if each == validity else []), each
    shown = text_of(operator.get(KEYS)).partition("<tbody>")[2]
    assert told in shown
    assert text_of(operator.get(f"{KEYS}?validity=nonsense")).count("this-one")


def test_long_lists_come_in_pages(operator: Client, source: CryptoSource) -> None:
    for number in range(60):
        _key(source, f"key-{number:02}")
    assert len(_names(text_of(operator.get(KEYS)))) == 50
    assert _names(text_of(operator.get(f"{KEYS}?p=2"))) == [f"key-{number}" for number in range(50, 60)]


def test_operations_are_filtered_by_key_state_and_kind(operator: Client, source: CryptoSource) -> None:
    first, second = _key(source, "first"), _key(source, "second")
    _operation(first)
    three_days_ago = timezone.now() - timedelta(days=3)
    _operation(first, kind="sign", step="sign", steps=["sign"], requested_at=three_days_ago)
    _operation(second, state="failed", error="The HSM is away.", actor_name="bob", request_id="request-7")
    for query, titles in {
        "": {"Back up first", "Sign with first", "Back up second"},
        f"?key={first.pk}": {"Back up first", "Sign with first"},
        "?state=failed": {"Back up second"},
        "?kind=sign": {"Sign with first"},
        "?q=second": {"Back up second"},
        f"?source={source.pk}&kind=backup": {"Back up first", "Back up second"},
        "?key=nonsense": {"Back up first", "Sign with first", "Back up second"},
        "?who=bob": {"Back up second"},
        "?q=request-7": {"Back up second"},
        "?q=request": set(),
        "?asked=1": {"Back up first", "Back up second"},
        "?asked=7": {"Back up first", "Sign with first", "Back up second"},
    }.items():
        page = text_of(operator.get(OPERATIONS + query))
        rows = {
            a.text for a in parse(page).all("a") if a["href"].startswith(OPERATIONS) and len(a["href"]) > 50
        }
        assert rows == titles, query
    assert "The HSM is away." in text_of(operator.get(OPERATIONS))


def test_many_signatures_are_grouped_and_short_names_stay_whole(
    operator: Client, source: CryptoSource
) -> None:
    key = _key(source, "branch-seal-001")
    _key(source, "a-name-that-is-far-too-long-for-one-line")
    KeyUse.objects.filter(key=key, day=timezone.now().date()).update(signatures=1_234_567)
    page = text_of(operator.get(KEYS))
    assert "1,234,567" in page
    assert 'class="key-name nowrap">branch-seal-001<' in page
    assert 'class="key-name">a-name-that-is-far-too-long-for-one-line<' in page
    assert "1,234,567" in text_of(operator.get(key_url(key, "delete/")))


def test_what_has_just_begun_took_no_time_yet(source: CryptoSource) -> None:
    shown = KeyOperationAdmin(KeyOperation, site).took
    now = timezone.now()
    begun = _operation(_key(source, "first"), state="running", started_at=now, finished_at=None)
    assert "–" in shown(begun)
    begun.requested_at = now - timedelta(seconds=4)
    assert re.fullmatch(r"4\.\d s", shown(begun))
    begun.requested_at, begun.finished_at = now, now
    assert shown(begun) == "0.0 s"


def test_who_is_offered_from_the_accounts_and_not_read_for_rows_that_are_followed(
    operator: Client, source: CryptoSource
) -> None:
    _operation(_key(source, "first"), actor_name="bob")
    for accept, query in (("text/html", ""), ("application/json", ""), ("application/json", "?who=bob")):
        with CaptureQueriesContext(connection) as queries:
            answer = operator.get(OPERATIONS + query, headers={"Accept": accept})
        assert answer.status_code == 200
        assert not [q["sql"] for q in queries if "DISTINCT" in q["sql"]]
        accounts = [q for q in queries if 'FROM "auth_user" ORDER BY' in q["sql"]]
        assert len(accounts) == (1 if accept == "text/html" else 0)
    page = text_of(operator.get(f"{OPERATIONS}?who=bob"))
    assert "who=the-operator" in page
    assert "who=bob" in page
    for who, listed in (("bob", True), ("eve", False)):
        followed = operator.get(f"{OPERATIONS}?who={who}", headers={"Accept": "application/json"})
        assert ("Back up first" in followed.json()["html"]) is listed


@pytest.mark.parametrize(
    ("changes", "state", "told"),
    [
        ({"state": "pending"}, "waiting", "waits for a worker"),
        ({"state": "pending", "not_before": timedelta(minutes=5)}, "waiting", "starts at"),
        ({"state": "pending", "error": "away", "not_before": timedelta(0)}, "paused", "tried again at"),
        ({"state": "running"}, "waiting", "next: back up"),
        (
            {"state": "running", "claim_token": uuid4(), "claim_expires_at": timedelta(minutes=3)},
            "running",
            "back up",
        ),
    ],
)
def test_work_under_way_tells_who_has_it_or_what_it_waits_for(
    operator: Client, source: CryptoSource, changes: dict[str, Any], state: str, told: str
) -> None:
    now = timezone.now()
    dated = {n: now + value if isinstance(value, timedelta) else value for n, value in changes.items()}
    _operation(_key(source, "first"), finished_at=None, **dated)
    for each in ("running", "waiting", "paused", "failed", "succeeded"):
        shown = "Back up first" in text_of(operator.get(f"{OPERATIONS}?state={each}"))
        assert shown is (each == state), each
    page = text_of(operator.get(f"{OPERATIONS}?state=under_way"))
    assert told in page.partition("<tbody>")[2]


def test_the_list_follows_what_is_under_way(operator: Client, source: CryptoSource) -> None:
    operation = _operation(_key(source, "first"), state="pending", finished_at=None)
    page = text_of(operator.get(f"{OPERATIONS}?kind=backup"))
    assert 'data-live="?kind=backup"' in page
    told = operator.get(f"{OPERATIONS}?kind=backup", headers={"accept": "application/json"}).json()
    assert not told["finished"]
    assert "Back up first" in told["html"]
    assert '<nav class="shell' not in told["html"]
    KeyOperation.objects.filter(pk=operation.pk).update(state="succeeded", finished_at=timezone.now())
    told = operator.get(f"{OPERATIONS}?kind=backup", headers={"accept": "application/json"}).json()
    assert told["finished"]
    assert "data-live" not in text_of(operator.get(f"{OPERATIONS}?kind=backup"))


def test_a_signature_is_listed_with_what_was_signed(operator: Client, source: CryptoSource) -> None:
    _operation(
        _key(source, "first"),
        kind="sign",
        step="sign",
        steps=["sign"],
        parameters={"label": "<contract>.pdf"},
    )
    assert "&lt;contract&gt;.pdf" in text_of(operator.get(OPERATIONS))


@pytest.mark.parametrize(("role", "told"), [("operator", "Generate a key"), ("auditor", "An operator or")])
def test_an_empty_list_says_what_to_do_first(sign_in: SignIn, role: str, told: str) -> None:
    page = text_of(sign_in(role).get(KEYS))
    assert "No keys yet" in page
    assert told in page
    assert "No operations yet" in text_of(sign_in("ops").get(OPERATIONS))
