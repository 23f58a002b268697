"""The front page: who sees which part, what each part says, and where its links lead."""

import re
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from cryptosources.models import CryptoSource, ThrowAwayKey
from cryptosources.wording import ExpiryZone, zone_words
from keymanager.overview import Overview, overview
from keymanager.overview.faults import MOST, RECENT, Fault
from keymanager.overview.first_steps import FirstStep
from keys.models import KeyBatch
from licensing.models import Licence
from tests.keymanager.holdings import (
    day_ago,
    make_keys,
    make_operation,
    make_source,
    make_test,
    make_use,
    person,
)
from tests.ui.markup import parse, refused_by_csp

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("licence")]


@pytest.fixture
def operator() -> User:
    return person("operator")


@pytest.fixture
def read(operator: User) -> Callable[[], Overview]:
    """The operator's front page as the templates get it."""
    return lambda: overview(user=operator, now=timezone.now())


@pytest.fixture
def page(client: Client, operator: User) -> Callable[[], str]:
    client.force_login(operator)
    return lambda: str(client.get("/").content.decode())


def _titles(faults: list[Fault]) -> list[tuple[str, str]]:
    return [(fault.title, fault.source) for fault in faults]


# --- Who sees what --------------------------------------------------------------------------------


def test_a_person_without_a_role_sees_no_part_and_no_row(client: Client) -> None:
    make_source("Contoso", days=-3)
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    html = client.get("/").content.decode()
    assert "No rooms are open to you yet" in html
    assert "Contoso" not in html
    assert client.get("/overview/work/").status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("permission", "parts"),
    [
        ("cryptosources.view_cryptosource", {"sources", "secrets"}),
        ("keys.view_managedkey", {"keys", "signatures"}),
        ("keys.view_keyoperation", {"under-way"}),
        ("licensing.view_licence", {"licence"}),
    ],
)
def test_each_part_needs_its_own_permission(client: Client, permission: str, parts: set[str]) -> None:
    source = make_source("Contoso", days=-3)
    (key,) = make_keys(source, residency="faulted", fault="Its tags differ.")
    make_operation(make_keys(source, prefix="other")[0], "backup", "failed", error="No right to back up.")
    app, codename = permission.split(".")
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client.force_login(reader)
    html = client.get("/").content.decode()
    every = {"sources", "secrets", "keys", "signatures", "under-way", "licence"}
    assert {part for part in every if f'id="{part}"' in html} == parts
    assert ("The Key (client secret) ended" in html) is ("sources" in parts)
    assert (f"Key {key.name}" in html) is ("keys" in parts)
    assert ("No right to back up." in html) is ("under-way" in parts)


def test_the_page_keeps_to_the_policy_with_everything_on_it(page: Callable[[], str]) -> None:
    source = make_source("<b>Contoso</b>", days=3, healthy=False)
    for number in range(9):
        make_source(f"Source {number}", days=40 * number - 10)
    (key,) = make_keys(source)
    make_operation(key, "backup", "failed")
    make_operation(key, "sign", "running")
    make_use(key, {0: 3, 40: 5})
    html = page()
    assert refused_by_csp(html) == []
    assert "<b>Contoso</b>" not in html
    main = html.partition("<main")[2].partition("</main>")[0]
    identifiers = [element["id"] for element in parse(main).elements if element.get("id")]
    assert len(identifiers) == len(set(identifiers))


# --- Sources --------------------------------------------------------------------------------------


def test_sources_are_told_by_status_and_last_test(read: Callable[[], Overview]) -> None:
    make_source("Healthy")
    again = make_source("Healed", healthy=False)
    make_test(again, healthy=True, ago=timedelta(minutes=1))
    make_source("Broken", healthy=False)
    make_source("New", healthy=None)
    make_source("Off", active=False, healthy=False)
    states = read().sources
    assert states is not None
    assert (states.total, states.active) == (5, 4)
    counts = {share.part.label: share.part.count for share in states.shares}
    assert counts == {"Last test failed": 1, "Never tested": 1, "Healthy": 2, "Inactive": 1}


def test_a_source_changed_since_its_test_is_not_healthy(read: Callable[[], Overview]) -> None:
    source = make_source("Changed")
    CryptoSource.objects.filter(pk=source.pk).update(revision=source.revision + 1)
    failed = make_source("Failed, then changed", healthy=False)
    CryptoSource.objects.filter(pk=failed.pk).update(revision=failed.revision + 1)
    found = read()
    assert found.sources is not None
    assert [(share.part.label, share.part.kind, share.part.count) for share in found.sources.shares] == [
        ("Changed since the last test", "info", 2)
    ]
    assert found.faults.total == 0


