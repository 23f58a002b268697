"""Signing in: every way leaves a record, nothing typed is kept, and guessing is stopped."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from audit.actors import Actor
from audit.models import AuditRecord
from keymanager.sign_in import client_address, locked_until, unlock

PASSWORD = "a long and good password"
ELSEWHERE = "203.0.113.9"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def three_failures(settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 3


@pytest.fixture
def ada() -> User:
    person = User.objects.create_user("ada", password=PASSWORD, is_staff=True)
    person.groups.set(Group.objects.filter(name="operator"))
    return person


def enter(client: Client, name: str = "ada", password: str = "wrong", **headers: Any) -> Any:
    return client.post("/login/", {"username": name, "password": password, "next": "/"}, **headers)


def recorded() -> list[tuple[str, str, str, str]]:
    rows = AuditRecord.objects.filter(action__startswith="person.").order_by("pk")
    return [(row.action, row.outcome, row.actor_name, row.subject_name) for row in rows]


# --- The record -----------------------------------------------------------------------------------


def test_coming_and_going_are_recorded_with_the_address(ada: User) -> None:
    client = Client()
    assert enter(client, password=PASSWORD).status_code == 302
    client.post(reverse("admin:logout"))
    assert recorded() == [
        ("person.sign_in", "succeeded", "ada", "ada"),
        ("person.sign_out", "succeeded", "ada", "ada"),
    ]
    assert AuditRecord.objects.filter(subject_id=str(ada.pk), details={"address": "127.0.0.1"}).count() == 2


def test_a_failed_sign_in_names_the_account_and_not_what_was_typed(ada: User) -> None:
    enter(Client(), password="my real password, mistyped")
    assert recorded() == [("person.sign_in", "failed", "sign-in", "ada")]
    assert "mistyped" not in everything_stored()


def test_what_is_typed_as_a_user_name_is_stored_nowhere() -> None:
    typed = "my password in the wrong field"
    for _ in range(4):
        enter(Client(), name=typed, password="x")
    failed = ("person.sign_in", "failed", "sign-in", "unknown account")
    assert recorded() == [failed, ("person.lock", "succeeded", "sign-in", "unknown account")]
    assert AccessAttempt.objects.exists()
    assert typed not in everything_stored()


def test_a_switched_off_account_is_told_apart_in_the_record_only(ada: User) -> None:
    User.objects.update(is_active=False)
    refused = enter(Client(), password=PASSWORD)
    unknown = enter(Client(), name="nobody", password=PASSWORD)
    told = [answer.context["form"].non_field_errors() for answer in (refused, unknown)]
    assert told[0] == told[1]
    assert AuditRecord.objects.get(subject_name="ada").details["account"] == "switched off"


def test_strangers_fill_no_record_by_trying_ever_new_names(ada: User) -> None:
    for number in range(20):
        enter(Client(), name=f"nobody {number}")
    first = AuditRecord.objects.get(action="person.sign_in")
    assert first.details["repeats"] == "not recorded for one minute"
    enter(Client(), name="somebody", REMOTE_ADDR=ELSEWHERE)
    enter(Client())
    assert recorded()[1:] == [
        ("person.sign_in", "failed", "sign-in", "unknown account"),
        ("person.sign_in", "failed", "sign-in", "ada"),
    ]


def test_strangers_are_recorded_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    for seconds in (0, 59, 60):
        monkeypatch.setattr("keymanager.sign_in.timezone.now", lambda at=now + timedelta(seconds=seconds): at)
        enter(Client(), name=f"nobody {seconds}")
    times = AuditRecord.objects.order_by("pk").values_list("at", flat=True)
    assert list(times) == [now, now + timedelta(minutes=1)]


def test_a_network_of_strangers_is_one_stranger() -> None:
    for number in range(5):
        enter(Client(), name=f"nobody {number}", REMOTE_ADDR=f"2001:db8::{number + 1}")
    assert AuditRecord.objects.get().details["address"] == "2001:db8::1"


def everything_stored() -> str:
    """Every value of the two tables that a sign-in writes to."""
    with connection.cursor() as cursor:
        found: list[object] = []
        for table in ("axes_accessattempt", "audit_auditrecord"):
            cursor.execute(f"SELECT * FROM {table}")
            found.extend(cursor.fetchall())
    return repr(found)


# --- The lock -------------------------------------------------------------------------------------


def test_repeated_failures_lock_the_name_at_that_address_even_for_the_right_password(ada: User) -> None:
    client = Client()
    answers = [enter(client) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    locked = enter(client, password=PASSWORD)
    assert locked.status_code == 429
    page = locked.content.decode()
    assert "data-error-summary" in page
    assert "15 minutes" in page
    assert recorded().count(("person.lock", "succeeded", "sign-in", "ada")) == 1
    assert len(recorded()) == 4
    assert enter(Client(), password=PASSWORD, REMOTE_ADDR=ELSEWHERE).status_code == 302


def test_an_unknown_name_is_locked_in_the_same_words(ada: User) -> None:
    pages = []
    for name in ("ada", "nobody"):
        answers = [enter(Client(), name=name) for _ in range(3)]
        pages.append(answers[-1].content)
    assert pages[0] == pages[1]


def test_another_name_from_the_same_address_is_not_locked(ada: User) -> None:
    for _ in range(3):
        enter(Client(), name="nobody")
    assert enter(Client(), password=PASSWORD).status_code == 302


def test_a_success_forgets_the_failures(ada: User) -> None:
    for password in ("wrong", "wrong", PASSWORD, "wrong", "wrong"):
        answer = enter(Client(), password=password)
    assert answer.status_code == 200


def test_the_lock_ends_by_itself_and_trying_does_not_prolong_it(ada: User, settings: Settings) -> None:
    for _ in range(5):
        enter(Client())
    ends = locked_until(person=ada, now=timezone.now())
    assert ends is not None
    assert timedelta(minutes=14) < ends - timezone.now() <= timedelta(minutes=15)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))
    assert locked_until(person=ada, now=timezone.now()) is None
    assert enter(Client(), password=PASSWORD).status_code == 302


def test_changing_the_browser_does_not_help(ada: User) -> None:
    for number in range(3):
        answer = enter(Client(), HTTP_USER_AGENT=f"browser {number}")
    assert answer.status_code == 429


def test_an_ipv6_network_is_one_address_and_the_record_keeps_the_full_one(ada: User) -> None:
    answers = [enter(Client(), REMOTE_ADDR=f"2001:db8::{number}") for number in range(1, 4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert AuditRecord.objects.filter(details__address="2001:db8::3", action="person.lock").exists()
    assert locked_until(person=ada, now=timezone.now()) is not None
    assert enter(Client(), password=PASSWORD, REMOTE_ADDR="2001:db8:0:1::1").status_code == 302


def test_the_port_that_a_proxy_adds_is_no_other_address(ada: User, settings: Settings) -> None:
    settings.BEHIND_TLS_PROXY = True
    answers = [enter(Client(), HTTP_X_FORWARDED_FOR=f"{ELSEWHERE}:{5000 + number}") for number in range(3)]
    assert answers[-1].status_code == 429


def test_few_failures_at_many_addresses_are_no_lock(ada: User) -> None:
    for number in range(6):
        enter(Client(), REMOTE_ADDR=f"203.0.113.{number}")
    assert locked_until(person=ada, now=timezone.now()) is None


def test_unlocking_is_recorded_once(ada: User) -> None:
    for _ in range(3):
        enter(Client())
    actor = Actor.command("tests")
    assert unlock(person=ada, actor=actor, now=timezone.now())
    assert not unlock(person=ada, actor=actor, now=timezone.now())
    assert recorded()[-1] == ("person.unlock", "succeeded", "tests", "ada")
    assert enter(Client(), password=PASSWORD).status_code == 302


def test_the_command_unlocks(ada: User) -> None:
    for _ in range(3):
        enter(Client())
    said = StringIO()
    call_command("unlock_person", "ada", stdout=said)
    call_command("unlock_person", "ada", stdout=said)
    assert said.getvalue() == "ada can sign in again.\nada has no failed sign-ins.\n"
    assert recorded()[-1] == ("person.unlock", "succeeded", "unlock_person", "ada")
    with pytest.raises(CommandError, match="no person"):
        call_command("unlock_person", "nobody")


# --- The address ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "remote", "address"),
    [
        (False, ELSEWHERE, "127.0.0.1", "127.0.0.1"),
        (True, f"198.51.100.1, {ELSEWHERE}", "127.0.0.1", ELSEWHERE),
        (True, "", "127.0.0.1", "127.0.0.1"),
        (True, "unknown", "127.0.0.1", "127.0.0.1"),
        (True, "2001:DB8::1", "127.0.0.1", "2001:db8::1"),
        (True, f"{ELSEWHERE}:443", "127.0.0.1", ELSEWHERE),
        (True, "[2001:db8::1]:443", "127.0.0.1", "2001:db8::1"),
        (True, "[2001:db8::1]", "127.0.0.1", "2001:db8::1"),
        (True, f"::ffff:{ELSEWHERE}", "127.0.0.1", ELSEWHERE),
        (False, "", "", None),
    ],
)
def test_the_address_is_the_proxys_word_only_behind_one(
    settings: Settings, behind_proxy: bool, forwarded: str, remote: str, address: str | None
) -> None:
    settings.BEHIND_TLS_PROXY = behind_proxy
    request = RequestFactory().get("/", HTTP_X_FORWARDED_FOR=forwarded, REMOTE_ADDR=remote)
    assert client_address(request) == address
