"""People: roles in words, the last administrator stays, and every change is recorded."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group, User
from django.db import connection, connections
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from audit.models import AuditRecord
from keymanager.people import LAST_ADMINISTRATOR
from keymanager.roles import PURPOSES, RIGHTS, ROLES, rights_by_role, sync_roles
from keys.lifecycle import OperationKind

LIST = "/auth/user/"
PASSWORD = "a long and good password"

pytestmark = pytest.mark.django_db


def make(name: str, *roles: str, **changes: Any) -> User:
    person = User.objects.create_user(name, password=PASSWORD, is_staff=True, **changes)
    person.groups.set(Group.objects.filter(name__in=roles))
    return person


@pytest.fixture
def ada() -> User:
    return make("ada", "administrator")


@pytest.fixture
def client(ada: User) -> Client:
    client = Client()
    client.force_login(ada)
    return client


def change(client: Client, person: User, *roles: str, active: bool = True) -> Any:
    groups = list(Group.objects.filter(name__in=roles).values_list("pk", flat=True))
    values = {"username": person.username, "groups": groups, **({"is_active": "on"} if active else {})}
    return client.post(f"/auth/user/{person.pk}/change/", values)


# --- Roles in words -------------------------------------------------------------------------------


def test_every_right_and_every_role_has_words() -> None:
    assert set(RIGHTS) == set().union(*ROLES.values())
    assert set(PURPOSES) == set(ROLES)


def test_the_table_of_rights_says_what_the_roles_hold() -> None:
    held = {right.words: dict(zip(ROLES, right.held, strict=True)) for right in rights_by_role()}
    assert held["Activate and deactivate crypto sources"] == {
        "operator": False,
        "administrator": True,
        "auditor": False,
        "ops": False,
    }
    words = RIGHTS["keys.operate_managedkey"]
    told = {"update": "change validity", "backup": "back up"}
    assert [kind for kind in OperationKind if told.get(kind, kind.value) not in words.lower()] == []
    assert held["Search and export the audit record"]["auditor"]


def test_pages_explain_the_roles(client: Client) -> None:
    listed = client.get(LIST).content.decode()
    form = client.get("/auth/user/add/").content.decode()
    assert "What each role may do" in listed
    assert "Activate and deactivate crypto sources" in listed
    assert all(purpose in form for purpose in PURPOSES.values())


# --- Nobody locks everybody out -------------------------------------------------------------------


def test_the_last_administrator_keeps_the_role(client: Client, ada: User) -> None:
    make("ben", "administrator", is_active=False)
    answer = change(client, ada, "operator")
    assert answer.context["adminform"].form.errors["groups"] == [LAST_ADMINISTRATOR]
    assert ada.groups.filter(name="administrator").exists()


@pytest.mark.parametrize("missing", [{"is_staff": False}, {"password": "!"}, {"password": ""}], ids=str)
def test_an_administrator_who_cannot_enter_does_not_count(
    client: Client, ada: User, missing: dict[str, Any]
) -> None:
    ben = make("ben", "administrator")
    User.objects.filter(pk=ben.pk).update(**missing)
    assert change(client, ada, "operator").context["adminform"].form.errors["groups"] == [LAST_ADMINISTRATOR]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite lets one write at a time")
@pytest.mark.django_db(transaction=True)
def test_two_administrators_who_demote_each_other_at_once_leave_one() -> None:
    sync_roles()
    people = [make("ada", "administrator"), make("ben", "administrator")]
    together = Barrier(2, timeout=20)

    def demote(acting: User, other: User) -> int:
        try:
            client = Client()
            client.force_login(acting)
            together.wait()
            return int(change(client, other, "operator").status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(demote, people, reversed(people)))
    assert codes.count(302) == 1
    assert User.objects.filter(groups__name="administrator").count() == 1


def test_nobody_switches_off_their_own_account(client: Client, ada: User) -> None:
    make("ben", "administrator")
    answer = change(client, ada, "administrator", active=False)
    assert "is_active" in answer.context["adminform"].form.errors
    ada.refresh_from_db()
    assert ada.is_active


def test_a_superuser_cannot_take_the_last_administrator_away_either(ada: User) -> None:
    """The superuser that acts is an administrator of their own, so the last one is whoever is left."""
    root = User.objects.create_superuser("root", password=PASSWORD)
    client = Client()
    client.force_login(root)
    assert change(client, ada, "operator").status_code == 302
    assert "is_active" in change(client, root, active=False).context["adminform"].form.errors


def test_an_administrator_hands_over_and_goes(client: Client, ada: User) -> None:
    make("ben", "administrator")
    assert change(client, ada, "operator").status_code == 302
    assert [group.name for group in ada.groups.all()] == ["operator"]


# --- Passwords and locks --------------------------------------------------------------------------


def test_a_change_of_ones_own_password_is_recorded(client: Client) -> None:
    new = "another long password"
    values = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert client.post(reverse("admin:password_change"), values).status_code == 302
    stored = AuditRecord.objects.get(action="person.password")
    assert (stored.actor_name, stored.subject_name, stored.details) == ("ada", "ada", {})


def test_a_refused_change_of_password_is_no_change(client: Client) -> None:
    values = {"old_password": "wrong", "new_password1": "x" * 12, "new_password2": "x" * 12}
    assert client.post(reverse("admin:password_change"), values).status_code == 200
    assert not AuditRecord.objects.filter(action="person.password").exists()


def test_setting_somebodys_password_is_recorded(client: Client) -> None:
    ben = make("ben", "operator")
    new = "another long password"
    values = {"password1": new, "password2": new, "set-password": "1"}
    assert client.post(f"/auth/user/{ben.pk}/password/", values).status_code == 302
    stored = AuditRecord.objects.get(action="person.password")
    assert (stored.actor_name, stored.subject_name) == ("ada", "ben")
    assert new not in str(stored.details)


def test_a_password_without_a_record_is_not_set(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("keymanager.admin.record_password", fail)
    ben, new = make("ben", "operator"), "another long password"
    with pytest.raises(RuntimeError):
        client.post(
            f"/auth/user/{ben.pk}/password/", {"password1": new, "password2": new, "set-password": "1"}
        )
    ben.refresh_from_db()
    assert ben.check_password(PASSWORD)


def test_an_administrator_unlocks(client: Client, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    ben = make("ben", "operator")
    for _ in range(2):
        Client().post("/login/", {"username": "ben", "password": "wrong"})
    assert "Locked out" in client.get(LIST).content.decode()
    page = f"/auth/user/{ben.pk}/change/"
    assert "Unlock now" in client.get(page).content.decode()
    assert client.get(f"/auth/user/{ben.pk}/unlock/").status_code == 405
    done = client.post(f"/auth/user/{ben.pk}/unlock/", follow=True).content.decode()
    assert "ben can sign in again." in done
    assert "Unlock now" not in done
    assert AuditRecord.objects.get(action="person.unlock").actor_name == "ada"
    assert not AccessAttempt.objects.exists()


@pytest.mark.parametrize("role", ["operator", "auditor", "ops"])
def test_nobody_else_unlocks(ada: User, role: str) -> None:
    client = Client()
    client.force_login(make("eve", role))
    assert client.post(f"/auth/user/{ada.pk}/unlock/").status_code == 403


def test_an_administrator_does_not_unlock_a_superuser(client: Client) -> None:
    root = User.objects.create_superuser("root")
    assert client.post(f"/auth/user/{root.pk}/unlock/").status_code == 403


# --- The record and the list ----------------------------------------------------------------------


def test_a_change_names_what_was_changed(client: Client) -> None:
    ben = make("ben", "operator")
    change(client, ben, "auditor")
    stored = AuditRecord.objects.get(action="person.changed")
    assert stored.details == {"changes": ["Roles"], "roles": ["auditor"], "may_sign_in": True}


def test_the_list_costs_the_same_for_few_and_for_many(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        make(f"person{number}", "operator")
    with django_assert_max_num_queries(12):
        client.get(LIST)