@pytest.mark.parametrize(
    ("code", "refused"),
    [("AADSTS7000215", True), ("AccessDenied", True), ("Unauthorized", True), ("TIMEOUT", False)],
)
def test_a_source_that_was_refused_since_its_test_is_not_healthy(
    read: Callable[[], Overview], code: str, refused: bool
) -> None:
    source = make_source("Contoso")
    (key,) = make_keys(source)
    make_operation(key, "backup", "failed", error_code=code)
    make_source("Fabrikam")
    found = read().sources
    assert found is not None
    counts = {share.part.label: share.part.count for share in found.shares}
    assert counts == ({"Refused since the last test": 1, "Healthy": 1} if refused else {"Healthy": 2})
    make_test(source, healthy=True, ago=timedelta(seconds=10))
    found = read().sources
    assert found is not None
    assert {share.part.label: share.part.count for share in found.shares} == {"Healthy": 2}


def test_every_count_leads_to_a_list_of_just_so_many(client: Client, read: Callable[[], Overview]) -> None:
    for number, days in enumerate([-40, -1, 0, 7, 8, 30, 31, 90, 91, 700]):
        make_source(
            f"Source {number}", days=days, healthy=[True, False, None][number % 3], active=number != 4
        )
    source = make_source("No Key", days=None)
    make_keys(source, 3)
    make_keys(source, 2, prefix="gone", residency="deleted")
    (key,) = make_keys(source, prefix="old", expires_at=timezone.now() - timedelta(days=1))
    make_keys(source, prefix="past", expires_at=timezone.now(), residency="purged")
    make_keys(source, 2, prefix="soon", expires_at=timezone.now() + timedelta(days=9))
    held = {"claim_token": uuid4(), "claim_expires_at": timezone.now()}
    make_operation(key, "sign", "running", **held)
    for state, error in (("running", ""), ("pending", ""), ("pending", "It did not answer.")):
        make_operation(key, "sign", state, error=error)
    found = read()
    assert found.sources
    assert found.secrets
    assert found.keys
    assert found.work
    counted = {share.part.url: share.part.count for share in [*found.sources.shares, *found.keys.shares]}
    counted |= {zone.url: zone.count for zone in found.secrets.zones}
    counted |= {part.url: part.count for part in found.keys.ends}
    counted |= {count.url: count.count for count in found.work.counts}
    client.force_login(User.objects.get())
    listed = {}
    for url in counted:
        response: Any = client.get(url)
        assert response.status_code == HTTPStatus.OK, url
        listed[url] = response.context["cl"].result_count
    assert listed == counted
    assert len(counted) == 4 + 5 + 2 + 2 + 3


# --- Secrets --------------------------------------------------------------------------------------


def test_each_secret_has_a_row_the_nearest_end_first(
    read: Callable[[], Overview], page: Callable[[], str]
) -> None:
    for name, days in (("Later", 400), ("Ended", -12), ("Today", 0), ("Month", 21), ("Quarter", 75)):
        make_source(name, days=days)
    make_source("No Key", days=None)
    secrets = read().secrets
    assert secrets is not None
    assert [(row.source.name, row.zone, row.badge.text) for row in secrets.rows] == [
        ("Ended", "ended", "ended 12 days ago"),
        ("Today", "week", "ends today"),
        ("Month", "month", "21 days left"),
        ("Quarter", "quarter", "75 days left"),
        ("Later", "later", "400 days left"),
    ]
    assert secrets.columns == []
    assert [row.x for row in secrets.rows] == sorted(row.x for row in secrets.rows)
    html = page()
    for row in secrets.rows:
        assert f'<a href="{row.url}">{row.source.name}</a>' in html
    assert html.count('class="mark ') == 2 * 5  # a sign in each row, and one for each zone above


def test_of_many_secrets_the_most_urgent_have_rows_and_the_others_are_counted(
    read: Callable[[], Overview], page: Callable[[], str]
) -> None:
    for number in range(60):
        make_source(f"Source {number:02}", days=number * 10 - 5)
    secrets = read().secrets
    assert secrets is not None
    assert [row.source.name for row in secrets.rows] == [f"Source {number:02}" for number in range(6)]
    assert sum(zone.count for zone in secrets.others) == 54
    assert sum(column.count for column in secrets.columns) == 60
    assert f"{zone_words(ExpiryZone.LATER)} <strong>50</strong>" in page()
    assert "And 54 more:" in page()


