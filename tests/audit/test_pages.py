"""The audit pages: auditors read, nobody writes."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from audit.actors import Actor
from audit.models import AuditRecord, Outcome
from audit.services import record

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
LIST = "admin:audit_auditrecord_changelist"

pytestmark = pytest.mark.django_db


def person(role: str) -> Client:
    user = User.objects.create_user(f"a-{role}", is_staff=True)
    user.groups.set(Group.objects.filter(name=role))
    client = Client()
    client.force_login(user)
    return client


def write(name: str, *, action: str = "source.created", at: datetime = NOW) -> AuditRecord:
    return record(
        action=action,
        actor=Actor.system("beat"),
        subject_type="crypto source",
        subject_id="42",
        subject_name=name,
        outcome=Outcome.REFUSED,
        details={"why": "<b>bold</b>"},
        now=at,
    )


@pytest.mark.parametrize(
    ("role", "status"), [("auditor", 200), ("ops", 200), ("administrator", 200), ("operator", 403)]
)
def test_who_reads_the_record(role: str, status: int) -> None:
    stored = write("Contoso")
    client = person(role)
    assert client.get(reverse(LIST)).status_code == status
    assert client.get(reverse("admin:audit_auditrecord_change", args=[stored.pk])).status_code == status


def test_the_list_shows_searches_and_filters() -> None:
    write("Contoso")
    write("Fabrikam", action="source.deleted", at=datetime.now(UTC) - timedelta(hours=1))
    client = person("auditor")
    page = client.get(reverse(LIST)).content.decode()
    assert "Contoso" in page
    assert "Fabrikam" in page
    assert "Refused" in page
    for query in (
        {"q": "Fabrikam"},
        {"action": "source.deleted"},
        {"at__gte": (NOW + timedelta(days=1)).isoformat()},
    ):
        found = client.get(reverse(LIST), query).content.decode()
        assert "Fabrikam" in found
        assert "crypto source: Contoso" not in found


def test_details_are_shown_as_text() -> None:
    stored = write("Contoso")
    page = person("auditor").get(reverse("admin:audit_auditrecord_change", args=[stored.pk])).content.decode()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page


def test_not_even_a_superuser_writes() -> None:
    stored = write("Contoso")
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(reverse("admin:audit_auditrecord_add")).status_code == 403
    change = reverse("admin:audit_auditrecord_change", args=[stored.pk])
    assert client.post(change, {"subject_name": "another"}).status_code == 403
    assert (
        client.post(reverse("admin:audit_auditrecord_delete", args=[stored.pk]), {"post": "yes"}).status_code
        == 403
    )
    assert AuditRecord.objects.get(pk=stored.pk).subject_name == "Contoso"


def test_the_list_asks_the_database_a_fixed_number_of_times(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(30):
        write(f"Source {number}")
    client = person("auditor")
    with django_assert_max_num_queries(12):
        client.get(reverse(LIST))
