"""The audit pages: auditors read, nobody writes."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import NoReverseMatch, reverse
from pytest_django import DjangoAssertNumQueries, Settings

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


def write(
    name: str,
    *,
    action: str = "source.created",
    at: datetime = NOW,
    subject: str = "42",
    details: dict[str, object] | None = None,
) -> AuditRecord:
    return record(
        action=action,
        actor=Actor.system("beat"),
        subject_type="cryptosource",
        subject_id=subject,
        subject_name=name,
        outcome=Outcome.REFUSED,
        details=details or {},
        now=at,
    )


def page(client: Client, **query: str) -> str:
    answer = client.get(reverse(LIST), query)
    assert answer.status_code == 200
    return answer.content.decode()


def record_page(client: Client, stored: AuditRecord) -> str:
    return client.get(reverse("admin:audit_auditrecord_change", args=[stored.pk])).content.decode()


# --- Who ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "status"), [("auditor", 200), ("ops", 200), ("administrator", 200), ("operator", 403)]
)
def test_who_reads_the_record(role: str, status: int) -> None:
    stored = write("Contoso")
    client = person(role)
    assert client.get(reverse(LIST)).status_code == status
    assert client.get(reverse("admin:audit_auditrecord_change", args=[stored.pk])).status_code == status
    export = client.post(reverse("admin:audit_auditrecord_export"), {"format": "csv"})
    assert export.status_code == status


def test_not_even_a_superuser_writes() -> None:
    stored = write("Contoso")
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    with pytest.raises(NoReverseMatch):
        reverse("admin:audit_auditrecord_add")
    with pytest.raises(NoReverseMatch):
        reverse("admin:audit_auditrecord_delete", args=[stored.pk])
    change = reverse("admin:audit_auditrecord_change", args=[stored.pk])
    assert client.post(change, {"subject_name": "another"}).status_code == 405
    assert client.get(reverse("admin:audit_auditrecord_export")).status_code == 405
    assert AuditRecord.objects.get(pk=stored.pk).subject_name == "Contoso"


# --- The list -------------------------------------------------------------------------------------


def test_the_list_shows_acts_in_words_newest_first() -> None:
    write("Contoso", at=NOW)
    write("Fabrikam", action="source.deleted", at=NOW + timedelta(seconds=1))
    shown = page(person("auditor"))
    assert shown.index("Fabrikam") < shown.index("Contoso")
    assert "Delete a crypto source" in shown
    assert "source.deleted" in shown
    assert "Refused" in shown
    assert 'title="2026-03-14 09:26:53 UTC"' in shown
    assert "2 records" in shown


@pytest.mark.parametrize(
    "query",
    [
        {"q": "abrik"},
        {"action": "source.deleted"},
        {"since": "2026-03-15"},
        {"subject": "source", "id": "43"},
        {"q": "contract-77"},
    ],
)
def test_search_and_filters_narrow_the_list(query: dict[str, str]) -> None:
    write("Contoso")
    later = NOW + timedelta(days=1)
    write("Fabrikam", action="source.deleted", at=later, subject="43", details={"reason": "contract-77"})
    shown = page(person("auditor"), **query)
    assert "Fabrikam" in shown
    assert "Contoso" not in shown


def test_everything_about_one_subject_survives_another_filter() -> None:
    write("Contoso", subject="42")
    shown = page(person("auditor"), subject="source", id="42")
    assert 'name="id" value="42"' in shown
    assert 'name="subject" value="source"' in shown
    assert "Show others too" in shown


def test_pages_follow_each_other_without_gap_while_records_come_in() -> None:
    for number in range(70):
        write(f"Source-{number:02}", at=NOW + timedelta(seconds=number // 3))
    client = person("auditor")
    first = client.get(reverse(LIST))
    write("Just now", at=NOW + timedelta(hours=1))
    second = client.get(reverse(LIST) + first.context["older"])
    names = [row.subject_name for answer in (first, second) for row in answer.context["records"]]
    assert names == [f"Source-{number:02}" for number in reversed(range(70))]
    assert second.context["older"] == ""


def test_a_wrong_day_is_answered_at_its_field() -> None:
    write("Contoso")
    shown = page(person("auditor"), since="2026-03-15", until="2026-03-14")
    assert "This day is before the first one." in shown
    assert "Contoso" not in shown


@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "America/New_York"])
@pytest.mark.parametrize("field", ["since", "until"])
@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "3000-01-01", "9999-12-31"])
def test_a_day_beyond_all_records_is_answered_at_its_field(
    settings: Settings, zone: str, field: str, day: str
) -> None:
    settings.TIME_ZONE = zone
    write("Contoso")
    client = person("auditor")
    assert "Choose a day between 1970 and 2999." in page(client, **{field: day})
    export = client.post(reverse("admin:audit_auditrecord_export"), {"format": "csv", field: day})
    assert export.status_code == 400


@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "America/New_York"])
@pytest.mark.parametrize(("since", "until"), [("1970-01-01", "1970-01-01"), ("2999-12-31", "2999-12-31")])
def test_the_first_and_the_last_day_are_days(settings: Settings, zone: str, since: str, until: str) -> None:
    settings.TIME_ZONE = zone
    write("Contoso")
    assert "Nothing matches" in page(person("auditor"), since=since, until=until)


@pytest.mark.parametrize(
    "before",
    [
        "",
        "x",
        "2026-03-14_1",
        "2026-03-14T09:26:53+00:00_-1",
        "_",
        "0001-01-01T00:00:00+14:00_1",
        "9999-12-31T23:59:59-14:00_1",
    ],
)
def test_a_place_that_no_page_gave_is_not_found(before: str) -> None:
    assert person("auditor").get(reverse(LIST), {"before": before}).status_code == 404


def test_an_empty_record_says_what_will_come() -> None:
    assert "Nothing is recorded yet" in page(person("auditor"))


def test_nothing_found_says_so() -> None:
    write("Contoso")
    assert "Nothing matches" in page(person("auditor"), q="no such thing")


def test_the_list_asks_the_database_a_fixed_number_of_times(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(60):
        write(f"Source {number}")
    client = person("auditor")
    with django_assert_max_num_queries(8):
        client.get(reverse(LIST))


# --- One record -----------------------------------------------------------------------------------


def test_details_are_facts_and_plain_text() -> None:
    details = {
        "reason": "<b>bold</b>",
        "dns_name": {"from": "https://a.example", "to": "https://b.example"},
        "steps": ["one", "two"],
        "retry": True,
        "starts": "2026-03-14T09:26:53+00:00",
    }
    shown = record_page(person("auditor"), write("Contoso", details=details))
    for text in (
        "&lt;b&gt;bold&lt;/b&gt;",
        "DNS Name",
        "https://a.example</del>",
        "https://b.example</ins>",
        "one, two",
        '<dd><span class="audit-text">yes</span>',
        "14 March 2026, 09:26:53",
    ):
        assert text in shown
    assert "{" not in shown.partition('id="details"')[2]


def test_a_record_leads_to_its_subject_while_that_exists_and_may_be_seen(source_id: str) -> None:
    url = f"/cryptosources/cryptosource/{source_id}/"
    alive, gone = write("Contoso", subject=source_id), write("Gone", subject=str(uuid4()))
    auditor = person("auditor")
    assert f'href="{url}"' in record_page(auditor, alive)
    assert 'href="/cryptosources/cryptosource/' not in record_page(auditor, gone).partition('id="content"')[2]
    assert "subject=source&amp;id=" in record_page(auditor, gone)
    reader = User.objects.create_user("reads-only-audit", is_staff=True)
    reader.user_permissions.set(_permission("view_auditrecord"))
    client = Client()
    client.force_login(reader)
    assert f'href="{url}"' not in record_page(client, alive)


@pytest.fixture
def source_id() -> str:
    from cryptosources.models import CryptoSource

    return str(CryptoSource.objects.create(friendly_name="Contoso", kind="memory").pk)


def _permission(codename: str) -> list[int]:
    from django.contrib.auth.models import Permission

    return list(Permission.objects.filter(codename=codename).values_list("pk", flat=True))


@pytest.mark.parametrize(("role", "leads"), [("auditor", True), ("administrator", True), ("operator", False)])
def test_a_source_leads_readers_to_its_records(source_id: str, role: str, leads: bool) -> None:
    shown = person(role).get(f"/cryptosources/cryptosource/{source_id}/").content.decode()
    assert (f'href="{reverse(LIST)}?subject=source&amp;id={source_id}"' in shown) is leads


@pytest.mark.parametrize(("role", "leads"), [("auditor", True), ("operator", False)])
def test_a_key_leads_readers_to_its_records(source_id: str, role: str, leads: bool) -> None:
    from keys.models import ManagedKey

    key = ManagedKey.objects.create(
        source_id=source_id, name="seal", algorithm="EC-P-256", created_at=NOW, updated_at=NOW
    )
    shown = person(role).get(reverse("admin:keys_managedkey_change", args=[key.pk])).content.decode()
    assert (f'href="{reverse(LIST)}?subject=key&amp;id={key.pk}"' in shown) is leads


@pytest.mark.parametrize(("role", "acts"), [("operator", True), ("auditor", False)])
def test_who_may_do_nothing_has_no_column_for_it(source_id: str, role: str, acts: bool) -> None:
    shown = person(role).get("/cryptosources/cryptosource/").content.decode()
    assert ("Actions" in shown.partition("<thead")[2].partition("</thead>")[0]) is acts


def test_the_name_of_a_tests_key_is_not_called_a_secret() -> None:
    stored = write("Contoso", action="source.test_key.created", details={"test_key": "test-3f9a"})
    shown = record_page(person("auditor"), stored).partition('id="details"')[2]
    assert "Its key in the HSM" in shown
    assert "client secret" not in shown