def test_an_assumed_end_and_an_inactive_source_are_told(page: Callable[[], str]) -> None:
    source = make_source("Contoso", days=50, active=False)
    source.secret_expiry_assumed = True
    source.save()
    assert re.search(r"\d{4}, assumed, Inactive</span>", page())


# --- Operations under way -------------------------------------------------------------------------


def _work(client: Client) -> Any:
    response = client.get("/overview/work/")
    assert response.status_code == HTTPStatus.OK
    return response.json()


def test_work_is_told_with_its_progress(client: Client, operator: User, read: Callable[[], Overview]) -> None:
    (key, other) = make_keys(make_source(), 2)
    steps = ["create", "back_up", "verify_backup"]
    held = {"claim_token": uuid4(), "claim_expires_at": timezone.now()}
    make_operation(key, "generate", "running", steps=steps, step="back_up", **held)
    make_operation(other, "backup", "pending", steps=steps[1:], step="back_up", error="It did not answer.")
    work = read().work
    assert work is not None
    assert [(row.title, row.progress, row.badge.text) for row in work.rows] == [
        ("Generate seal-0", 50, "running"),
        ("Back up seal-1", 0, "paused"),
    ]
    client.force_login(operator)
    answer = _work(client)
    assert answer["finished"] is False
    assert 'value="50"' in answer["html"]
    assert "Take a backup and seal it, step 2 of 3" in answer["html"]
    assert "It did not answer." in answer["html"]


def test_of_much_work_the_first_is_shown_and_the_rest_counted(read: Callable[[], Overview]) -> None:
    for key in make_keys(make_source(), 12):
        make_operation(key, "backup", "pending")
    work = read().work
    assert work is not None
    assert (len(work.rows), work.more) == (5, 7)
    assert [(count.words, count.count) for count in work.counts] == [("waiting", 12)]


def test_keys_asked_for_together_share_a_row(read: Callable[[], Overview]) -> None:
    source = make_source()
    keys = make_keys(source, 20)
    batch = KeyBatch.objects.create(
        id=keys[0].pk, source=source, algorithm="EC-P-256", first_name="seal-0", last_name="seal-19",
        count=20, actor_name="ada", requested_at=timezone.now(),
    )  # fmt: skip
    for number, key in enumerate(keys):
        state = "succeeded" if number < 15 else "pending"
        make_operation(key, "generate", state, batch=batch)
    make_operation(keys[0], "backup", "pending")
    work = read().work
    assert work is not None
    assert [(row.title, row.progress, row.step) for row in work.rows] == [
        ("Generate 20 keys, seal-0 to seal-19", 75, "15 of 20 ended"),
        ("Back up seal-0", 0, "Take a backup and seal it, step 1 of 2"),
    ]
    assert work.more == 0
    assert work.rows[0].url == f"/keys/keyoperation/batch/{batch.pk}/"


def test_a_failure_is_told_once(read: Callable[[], Overview]) -> None:
    """One from before the page was opened waits for a person already; the work tells what comes after."""
    (key,) = make_keys(make_source())
    make_operation(key, "backup", "failed")
    found = read()
    assert found.work is not None
    assert (found.work.counts, found.work.failed) == ([], [])
    assert [fault.title for fault in found.faults.rows] == ["Back up seal-0 failed"]


@pytest.mark.parametrize(
    ("opened", "ended", "told"),
    [(5, 4, True), (5, 6, False), (999, 100, True), (999, 130, False), (None, 100, True)],
)
def test_a_failure_stays_for_a_moment_beside_the_work_that_was_watched(
    client: Client, operator: User, opened: int | None, ended: int, told: bool
) -> None:
    now = timezone.now()
    (key,) = make_keys(make_source())
    make_operation(key, "backup", "failed", finished_at=now - timedelta(seconds=ended))
    client.force_login(operator)
    since = "" if opened is None else (now - timedelta(seconds=opened)).isoformat()
    html = client.get("/overview/work/", {"since": since}).json()["html"]
    assert ("failed just now" in html) is told


