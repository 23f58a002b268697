"""The Licence page: everybody with the right sees what is enabled; administrators install."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.actors import Actor
from audit.models import AuditRecord
from licensing.models import Licence
from licensing.services import install_licence
from tests.licensing.conftest import FEATURE, Issue

PAGE = "admin:licensing_licence_changelist"
INSTALL = "admin:licensing_licence_add"

pytestmark = pytest.mark.django_db


def person(role: str) -> Client:
    user = User.objects.create_user(f"a-{role}", is_staff=True)
    user.groups.set(Group.objects.filter(name=role))
    client = Client()
    client.force_login(user)
    return client


def licence_now(issue: Issue, **changes: object) -> str:
    return issue(**{"starts": timezone.now() - timedelta(hours=1), **changes})


@pytest.mark.parametrize("role", ["operator", "administrator", "auditor", "ops"])
def test_everybody_sees_what_is_enabled_and_until_when(issue: Issue, role: str) -> None:
    ends = timezone.now() + timedelta(days=30) - timedelta(hours=1)
    install_licence(token=licence_now(issue), actor=Actor.command("tests"), now=timezone.now())
    page = person(role).get(reverse(PAGE)).content.decode()
    for shown in ("Contoso", FEATURE, "Valid", f"{ends:%B %Y}"):
        assert shown in page
    assert ("Install a licence" in page) == (role == "administrator")


def test_the_page_says_that_there_is_no_licence(issuer_key: Ed25519PrivateKey) -> None:
    page = person("auditor").get(reverse(PAGE)).content.decode()
    assert "No licence is installed." in page
    assert "Not licensed" in page


def test_the_page_says_that_the_licence_has_ended(issue: Issue) -> None:
    now = timezone.now()
    token = licence_now(issue, starts=now - timedelta(days=3), lasts=timedelta(days=2))
    install_licence(token=token, actor=Actor.command("tests"), now=now - timedelta(days=2))
    page = person("auditor").get(reverse(PAGE)).content.decode()
    assert "The licence of Contoso ended on" in page
    assert "Not licensed" in page


@pytest.mark.parametrize("way", ["file", "text"])
def test_an_administrator_installs_a_licence(issue: Issue, way: str) -> None:
    token = licence_now(issue)
    value = SimpleUploadedFile("licence.jws", token.encode() + b"\n") if way == "file" else f" {token}\n"
    client = person("administrator")
    answer = client.post(reverse(INSTALL), {way: value, "_save": "1"}, follow=True)
    assert answer.redirect_chain[-1][0] == reverse(PAGE)
    assert "Valid" in answer.content.decode()
    licence = Licence.objects.get()
    assert (licence.token, licence.installed_by) == (token, "a-administrator")
    record = AuditRecord.objects.get(action="licence.installed")
    assert (record.actor_kind, record.actor_name) == ("person", "a-administrator")
    assert not LogEntry.objects.exists()
    detail = client.get(reverse("admin:licensing_licence_change", args=[licence.pk])).content.decode()
    assert FEATURE in detail
    assert token not in detail


def test_a_licence_that_cannot_be_used_is_answered_in_the_form(issue: Issue) -> None:
    client = person("administrator")
    foreign = licence_now(issue, key=Ed25519PrivateKey.generate())
    ended = issue(starts=timezone.now() - timedelta(days=90))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"text": foreign}, "its issuer is not known here"),
        ({"text": ended}, "The licence of Contoso ended on"),
        ({"text": ""}, "Choose a licence file, or paste its text."),
        ({"file": SimpleUploadedFile("x", b"\xff\xfe"), "text": ""}, "This file is not a licence."),
        ({"file": SimpleUploadedFile("x", b"a" * 70_000), "text": ""}, "too large"),
        ({"file": SimpleUploadedFile("x", ended.encode()), "text": ended}, "or paste its text."),
    ]
    for data, message in cases:
        answer = client.post(reverse(INSTALL), {**data, "_save": "1"})
        assert answer.status_code == 200
        assert message in answer.content.decode().replace("&#x27;", "'")
    assert not Licence.objects.exists()


@pytest.mark.parametrize("role", ["operator", "auditor", "ops"])
def test_nobody_else_installs(issue: Issue, role: str) -> None:
    client = person(role)
    assert client.get(reverse(INSTALL)).status_code == 403
    assert client.post(reverse(INSTALL), {"text": licence_now(issue)}).status_code == 403
    assert not Licence.objects.exists()


def test_an_installed_licence_is_neither_edited_nor_removed(issue: Issue) -> None:
    licence = install_licence(token=licence_now(issue), actor=Actor.command("tests"), now=timezone.now())
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    change = reverse("admin:licensing_licence_change", args=[licence.pk])
    assert client.post(change, {"customer": "Somebody"}).status_code == 403
    assert client.post(reverse("admin:licensing_licence_delete", args=[licence.pk])).status_code == 403
    assert Licence.objects.count() == 1
