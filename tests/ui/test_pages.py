"""Pages of the frame, for each of the four roles and for strangers."""

from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import NoReverseMatch, reverse

from audit.models import AuditRecord
from keymanager.console import ROOMS
from keymanager.roles import ROLES
from tests.ui.markup import parse, refused_by_csp

pytestmark = pytest.mark.django_db


def _person(role: str) -> User:
    person = User.objects.create_user(f"the-{role}", password="correct horse", is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    return person


@pytest.fixture(params=sorted(ROLES))
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def signed_in(client: Client, role: str) -> Client:
    client.force_login(_person(role))
    return client


@pytest.fixture
def administrator(client: Client) -> Client:
    client.force_login(_person("administrator"))
    return client


def _url(url_name: str) -> str:
    try:
        return reverse(url_name)
    except NoReverseMatch:
        return ""


def _body(response: Any) -> str:
    return str(response.content.decode())


def test_every_room_has_a_page() -> None:
    assert [room.label for room in ROOMS if not _url(room.url_name)] == []


def test_navigation_shows_what_the_role_may_open_and_no_more(signed_in: Client, role: str) -> None:
    shown = {
        item["href"] for item in parse(_body(signed_in.get("/"))).with_class("nav-item") if item.get("href")
    }
    allowed = {_url(room.url_name) for room in ROOMS if not room.permission or room.permission in ROLES[role]}
    assert shown == allowed


def test_every_room_opens_and_marks_itself(signed_in: Client, role: str) -> None:
    for room in ROOMS:
        response = signed_in.get(_url(room.url_name))
        if room.permission and room.permission not in ROLES[role]:
            assert response.status_code == HTTPStatus.FORBIDDEN, room.label
            continue
        assert response.status_code == HTTPStatus.OK, room.label
        current = [item for item in parse(_body(response)).with_class("nav-item") if item.get("aria-current")]
        assert [item.text.strip() for item in current] == [room.label]


def test_rooms_keep_to_the_policy(signed_in: Client, role: str) -> None:
    for room in ROOMS:
        assert refused_by_csp(_body(signed_in.get(_url(room.url_name)))) == [], room.label


@pytest.mark.parametrize("path", ["/login/", "/"])
def test_policy_is_strict(administrator: Client, path: str) -> None:
    policy = administrator.get(path, follow=True).headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy


def test_a_stranger_is_sent_to_the_sign_in_page(client: Client) -> None:
    response = client.get("/", follow=True)
    assert response.redirect_chain == [("/login/?next=/", HTTPStatus.FOUND)]
    page = parse(_body(response))
    assert page.by_id("id_username")
    assert page.by_id("id_password")["type"] == "password"
    assert not page.with_class("nav-item")


def test_a_refused_sign_in_says_so_and_forgets_the_password(client: Client) -> None:
    response = client.post("/login/", {"username": "nobody", "password": "guess-4711"})
    assert parse(_body(response)).with_class("error-summary")
    assert "guess-4711" not in _body(response)


def test_somebody_without_a_role_is_told(client: Client) -> None:
    client.force_login(User.objects.create_user("new", password="x", is_staff=True))
    assert "No rooms are open to you yet" in _body(client.get("/"))


def test_unknown_page_is_ours(administrator: Client) -> None:
    response = administrator.get("/no/such/page/")
    assert response.status_code == HTTPStatus.NOT_FOUND
    assert "This page does not exist" in _body(response)
    assert refused_by_csp(_body(response)) == []


def test_forbidden_page_is_ours(client: Client) -> None:
    client.force_login(_person("auditor"))
    response = client.get(reverse("admin:auth_user_changelist"))
    assert response.status_code == HTTPStatus.FORBIDDEN
    assert "You may not open this page" in _body(response)


def test_a_form_without_its_token_is_refused_on_our_page() -> None:
    response = Client(enforce_csrf_checks=True).post("/login/", {"username": "a", "password": "b"})
    assert response.status_code == HTTPStatus.FORBIDDEN
    assert "This form is out of date" in _body(response)


# --- People ---------------------------------------------------------------------------------------


def _new_person(**changes: Any) -> dict[str, Any]:
    operator = Group.objects.get(name="operator").pk
    secret = "a long first password"
    return {"username": "ada", "groups": [operator], "password1": secret, "password2": secret, **changes}


def test_administrator_adds_a_person_who_can_sign_in(administrator: Client) -> None:
    assert administrator.post("/auth/user/add/", _new_person()).status_code == HTTPStatus.FOUND
    ada = User.objects.get(username="ada")
    assert ada.is_staff
    assert not ada.is_superuser
    assert [group.name for group in ada.groups.all()] == ["operator"]
    client = Client()
    client.post("/login/", {"username": "ada", "password": "a long first password"})
    assert client.get("/").status_code == HTTPStatus.OK


def test_adding_and_changing_a_person_is_recorded(administrator: Client) -> None:
    administrator.post("/auth/user/add/", _new_person())
    ada = User.objects.get(username="ada")
    administrator.post(f"/auth/user/{ada.pk}/change/", {"username": "ada", "groups": []})
    created, changed = AuditRecord.objects.filter(subject_name="ada").order_by("pk")
    assert (created.action, changed.action) == ("person.created", "person.changed")
    assert created.details["roles"] == ["operator"]
    assert (changed.details["roles"], changed.details["may_sign_in"]) == ([], False)
    assert "a long first password" not in str(created.details)


def test_administrator_cannot_make_or_touch_a_superuser(administrator: Client) -> None:
    administrator.post("/auth/user/add/", _new_person(is_superuser="on"))
    assert not User.objects.get(username="ada").is_superuser
    root = User.objects.create_superuser("root", password="before before")
    assert (
        administrator.post(f"/auth/user/{root.pk}/change/", {"username": "r"}).status_code
        == HTTPStatus.FORBIDDEN
    )
    password = {"password1": "after after after", "password2": "after after after", "usable_password": "true"}
    response = administrator.post(f"/auth/user/{root.pk}/password/", password)
    assert response.status_code == HTTPStatus.FORBIDDEN
    root.refresh_from_db()
    assert root.check_password("before before")


def test_nobody_is_deleted(administrator: Client) -> None:
    ada = User.objects.create_user("ada")
    assert (
        administrator.post(f"/auth/user/{ada.pk}/delete/", {"post": "yes"}).status_code
        == HTTPStatus.FORBIDDEN
    )