@pytest.mark.parametrize("since", ["x", "2026-11-23", "2026-11-23T10:00:00", "9" * 400])
def test_a_time_that_is_none_does_no_harm(client: Client, operator: User, since: str) -> None:
    client.force_login(operator)
    assert client.get("/overview/work/", {"since": since}).status_code == HTTPStatus.OK


def test_the_page_asks_for_what_fails_after_it_was_opened(page: Callable[[], str]) -> None:
    assert re.search(r'data-live="/overview/work/\?since=2\d{3}-[^"]+%2B00%3A00"', page())


# --- What waits for a person ----------------------------------------------------------------------


def test_nothing_waits_when_all_is_well(read: Callable[[], Overview], page: Callable[[], str]) -> None:
    (key,) = make_keys(make_source(days=0))
    make_use(key, {0: 1})
    assert read().faults.total == 0
    assert "Nothing waits for a person." in page()


def test_faults_come_in_the_order_of_their_urgency(
    read: Callable[[], Overview], page: Callable[[], str]
) -> None:
    broken = make_source("Broken", healthy=False)
    make_source("Ended", days=-2, healthy=False)
    make_source("Retired", days=-1, active=False)
    (failing,) = make_keys(broken)
    (faulted,) = make_keys(broken, prefix="lost", residency="faulted", fault="Its tags differ.")
    make_operation(failing, "backup", "failed", error="No right.", remedy="Grant it.")
    make_operation(faulted, "backup", "failed")  # told by its key
    ThrowAwayKey.objects.create(source=broken, name="test-1", created_at=timezone.now(), problem="Refused.")
    found = read().faults
    assert _titles(found.rows) == [
        ("The Key (client secret) ended", "Ended"),
        ("The Key (client secret) ended", "Retired"),
        ("The last connection test failed", "Broken"),
        ("Key lost-0", "Broken"),
        ("Throw-away key test-1", "Broken"),
        ("Back up seal-0 failed", "Broken"),
    ]
    assert (found.total, found.more) == (6, [])
    test = found.rows[2]
    assert (test.what, test.remedy) == (
        "Sign in: Entra refused the client secret.",
        "Copy the secret's value, not its id.",
    )
    html = page()
    for fault in found.rows:
        assert f'href="{fault.url}"' in html
    for text in ("Its tags differ.", "No right.", "Grant it."):
        assert text in html


def test_without_a_licence_in_force_that_comes_first_where_there_is_something_to_stop(
    read: Callable[[], Overview], page: Callable[[], str]
) -> None:
    Licence.objects.all().delete()
    assert read().faults.total == 0
    make_source(days=-2)
    first, second = read().faults.rows
    assert (first.title, first.what, first.since) == (
        "No licence is in force",
        "No licence is installed.",
        None,
    )
    assert (first.act, first.url) == ("Look at the licence", "/licensing/licence/")
    assert second.title == "The Key (client secret) ended"
    (theirs, _ended) = overview(user=person("administrator"), now=timezone.now()).faults.rows
    assert (theirs.act, theirs.url) == ("Install a licence", "/licensing/licence/add/")
    assert "No licence is in force</h3>" in page()


def test_a_licence_that_ended_is_told_with_its_end(operator: User) -> None:
    make_source()
    later = timezone.now() + timedelta(days=800)
    (fault,) = overview(user=operator, now=later).faults.rows[:1]
    assert fault.title == "No licence is in force"
    assert fault.remedy == "Until one is, no key can be used and no source tested, changed or activated."
    assert fault.since is not None
    assert fault.since < later


def test_the_next_thing_to_do_is_what_the_reader_may_do(read: Callable[[], Overview]) -> None:
    source = make_source("Ended", days=-2)
    (act,) = read().faults.rows
    assert (act.act, act.url) == ("Enter a new Key", f"/cryptosources/cryptosource/{source.pk}/change/")
    (look,) = overview(user=person("auditor"), now=timezone.now()).faults.rows
    assert (look.act, look.url) == ("Look at the source", f"/cryptosources/cryptosource/{source.pk}/")


def test_many_faults_are_ranked_and_the_rest_counted_with_their_lists(
    client: Client, operator: User, read: Callable[[], Overview]
) -> None:
    for number in range(3):
        make_source(f"Ended {number}", days=-1)
    source = make_source("Contoso", healthy=False)
    make_keys(source, 12, residency="faulted", fault="Its tags differ.")
    for number, key in enumerate(make_keys(source, 24, prefix="busy")):
        make_operation(key, "sign", "failed", error=f"Error {number}")
    found = read().faults
    assert (found.total, found.capped) == (40, False)
    assert [fault.title for fault in found.rows] == [
        *["The Key (client secret) ended"] * 3,
        "The last connection test failed",
        found.rows[4].title,
    ]
    assert [(count.count, count.words) for count in found.more] == [
        (11, "faulted keys"),
        (24, "failed operations"),
    ]
    client.force_login(operator)
    assert [client.get(count.url).status_code for count in found.more] == [HTTPStatus.OK] * 2


