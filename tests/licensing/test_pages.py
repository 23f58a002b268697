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
from pytest_django import Settings

from audit.actors import Actor
from audit.models import AuditRecord
from cryptosources.models import CryptoSource
from licensing.models import Licence
from licensing.outlook import Ending, ending
from licensing.services import install_licence
from secretstore.secret import Secret
from secretstore.services import seal_into
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
    for shown in ("Contoso", "Azure Managed HSM", "Enabled", "Valid", "29 days left", f"{ends:%B %Y}"):
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
    assert "not even a backup, a deletion or a purge" in page
    assert "created, changed, tested or activated" in page
    shown = person("administrator").post(reverse(INSTALL), {"text": licence_now(issue), "_check": "1"})
    assert "It takes effect at once." in shown.content.decode()


def test_a_licence_that_cannot_be_verified_has_no_time_left(issue: Issue, settings: Settings) -> None:
    install_licence(token=licence_now(issue), actor=Actor.command("tests"), now=timezone.now())
    settings.LICENCE_ISSUER_KEYS_FILE = ""
    page = person("auditor").get(reverse(PAGE)).content.decode()
    assert "Cannot be verified" in page
    assert "days left" not in page


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
        ({"text": ""}, "Choose a licence file, or paste its text below."),
        ({"file": SimpleUploadedFile("x", b"\xff\xfe"), "text": ""}, "This file is not a licence."),
        ({"file": SimpleUploadedFile("x", b"a" * 70_000), "text": ""}, "too large"),
        ({"file": SimpleUploadedFile("x", ended.encode()), "text": ended}, "not both."),
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


# --- Before it is installed -----------------------------------------------------------------------


def source(name: str, **changes: Any) -> CryptoSource:
    """A source whose type the licence names (the type for tests would need none)."""
    made = CryptoSource(
        friendly_name=name,
        kind="azure_managed_hsm",
        dns_name="https://contoso.managedhsm.azure.net",
        token_endpoint="https://login.microsoftonline.com/6f7b1c3e-0000-4000-8000-000000000001/oauth2/v2.0/token",
        application_id="6f7b1c3e-0000-4000-8000-000000000002",
        secret_expires_on=timezone.now().date(),
        **changes,
    )
    seal_into(made, "sealed_secret", Secret("nothing"))
    made.save()
    return made


@pytest.mark.parametrize("way", ["file", "text"])
def test_a_licence_is_shown_before_it_is_installed(issue: Issue, way: str) -> None:
    token = licence_now(issue)
    value = SimpleUploadedFile("licence.jws", token.encode()) if way == "file" else token
    client = person("administrator")
    shown = client.post(reverse(INSTALL), {way: value, "_check": "1"}).content.decode()
    assert "Enabled from now on" in shown
    assert f'name="text" value="{token}"' in shown
    assert not Licence.objects.exists()
    client.post(reverse(INSTALL), {"text": token, "_save": "1"})
    assert Licence.objects.get().token == token


def test_the_preview_names_the_sources_that_would_stop(issue: Issue) -> None:
    source("Contoso HSM", status="active")
    source("Switched-off HSM", status="inactive")
    install_licence(token=licence_now(issue), actor=Actor.command("tests"), now=timezone.now())
    poorer = licence_now(issue, features=["source:another"], lasts=timedelta(days=10))
    shown = person("administrator").post(reverse(INSTALL), {"text": poorer, "_check": "1"}).content.decode()
    assert "Azure Managed HSM would no longer be enabled." in shown
    assert "not even a backup, a deletion or a purge, and no settings" in shown
    assert "tested, in: Contoso HSM." in shown
    assert "replaces the one in force" in shown
    assert "Switched-off HSM" not in shown
    assert "It ends earlier than the licence in force," in shown


def test_a_bad_file_is_refused_at_its_field_before_any_preview(issue: Issue) -> None:
    foreign = licence_now(issue, key=Ed25519PrivateKey.generate())
    upload = SimpleUploadedFile("x.jws", foreign.encode())
    answer = person("administrator").post(reverse(INSTALL), {"file": upload, "_check": "1"})
    errors = answer.context["adminform"].form.errors
    assert list(errors) == ["file"]
    assert "its issuer is not known here" in errors["file"][0]


def test_nobody_else_sees_a_preview(issue: Issue) -> None:
    answer = person("operator").post(reverse(INSTALL), {"text": licence_now(issue), "_check": "1"})
    assert answer.status_code == 403


def test_the_page_tells_what_is_in_use_and_which_licences_were_replaced(issue: Issue) -> None:
    source("Contoso HSM", status="active")
    for _ in range(2):
        install_licence(token=licence_now(issue), actor=Actor.command("tests"), now=timezone.now())
    page = person("auditor").get(reverse(PAGE)).content.decode()
    assert "1 active source" in page
    assert page.count("Replaced") == 1


@pytest.mark.parametrize(
    ("left", "badge", "words"),
    [
        (timedelta(days=31), "ok", "31 days left"),
        (timedelta(days=30), "warn", "30 days left"),
        (timedelta(days=7), "bad", "7 days left"),
        (timedelta(days=1), "bad", "1 day left"),
        (timedelta(hours=23), "bad", "ends within a day"),
        (timedelta(0), "bad", "ended today"),
        (timedelta(days=-2), "bad", "ended 2 days ago"),
    ],
)
def test_how_long_a_licence_lasts_is_said_in_words_and_colour(
    left: timedelta, badge: str, words: str
) -> None:
    now = timezone.now()
    assert ending(now + left, now) == Ending(badge, words)
