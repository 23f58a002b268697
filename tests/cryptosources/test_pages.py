"""List, page, switching, deleting and the live connection test, asked for over HTTP."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from audit.services import AuditRecord
from cryptosources.models import ConnectionTest, CryptoSource
from cryptosources.providers.azure import rights as azure_rights
from cryptosources.services import connection_test, key_cycle, rights, sources, throw_away
from cryptosources.wording import INACTIVE_STOPS
from keys.lifecycle import OperationKind
from keys.models import ManagedKey
from tests.cryptosources.certificates import certificate
from tests.cryptosources.conftest import ROLES, InstallLicence, SignIn
from tests.cryptosources.factories import ACTOR, NOW, azure_settings, make_source, memory_settings
from tests.cryptosources.finished import OBJECT_ID, finish_test
from tests.cryptosources.posts import ADD, LIST, edit_entries, errors_of, new_entries, page
from tests.keymanager.holdings import make_keys, make_operation

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("licensed")]


@pytest.fixture
def administrator(sign_in: SignIn) -> Client:
    return sign_in("administrator")


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def add_key(source: CryptoSource, name: str) -> None:
    ManagedKey.objects.create(source=source, name=name, algorithm="EC-P256", created_at=NOW, updated_at=NOW)


# --- Who may what --------------------------------------------------------------------------------

WRITES = {"operator", "administrator"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"
MATRIX = [
    ("get", LIST, set(ROLES)),
    ("get", "", set(ROLES)),
    ("get", ADD, WRITES),
    ("post", ADD, WRITES),
    ("get", "change/", WRITES),
    ("post", "change/", WRITES),
    ("get", "delete/", WRITES),
    ("post", "delete/", WRITES),
    ("post", "test/", WRITES),
    ("get", "clone/", WRITES),
    ("post", "clone/", WRITES),
    ("get", "key-manager-role.json", set(ROLES)),
    ("post", f"test-key/{UNKNOWN}/", WRITES),
    ("get", "deactivate/", {"administrator"}),
    ("post", "activate/", {"administrator"}),
    ("post", "deactivate/", {"administrator"}),
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "where", "allowed"), MATRIX)
def test_each_role_does_what_it_may_and_no_more(
    sign_in: SignIn, sent: list[str], role: str, method: str, where: str, allowed: set[str]
) -> None:
    source = make_source(azure_settings())
    before = CryptoSource.objects.values().get()
    status = "active" if role == "administrator" else None
    entries = {
        ADD: new_entries(friendly_name="Another", status=status),
        "clone/": new_entries(friendly_name="Another", status=status),
        "change/": edit_entries(source, friendly_name="Renamed", status=status),
    }
    url = where if where.startswith(LIST) else page(source, where)
    client = sign_in(role)
    response = client.get(url) if method == "get" else client.post(url, entries.get(where, {}))
    if role in allowed:
        assert response.status_code == (200 if method == "get" else 302)
    else:
        assert response.status_code == 403
        assert CryptoSource.objects.values().get() == before
        assert not ConnectionTest.objects.exists()


@pytest.mark.parametrize("where", ["", "change/", "delete/", "test/", "activate/"])
def test_strangers_are_sent_to_sign_in(client: Client, where: str) -> None:
    response = client.get(page(make_source(), where))
    assert response.status_code == 302
    assert response["Location"].startswith("/login/")


@pytest.mark.parametrize("where", ["activate/", "deactivate/", "test/"])
def test_acts_are_posts_with_a_token(where: str, sign_in: SignIn) -> None:
    source = make_source()
    allowed = 200 if where == "deactivate/" else 405  # its GET asks whether it is meant
    assert sign_in("administrator").get(page(source, where)).status_code == allowed
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = sign_in("administrator").cookies
    assert strict.post(page(source, where)).status_code == 403
    source.refresh_from_db()
    assert source.is_active


@pytest.mark.parametrize("role", ROLES)
def test_nobody_is_shown_a_button_that_refuses(sign_in: SignIn, role: str) -> None:
    source = make_source(azure_settings())
    client = sign_in(role)
    for url in (LIST, page(source)):
        html = client.get(url).content.decode()
        assert ("Make Inactive" in html) is (role == "administrator")
        for part in ("delete/", "change/", "clone/", "test/"):
            assert (page(source, part) in html) is (role in WRITES)
    assert ("Test connection" in client.get(page(source)).content.decode()) is (role in WRITES)
    assert (ADD in client.get(LIST).content.decode()) is (role in WRITES)


# --- The list ---------------------------------------------------------------------------------


def test_the_list_tells_each_source_in_words(administrator: Client) -> None:
    today = timezone.localdate()
    for name, days in (("Ended", -3), ("Today", 0), ("Soon", 12), ("Later", 400)):
        make_source(azure_settings(name, secret_expires_on=today + timedelta(days=days)))
    assumed = make_source(azure_settings("Assumed", secret_expires_on=None), active=False)
    add_key(assumed, "seal-1")
    html = administrator.get(LIST).content.decode()
    for text in ("ended 3 days ago", "ends today", "12 days left", "400 days left", "(assumed)", "never"):
        assert text in html
    for text in ("badge-bad", "badge-warn", "badge-ok", "badge-muted"):
        assert text in html
    assert "contoso.<wbr>" in html
    assert "Make Active" in html
    assert "queued work included" in html


def test_the_list_shows_the_last_test_that_came_to_its_end(administrator: Client, sent: list[str]) -> None:
    source = make_source()
    done = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now())
    connection_test.run_test(test_id=done.pk, clock=timezone.now)
    connection_test.request_test(source=source, actor=ACTOR, now=timezone.now())
    assert "healthy" in administrator.get(LIST).content.decode()


@pytest.mark.parametrize(
    ("changes", "outdated"),
    [
        ({"key": "new-secret"}, True),
        ({"application_id": "99999999-2222-3333-4444-555555555555", "key": "new-secret"}, True),
        ({"backup_restore": "on"}, True),
        ({"friendly_name": "Renamed"}, False),
        ({"secret_expires_on": "2028-05-01"}, False),
        ({"status": "inactive"}, False),
    ],
)
def test_a_change_makes_the_last_test_speak_no_longer(
    administrator: Client, changes: dict[str, str], outdated: bool
) -> None:
    source = make_source(azure_settings())
    finish_test(source)
    response = administrator.post(page(source, "change/"), edit_entries(source, status="active") | changes)
    assert ("Test its connection next" in told(response)[0]) is outdated
    html = administrator.get(page(source)).content.decode()
    assert ("Changed since the last test" in html) is outdated
    assert ("The connection works" in html) is not outdated
    assert ("granted then" in html) is outdated
    for result, listed in (("changed", outdated), ("healthy", not outdated), ("failed", False)):
        shown = administrator.get(f"{LIST}?last_test={result}")
        assert bool(shown.context["cl"].result_count) is listed, result
    assert ("changed since the last test</span>" in administrator.get(LIST).content.decode()) is outdated


def test_a_refusal_after_the_last_test_is_told_with_it(administrator: Client) -> None:
    source = make_source(azure_settings())
    finish_test(source)
    (key,) = make_keys(source)
    late = timezone.now() + timedelta(seconds=1)
    refused = make_operation(key, "sign", "failed", error_code="AccessDenied", finished_at=late)
    for url in (page(source), LIST):
        html = administrator.get(url).content.decode()
        assert "Refused since the last test" in html or "healthy, then refused</span>" in html
        assert "The connection works" not in html
    refused.delete()
    html = administrator.get(page(source)).content.decode()
    assert "The connection works" in html
    assert "Refused since" not in html


def test_switching_a_source_leaves_what_was_tested_true(administrator: Client) -> None:
    source = make_source(azure_settings())
    finish_test(source)
    administrator.post(page(source, "deactivate/"), {"confirmed": "1"})
    assert "The connection works" in administrator.get(page(source)).content.decode()


def test_after_a_change_no_line_assigns_a_role_to_the_account_of_before(administrator: Client) -> None:
    source = make_source(azure_settings())
    finish_test(source, "keys/sign/action")
    assert OBJECT_ID in administrator.get(page(source)).content.decode()
    entries = edit_entries(source, status="active", key="new-secret")
    administrator.post(
        page(source, "change/"), entries | {"application_id": "99999999-2222-3333-4444-555555555555"}
    )
    html = administrator.get(page(source)).content.decode()
    assert OBJECT_ID not in html
    assert "missing then" in html


def test_the_list_costs_the_same_for_one_source_and_for_many(
    administrator: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_source(memory_settings("First"))
    administrator.get(LIST)
    # session, person, permissions, the count of the list, its rows
    with django_assert_num_queries(6) as queries:
        administrator.get(LIST)
    for number in range(60):
        add_key(make_source(memory_settings(f"Source {number:02}")), "seal-1")
    with django_assert_num_queries(len(queries)):
        html = administrator.get(LIST).content.decode()
    assert html.count("Make Inactive</button>") == 50
    assert administrator.get(f"{LIST}?p=2").content.decode().count("Make Inactive</button>") == 11


def test_the_page_costs_the_same_whatever_depends_on_the_source(
    administrator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    source = make_source()
    for number in range(20):
        add_key(source, f"seal-{number}")
    with django_assert_max_num_queries(16):
        administrator.get(page(source))


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("0", ["alpha", "Beta", "gamma"]),
        ("-0", ["gamma", "Beta", "alpha"]),
        ("-4", ["gamma", "alpha", "Beta"]),
    ],
)
def test_the_list_is_sorted_without_regard_to_case(
    administrator: Client, column: str, names: list[str]
) -> None:
    sources = {name: make_source(memory_settings(name)) for name in ("gamma", "Beta", "alpha")}
    for name, keys in (("gamma", 2), ("alpha", 1)):
        for number in range(keys):
            add_key(sources[name], f"seal-{number}")
    rows = administrator.get(f"{LIST}?o={column}").context["cl"].result_list
    assert [row.friendly_name for row in rows] == names


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=fabrikam", {"Fabrikam"}),
        ("q=CONTOSO", {"Contoso"}),
        ("q=nothing-like-it", set()),
        ("q=99999999-2222", {"Fabrikam"}),
        ("status=inactive", {"Fabrikam"}),
        ("key_ends=ended", {"Contoso"}),
        ("key_ends=week", {"Fabrikam"}),
        ("key_ends=assumed", {"Assumed"}),
        ("kind=azure_managed_hsm", {"Contoso", "Fabrikam", "Assumed"}),
    ],
)
def test_the_list_is_searched_and_filtered(administrator: Client, query: str, found: set[str]) -> None:
    today = timezone.localdate()
    make_source(azure_settings("Contoso", secret_expires_on=today - timedelta(days=1)))
    make_source(
        azure_settings(
            "Fabrikam",
            dns_name="fabrikam.managedhsm.azure.net",
            application_id="99999999-2222-3333-4444-555555555555",
            secret_expires_on=today,
        ),
        active=False,
    )
    make_source(azure_settings("Assumed", dns_name="third.managedhsm.azure.net", secret_expires_on=None))
    rows = administrator.get(f"{LIST}?{query}").context["cl"].result_list
    assert {row.friendly_name for row in rows} == found


def test_an_empty_list_says_what_to_do(sign_in: SignIn) -> None:
    assert ADD in sign_in("operator").get(LIST).content.decode()
    assert "An operator or an administrator creates them" in sign_in("auditor").get(LIST).content.decode()


# --- The page ----------------------------------------------------------------------------------


def test_the_page_shows_roots_keys_and_that_nothing_is_imported(administrator: Client) -> None:
    source = make_source(azure_settings(trusted_roots=certificate("Contoso Root")))
    add_key(source, "seal-1")
    html = administrator.get(page(source)).content.decode()
    assert "CN=Contoso Root, until 2 Jan 2040" in html
    assert "1 key depends on this crypto source" in html
    assert f"/keys/managedkey/?source={source.pk}" in html
    assert "neither imported into an Azure Managed HSM nor exported" in html


def test_names_from_people_are_escaped(administrator: Client) -> None:
    source = make_source(azure_settings("<script>alert(1)</script>"))
    for url in (LIST, page(source), page(source, "change/"), page(source, "delete/")):
        assert "<script>alert" not in administrator.get(url).content.decode()


def test_a_source_that_is_not_there_is_404(administrator: Client) -> None:
    gone = page(CryptoSource(friendly_name="x"))
    for part in ("", "change/", "delete/"):
        assert administrator.get(gone + part).status_code == 404


# --- Switching ----------------------------------------------------------------------------------


def test_one_click_switches_and_comes_back_to_the_same_list(administrator: Client) -> None:
    source = make_source()
    here = f"{LIST}?status=active"
    response = administrator.post(page(source, "deactivate/"), query_params={"next": here})
    assert response["Location"] == here
    assert "is Inactive now. Inactive stops at once" in told(response)[0]
    source.refresh_from_db()
    assert not source.is_active
    record = AuditRecord.objects.get(action="source.deactivated")
    assert (record.actor_name, record.subject_id) == ("administrator", str(source.pk))


@pytest.mark.parametrize("kind", OperationKind)
def test_what_inactive_stops_is_what_the_gate_stops(kind: OperationKind) -> None:
    words = {"sign": "signing", "update": "changing", "backup": "backing up", "recover": "recovering"}
    word = words.get(kind, f"{kind.removesuffix('e')}ing")
    stops, _, allowed = INACTIVE_STOPS.partition("Still allowed")
    assert (word in stops, word in allowed) == (kind.gated, not kind.gated)


def test_the_second_of_two_clicks_changes_nothing(administrator: Client) -> None:
    source = make_source()
    for words in ("is Inactive now", "was Inactive already"):
        assert words in told(administrator.post(page(source, "deactivate/")))[-1]
    assert AuditRecord.objects.filter(action="source.deactivated").count() == 1


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_a_switch_leads_nowhere_else(administrator: Client, wanted: str) -> None:
    source = make_source()
    response = administrator.post(page(source, "deactivate/"), query_params={"next": wanted})
    assert response["Location"] == page(source)


def test_an_unlicensed_source_stays_inactive(administrator: Client, install: InstallLicence) -> None:
    source = make_source(azure_settings(), active=False)
    install("source:something_else")
    response = administrator.post(page(source, "activate/"))
    assert "stays Inactive" in told(response)[0]
    source.refresh_from_db()
    assert not source.is_active


def test_switching_a_source_that_is_gone_is_told_on_the_list(administrator: Client) -> None:
    response = administrator.post(page(CryptoSource(friendly_name="x"), "activate/"))
    assert response["Location"] == LIST


def test_what_stops_is_listed_before_it_stops(administrator: Client) -> None:
    source = make_source()
    add_key(source, "seal-1")
    ManagedKey.objects.update(residency="resident")
    response = administrator.post(page(source, "deactivate/"), query_params={"next": f"{LIST}?p=1"})
    source.refresh_from_db()
    assert source.is_active
    asked = administrator.get(response["Location"]).content.decode()
    assert "1 key that can sign" in asked
    assert f"/keys/managedkey/?source={source.pk}" in asked
    assert f'href="{LIST}?p=1"' in asked
    confirmed = administrator.post(
        page(source, "deactivate/"), {"confirmed": "1"}, query_params={"next": f"{LIST}?p=1"}
    )
    assert confirmed["Location"] == f"{LIST}?p=1"
    source.refresh_from_db()
    assert not source.is_active


def test_what_depends_on_a_source_stands_on_its_page(sign_in: SignIn) -> None:
    source = make_source(azure_settings())
    add_key(source, "seal-1")
    ManagedKey.objects.update(residency="resident")
    html = sign_in("auditor").get(page(source)).content.decode()
    assert "1 key that can sign" in html
    assert "on 1 May 2027 when the Key ends" in html


# --- Cloning -------------------------------------------------------------------------------------


def test_a_clone_is_filled_in_with_everything_but_the_key(administrator: Client) -> None:
    source = make_source(azure_settings(backup_restore=True, trusted_roots=certificate("Contoso Root")))
    form = administrator.get(page(source, "clone/")).context["form"]
    shown = {name: form[name].value() for name in form.fields}
    same = ("kind", "dns_name", "token_endpoint", "application_id", "secret_expires_on", "backup_restore")
    for name in (*same, "trusted_roots", "sign_in_method", "keep_after_signing", "remove_after_seconds"):
        assert shown[name] == getattr(source, name), name
    assert (shown["friendly_name"], shown["status"], shown["key"]) == (
        "Copy of Contoso HSM",
        "inactive",
        None,
    )
    assert form.fields["key"].required
    assert "Not copied" in form.fields["key"].help_text


def test_a_clone_is_a_new_source_and_its_origin_is_on_record(administrator: Client) -> None:
    source = make_source(azure_settings())
    entries = new_entries(friendly_name="Copy of Contoso HSM", status="inactive")
    response = administrator.post(page(source, "clone/"), entries)
    copy = CryptoSource.objects.exclude(pk=source.pk).get()
    assert response["Location"] == page(copy)
    assert not copy.is_active
    assert copy.sealed_secret != source.sealed_secret
    details = AuditRecord.objects.get(action="source.created", subject_id=str(copy.pk)).details
    assert details["cloned_from"] == {"id": str(source.pk), "friendly_name": "Contoso HSM"}


def test_a_clone_goes_through_the_rules_of_every_source(administrator: Client) -> None:
    source = make_source(azure_settings())
    entries = new_entries(friendly_name="contoso hsm", key="", status="inactive")
    errors = errors_of(administrator, page(source, "clone/"), entries)
    assert errors.keys() == {"friendly_name", "key"}
    assert CryptoSource.objects.count() == 1


def test_an_assumed_end_date_is_assumed_in_the_clone_too(administrator: Client) -> None:
    source = make_source(azure_settings(secret_expires_on=None))
    form = administrator.get(page(source, "clone/")).context["form"]
    entries = new_entries(
        friendly_name="Copy",
        status="inactive",
        secret_expires_on=form["secret_expires_on"].value().isoformat(),
    )
    assert errors_of(administrator, page(source, "clone/"), entries) == {}
    assert CryptoSource.objects.get(friendly_name="Copy").secret_expiry_assumed


@pytest.mark.parametrize(
    ("taken", "suggested"),
    [
        ([], "Copy of Memory"),
        (["COPY OF  memory"], "Copy of Memory (2)"),
        (["Copy of Memory", "Copy of Memory (2)"], "Copy of Memory (3)"),
    ],
)
def test_the_suggested_name_is_free(taken: list[str], suggested: str) -> None:
    source = make_source()
    for name in taken:
        make_source(memory_settings(name))
    assert sources.suggested_name(source) == suggested


def test_a_suggested_name_fits() -> None:
    source = make_source(memory_settings("x" * 100))
    assert len(sources.suggested_name(source)) == 100
    make_source(memory_settings(sources.suggested_name(source)))
    assert len(sources.suggested_name(source)) == 100


# --- Deleting -----------------------------------------------------------------------------------


def test_a_source_without_keys_is_deleted(administrator: Client) -> None:
    source = make_source(azure_settings())
    assert "Delete crypto source" in administrator.get(page(source, "delete/")).content.decode()
    assert administrator.post(page(source, "delete/"))["Location"] == LIST
    assert not CryptoSource.objects.exists()
    assert AuditRecord.objects.get(action="source.deleted").actor_name == "administrator"


def test_a_source_with_keys_is_kept_and_says_how_many(administrator: Client) -> None:
    source = make_source()
    add_key(source, "one")
    add_key(source, "two")
    html = administrator.get(page(source, "delete/")).content.decode()
    assert "2 keys depend on it" in html
    assert "Delete crypto source" not in html
    assert "2 keys depend on it" in told(administrator.post(page(source, "delete/")))[0]
    assert CryptoSource.objects.exists()


# --- Test connection -------------------------------------------------------------------------------


def follow(client: Client, source: CryptoSource) -> dict[str, Any]:
    test = source.tests.first()
    assert test is not None
    answer: dict[str, Any] = client.get(page(source, f"test/{test.pk}/")).json()
    return answer


def test_a_test_is_followed_from_request_to_result(
    administrator: Client, sent: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    source = make_source()
    with django_capture_on_commit_callbacks(execute=True):
        response = administrator.post(page(source, "test/"))
    assert response["Location"] == f"{page(source)}#connection"
    html = administrator.get(page(source)).content.decode()
    assert f'data-live="{page(source, f"test/{sent[0]}/")}"' in html
    waiting = follow(administrator, source)
    assert (waiting["finished"], "Waiting for a worker" in waiting["html"]) == (False, True)
    connection_test.run_test(test_id=ConnectionTest.objects.get().pk, clock=timezone.now)
    done = follow(administrator, source)
    assert done["finished"]
    assert "The connection works" in done["html"]
    assert "Right: sign" in done["html"]
    assert "data-live=" not in administrator.get(page(source)).content.decode()


def test_a_failed_step_is_shown_with_code_and_remedy(administrator: Client, sent: list[str]) -> None:
    source = make_source()
    test = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now())
    step = {
        "name": "token",
        "label": "Sign in",
        "outcome": "failed",
        "detail": "The <b>secret</b> is wrong.",
        "code": "AADSTS7000215",
        "remedy": "Enter the secret's value.",
        "duration_ms": 20,
    }
    ConnectionTest.objects.filter(pk=test.pk).update(
        state="finished", healthy=False, finished_at=timezone.now(), steps=[step]
    )
    html = follow(administrator, source)["html"]
    for text in (
        "AADSTS7000215",
        "Enter the secret&#x27;s value.",
        "The &lt;b&gt;secret",
        "The test failed:",
    ):
        assert text in html


@pytest.mark.parametrize(
    ("changes", "finished", "words"),
    [
        ({"created_at": timedelta(seconds=-16)}, False, "No worker has taken up this test for 15 seconds"),
        ({"problem": "The message broker does not answer."}, False, "broker does not answer"),
    ],
)
def test_a_test_that_waits_says_why(
    administrator: Client, sent: list[str], changes: dict[str, Any], finished: bool, words: str
) -> None:
    source = make_source()
    test = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now())
    moved = {n: timezone.now() + v if isinstance(v, timedelta) else v for n, v in changes.items()}
    ConnectionTest.objects.filter(pk=test.pk).update(**moved)
    answer = follow(administrator, source)
    assert answer["finished"] is finished
    assert words in answer["html"]


def test_a_worker_that_stopped_is_told(administrator: Client, sent: list[str], settings: Settings) -> None:
    source = make_source()
    test = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now())
    long_ago = timezone.now() - timedelta(seconds=settings.CLAIM_SECONDS + 1)
    assert connection_test._claim(test.pk, long_ago)
    answer = follow(administrator, source)
    assert answer["finished"]
    assert "The worker stopped" in answer["html"]


def test_a_test_is_found_under_its_own_source_only(administrator: Client, sent: list[str]) -> None:
    test = connection_test.request_test(source=make_source(), actor=ACTOR, now=timezone.now())
    other = make_source(memory_settings("Other"))
    assert administrator.get(page(other, f"test/{test.pk}/")).status_code == 404


def test_an_unlicensed_source_is_not_tested(administrator: Client, install: InstallLicence) -> None:
    source = make_source(azure_settings())
    install("source:something_else")
    assert "cannot be tested" in told(administrator.post(page(source, "test/")))[0]
    assert not ConnectionTest.objects.exists()


def test_the_page_lives_without_a_broker(
    administrator: Client, django_capture_on_commit_callbacks: Any
) -> None:
    source = make_source()
    with django_capture_on_commit_callbacks(execute=True):
        assert administrator.post(page(source, "test/")).status_code == 302
    assert "broker does not answer" in follow(administrator, source)["html"]


def test_earlier_tests_are_listed(administrator: Client, sent: list[str]) -> None:
    source = make_source()
    for _ in range(3):
        test = connection_test.request_test(source=source, actor=ACTOR, now=timezone.now())
        connection_test.run_test(test_id=test.pk, clock=timezone.now)
    assert len(administrator.get(page(source)).context["earlier_tests"]) == 2


# --- The full cycle, and its key ----------------------------------------------------------------------


def test_a_full_cycle_is_asked_for_and_followed(administrator: Client, sent: list[str]) -> None:
    source = make_source()
    administrator.post(page(source, "test/"), {"full_cycle": "1"})
    test = source.tests.get()
    assert test.full_cycle
    connection_test.run_test(test_id=test.pk, clock=timezone.now)
    assert not follow(administrator, source)["finished"]
    while key := source.throw_away_keys.first():
        key_cycle.perform(key_id=key.pk, clock=timezone.now)
    done = follow(administrator, source)
    assert done["finished"]
    assert "a throw-away key went through its whole life" in done["html"]


def test_a_refused_cycle_says_why(administrator: Client) -> None:
    source = make_source(active=False)
    assert "Not possible now:" in administrator.get(page(source)).content.decode()
    response = administrator.post(page(source, "test/"), {"full_cycle": "1"})
    assert "Inactive" in told(response)[0]
    assert not ConnectionTest.objects.exists()


def test_a_key_that_is_left_is_shown_until_it_is_gone(administrator: Client, sent: list[str]) -> None:
    source = make_source()
    key = source.throw_away_keys.create(
        name="km-test-0001",
        step="remove",
        created_at=NOW,
        problem="It is not removed yet.",
        problem_code="AccessDenied",
        remedy="Grant the right to purge.",
        attempts=2,
    )
    html = administrator.get(page(source)).content.decode()
    for text in ("km-test-0001", "It is not removed yet.", "Grant the right to purge.", "It waits for you."):
        assert text in html
    url = page(source, f"test-key/{key.pk}/")
    assert url in html
    assert administrator.post(url)["Location"] == f"{page(source)}#connection"
    assert sent == []
    key_cycle.perform(key_id=key.pk, clock=timezone.now)
    assert "km-test-0001" not in administrator.get(page(source)).content.decode()
    assert "is gone" in told(administrator.post(url))[0]


def test_a_source_with_an_owed_removal_is_not_deleted(administrator: Client) -> None:
    source = make_source()
    source.throw_away_keys.create(name="km-test-0001", created_at=NOW, due_at=NOW)
    assert "throw-away key" in told(administrator.post(page(source, "delete/")))[0]
    assert throw_away.owed(source).exists()


# --- Rights -------------------------------------------------------------------------------------------


def test_missing_rights_come_with_their_repair(administrator: Client) -> None:
    source = make_source(azure_settings())
    finish_test(source, "keys/sign/action", "keys/write/action")
    html = administrator.get(page(source)).content.decode()
    assert "2 rights are missing:" in html
    for line in (
        "az keyvault role definition create --hsm-name contoso --role-definition @key-manager-role.json",
        f"--assignee-object-id {OBJECT_ID} --assignee-principal-type ServicePrincipal --scope /",
    ):
        assert line in html
    assert html.count("What to do:") == 1
    file = administrator.get(page(source, "key-manager-role.json"))
    assert 'filename="key-manager-role.json"' in file["Content-Disposition"]
    role = json.loads(file.content)
    assert role["dataActions"] == list(azure_rights.data_actions(rights.needed_rights(source)))
    assert f"--role &quot;{role['roleName']}&quot;" in html


def test_without_the_object_id_the_page_says_how_to_find_it(administrator: Client) -> None:
    source = make_source(azure_settings())
    finish_test(source, "keys/sign/action", object_id="")
    html = administrator.get(page(source)).content.decode()
    assert f"az ad sp show --id {source.application_id} --query id --output tsv" in html
    assert "--assignee-object-id OBJECT-ID" in html


def test_complete_rights_need_no_repair(administrator: Client) -> None:
    source = make_source(azure_settings())
    finish_test(source)
    html = administrator.get(page(source)).content.decode()
    assert "Every right that this source needs is there" in html
    assert "az keyvault" not in html


def test_a_test_that_ended_early_tells_nothing_about_rights(administrator: Client) -> None:
    source = make_source(azure_settings())
    now = timezone.now()
    source.tests.create(state="finished", healthy=False, created_at=now, sent_at=now, finished_at=now)
    assert "ended before it came to the rights" in administrator.get(page(source)).content.decode()


def test_before_a_test_the_needed_rights_are_named(administrator: Client) -> None:
    html = administrator.get(page(make_source(azure_settings()))).content.decode()
    assert "Not known yet: test the connection" in html
    assert "keys/sign/action" in html