def test_operations_that_failed_of_one_cause_share_a_row(
    client: Client, operator: User, read: Callable[[], Overview]
) -> None:
    source = make_source()
    for key in make_keys(source, 24):
        make_operation(key, "sign", "failed", error="The HSM did not answer.", error_code="timeout")
    make_operation(
        make_keys(source, prefix="x")[0], "sign", "failed", error="No right.", error_code="Forbidden"
    )
    found = read().faults
    assert found.total == 25
    alone, together = sorted(found.rows, key=lambda fault: fault.covers)
    assert (alone.title, together.title) == ("Sign with x-0 failed", "Sign: 24 operations failed")
    client.force_login(operator)
    response: Any = client.get(together.url)
    assert response.context["cl"].result_count == 25


def test_more_than_can_be_counted_is_told_as_such(read: Callable[[], Overview]) -> None:
    make_keys(make_source(), MOST + 50, residency="faulted", fault="Its tags differ.")
    found = read().faults
    assert (found.total, found.capped) == (MOST, True)


def _failures(read: Callable[[], Overview]) -> list[str]:
    return [fault.title for fault in read().faults.rows]


def test_a_failure_that_was_made_good_waits_for_nobody(read: Callable[[], Overview]) -> None:
    (key,) = make_keys(make_source())
    failed = make_operation(key, "backup", "failed")
    make_operation(key, "rotate", "succeeded", requested_at=timezone.now())
    make_operation(key, "backup", "succeeded", requested_at=failed.requested_at - timedelta(hours=1))
    assert _failures(read) == ["Back up seal-0 failed"]
    make_operation(key, "backup", "succeeded", requested_at=timezone.now())
    assert _failures(read) == []


def test_a_key_generated_anew_makes_its_failed_generation_good(read: Callable[[], Overview]) -> None:
    source = make_source()
    (failed,) = make_keys(source, residency="not_created")
    make_operation(failed, "generate", "failed")
    assert _failures(read) == ["Generate seal-0 failed"]
    make_keys(make_source("Other"))
    assert _failures(read) == ["Generate seal-0 failed"]
    make_keys(source, prefix="SEAL")
    assert _failures(read) == []


def test_old_failures_and_those_of_keys_that_are_gone_are_history(read: Callable[[], Overview]) -> None:
    source = make_source()
    (key,) = make_keys(source)
    make_operation(key, "backup", "failed", finished_at=timezone.now() - RECENT - timedelta(minutes=1))
    (gone,) = make_keys(source, prefix="gone", residency="purged")
    make_operation(gone, "backup", "failed")
    assert _failures(read) == []


# --- Signatures -----------------------------------------------------------------------------------


def test_signatures_of_all_keys_are_counted_by_day_and_compared(
    read: Callable[[], Overview], page: Callable[[], str]
) -> None:
    one, two = make_keys(make_source(), 2)
    make_use(one, {0: 2, 29: 10, 30: 7, 59: 1, 60: 1000})
    make_use(two, {0: 1, 5: 1187})
    found = read().signatures
    assert found is not None
    assert (len(found.days), found.days[0], found.days[-1]) == (30, (day_ago(29), 10), (day_ago(0), 3))
    assert (found.total, found.today, found.before) == (1200, 3, 8)
    assert found.comparison == "14,900 % more than"
    html = page()
    assert "<strong>1,200</strong>" in html
    assert "3 today" in html
    assert len(parse(html).with_class("bar-count")) == 3
    assert len(parse(html).with_class("bar-today")) == 1


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [(5, 0, ""), (5, 10, "50 % fewer than"), (10, 10, "about as many as"), (0, 4, "100 % fewer than")],
)
def test_the_comparison_in_words(read: Callable[[], Overview], now: int, before: int, words: str) -> None:
    (key,) = make_keys(make_source())
    make_use(key, {0: now, 40: before})
    found = read().signatures
    assert found is not None
    assert found.comparison == words


def test_no_signature_yet_is_said_calmly(client: Client) -> None:
    client.force_login(person("auditor"))
    html = client.get("/").content.decode()
    assert "No signature in the last 30 days." in html
    assert "bars-plot" not in html


# --- Licence --------------------------------------------------------------------------------------


def test_the_licence_says_whose_it_is_and_how_long_it_lasts(
    read: Callable[[], Overview], page: Callable[[], str]
) -> None:
    card = read().licence
    assert card is not None
    assert card.term is not None
    assert (card.customer, card.problem, card.term.badge.kind, card.term.left) == ("Demo", "", "ok", 100)
    assert card.source_types == [("Azure Managed HSM", True)]
    assert "Licence and its history" in page()


def test_a_licence_in_its_last_hours_is_told_as_on_its_own_page(operator: User) -> None:
    ends = Licence.objects.get().not_after
    card = overview(user=operator, now=ends - timedelta(hours=23)).licence
    assert card is not None
    assert card.term is not None
    assert (card.term.badge.kind, card.term.badge.text) == ("bad", "ends within a day")


def test_without_a_licence_the_card_says_what_to_do(client: Client) -> None:
    Licence.objects.all().delete()
    make_use(make_keys(make_source())[0], {0: 1})
    client.force_login(person("operator"))
    html = client.get("/").content.decode()
    assert "No licence is installed." in html
    assert "An administrator of this console installs one." in html
    assert "Azure Managed HSM, not enabled" in html
    client.force_login(person("administrator"))
    assert 'href="/licensing/licence/add/">Install a licence' in client.get("/").content.decode()


# --- First steps ----------------------------------------------------------------------------------


def _next(steps: list[FirstStep]) -> tuple[str, str]:
    (step,) = [step for step in steps if step.is_next]
    return step.title, step.url


def test_the_checklist_leads_to_the_first_signature_and_goes(
    read: Callable[[], Overview], page: Callable[[], str]
) -> None:
    assert _next(read().first_steps) == ("Create a crypto source", "/cryptosources/cryptosource/add/")
    source = make_source(active=False, healthy=None)
    at = f"/cryptosources/cryptosource/{source.pk}/"
    assert _next(read().first_steps) == ("Test its connection", f"{at}#connection")
    make_test(source, healthy=False)
    assert _next(read().first_steps) == ("Test its connection", f"{at}#connection")
    make_test(source, healthy=True, ago=timedelta())
    assert _next(read().first_steps) == ("Make it Active", "")  # an operator may not
    assert "An administrator of this console does this." in page()
    source.status = "active"
    source.save()
    assert _next(read().first_steps) == ("Generate a key", "/keys/managedkey/add/")
    (key,) = make_keys(source)
    assert _next(read().first_steps) == ("Sign a file or a digest", f"/keys/managedkey/{key.pk}/sign/")
    assert [step.done for step in read().first_steps] == [True, True, True, True, False]
    make_use(key, {0: 1})
    assert read().first_steps == []
    assert "Your way to the first signature" not in page()


def test_an_administrator_is_led_to_the_licence_first() -> None:
    Licence.objects.all().delete()
    steps = overview(user=person("administrator"), now=timezone.now()).first_steps
    assert _next(steps) == ("Install the licence", "/licensing/licence/add/")


def test_an_administrator_is_led_to_the_switch() -> None:
    source = make_source(active=False)
    steps = overview(user=person("administrator"), now=timezone.now()).first_steps
    assert _next(steps) == ("Make it Active", f"/cryptosources/cryptosource/{source.pk}/")


def test_each_step_opens_for_its_reader(client: Client, operator: User) -> None:
    client.force_login(operator)
    source = make_source(active=True)
    for prepare in (lambda: None, lambda: make_keys(source)):
        prepare()
        _title, url = _next(overview(user=operator, now=timezone.now()).first_steps)
        assert client.get(url).status_code == HTTPStatus.OK


@pytest.mark.parametrize("role", ["auditor", "ops"])
def test_those_who_may_do_nothing_get_no_checklist(role: str) -> None:
    assert overview(user=person(role), now=timezone.now()).first_steps == []


def test_a_new_installation_has_no_empty_pictures_beside_its_checklist(page: Callable[[], str]) -> None:
    html = page()
    assert "Your way to the first signature" in html
    for part in ("secrets", "signatures", "sources", "keys"):
        assert f'id="{part}"' not in html
    assert "Nothing waits for a person." not in html
