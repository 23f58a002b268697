"""The form: its fields, words and order; its rules posted from outside; the Key that never comes back."""

from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from cryptosources import forms
from cryptosources.models import CryptoSource
from cryptosources.services import sources
from secretstore.services import open_from
from tests.cryptosources.certificates import certificate
from tests.cryptosources.conftest import InstallLicence, SignIn
from tests.cryptosources.factories import ACTOR, KEY, NOW, azure_settings, make_source
from tests.cryptosources.posts import ADD, edit_entries, errors_of, new_entries, page

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("licensed")]
KEEP = {"backup_restore": "on", "keep_after_signing": "on"}


@pytest.fixture
def administrator(sign_in: SignIn) -> Client:
    return sign_in("administrator")


@pytest.fixture
def operator(sign_in: SignIn) -> Client:
    return sign_in("operator")


class Controls(HTMLParser):
    """The controls of a page by name, and the option elements, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.by_name: dict[str, dict[str, str | None]] = {}
        self.options: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in ("input", "select", "textarea") and attributes.get("name"):
            self.by_name.setdefault(str(attributes["name"]), attributes)
        if tag == "option":
            self.options.append(attributes)


def controls(client: Client, url: str) -> Controls:
    return Controls(client.get(url).content.decode())


# --- Fields, words, order ---------------------------------------------------------------------


def test_the_fields_have_the_known_words_in_the_known_order(administrator: Client) -> None:
    form = administrator.get(ADD).context["form"]
    assert [field.label for field in form if not field.is_hidden] == [
        "Status",
        "Friendly Name",
        "Crypto Source Type",
        "DNS Name",
        "Endpoint OAuth 2.0 Token",
        "Application ID",
        "Key",
        "Key expires on",
        "Enable Key Backup & Restore",
        "Do not instantly remove key from Azure after signing",
        "Remove the keys after (seconds)",
        "Trusted root certificates",
        "Sign-in method",
    ]
    names = [
        name for name in Controls(administrator.get(ADD).content.decode()).by_name if name in form.fields
    ]
    assert names == list(form.fields)


def test_the_browser_is_told_what_depends_on_what(administrator: Client) -> None:
    found = controls(administrator, ADD).by_name
    assert found["keep_after_signing"]["data-requires"] == "id_backup_restore"
    assert found["remove_after_seconds"]["data-requires"] == "id_backup_restore id_keep_after_signing"
    assert found["remove_after_seconds"]["min"] == "1"
    assert {"required"} <= set(found["dns_name"]) & set(found["friendly_name"]) & set(found["key"])


def test_two_years_are_proposed_as_the_end_date(administrator: Client) -> None:
    today = timezone.localdate()
    value = controls(administrator, ADD).by_name["secret_expires_on"]["value"]
    assert value == sources.assumed_expiry(timezone.now()).isoformat()
    assert str(value).startswith(str(today.year + 2))


# --- Creating ---------------------------------------------------------------------------------


def test_a_complete_form_makes_a_source(administrator: Client) -> None:
    entries = new_entries(status="active", trusted_roots=certificate(), **KEEP, remove_after_seconds="600")
    response = administrator.post(ADD, entries)
    source = CryptoSource.objects.get()
    assert response["Location"] == page(source)
    assert (source.is_active, source.remove_after_seconds, source.created_by) == (True, 600, "administrator")
    assert open_from(source, "sealed_secret").reveal_text() == KEY
    assert not source.secret_expiry_assumed


def test_an_untouched_end_date_is_marked_as_assumed(administrator: Client) -> None:
    proposed = sources.assumed_expiry(timezone.now()).isoformat()
    administrator.post(ADD, new_entries(status="active", secret_expires_on=proposed))
    source = CryptoSource.objects.get()
    assert source.secret_expiry_assumed
    assert "assumed" in administrator.get(page(source)).content.decode()


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"friendly_name": ""}, "friendly_name", "Enter a Friendly Name"),
        ({"friendly_name": "x" * 101}, "friendly_name", "at most 100"),
        ({"kind": ""}, "kind", "required"),
        ({"kind": "aws_cloudhsm"}, "kind", "not one of the available"),
        ({"dns_name": ""}, "dns_name", "Enter the DNS Name"),
        ({"dns_name": None}, "dns_name", "Enter the DNS Name"),
        ({"dns_name": "evil.example"}, "dns_name", "allowed"),
        ({"token_endpoint": ""}, "token_endpoint", "Enter the token URL"),
        ({"application_id": "zzz"}, "application_id", "GUID"),
        ({"key": ""}, "key", "Enter the Key: the client secret"),
        ({"key": " 0F1e2d3c-aaaa-bbbb-cccc-0123456789ab "}, "key", "Enter its Value"),
        ({"secret_expires_on": "soon"}, "secret_expires_on", "valid date"),
        ({"keep_after_signing": "on", "remove_after_seconds": "60"}, "keep_after_signing", "This needs"),
        ({"remove_after_seconds": "60"}, "remove_after_seconds", "This needs"),
        ({"backup_restore": "on", "remove_after_seconds": "60"}, "remove_after_seconds", "This needs"),
        (KEEP, "remove_after_seconds", "Enter after how many seconds"),
        (KEEP | {"remove_after_seconds": "0"}, "remove_after_seconds", "at least 1"),
        (KEEP | {"remove_after_seconds": "1.5"}, "remove_after_seconds", "whole number"),
        ({"remove_after_seconds": "abc"}, "remove_after_seconds", "whole number"),
        ({"trusted_roots": "nonsense"}, "trusted_roots", "PEM"),
        ({"sign_in_method": "managed_identity"}, "sign_in_method", "not one of the available"),
        ({"status": "paused"}, "status", "not one of the available"),
    ],
)
def test_a_broken_rule_is_told_at_its_field_and_nothing_is_stored(
    administrator: Client, changes: dict[str, Any], field: str, words: str
) -> None:
    found = errors_of(administrator, ADD, new_entries(**({"status": "active"} | changes)))
    assert words in " ".join(found[field])
    assert set(found) <= {field, "key"}
    assert not CryptoSource.objects.exists()


def test_a_duplicate_name_is_told_at_its_field(administrator: Client) -> None:
    make_source(azure_settings())
    found = errors_of(administrator, ADD, new_entries(status="active", friendly_name="CONTOSO HSM"))
    assert "Another crypto source" in found["friendly_name"][0]


@pytest.mark.parametrize(("seconds", "words"), [("59", "less than a minute"), ("86401", "more than a day")])
def test_unusual_seconds_are_saved_with_a_warning(administrator: Client, seconds: str, words: str) -> None:
    response = administrator.post(ADD, new_entries(status="active", **KEEP, remove_after_seconds=seconds))
    told = [str(message) for message in get_messages(response.wsgi_request)]
    assert CryptoSource.objects.get().remove_after_seconds == int(seconds)
    assert any(words in text for text in told)


# --- The Key ------------------------------------------------------------------------------------


def test_the_key_is_never_sent_back(administrator: Client) -> None:
    refused = administrator.post(ADD, new_entries(status="active", dns_name="evil.example"))
    assert KEY not in refused.content.decode()
    assert "Enter the Key again" in str(refused.context["form"].errors["key"])
    made = administrator.post(ADD, new_entries(status="active"), follow=True)
    source = CryptoSource.objects.get()
    assert KEY not in made.content.decode()
    for part in ("", "change/", "delete/"):
        html = administrator.get(page(source, part)).content.decode()
        assert KEY not in html
        assert "sealed, " not in html


def test_no_key_in_logs(administrator: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    administrator.post(ADD, new_entries(status="active", dns_name="evil.example"))
    administrator.post(ADD, new_entries(status="active"))
    assert CryptoSource.objects.exists()
    assert KEY not in caplog.text


# --- Editing ------------------------------------------------------------------------------------


def test_an_edit_without_a_key_keeps_the_stored_one(administrator: Client) -> None:
    source = make_source(azure_settings())
    entries = edit_entries(source, status="active", friendly_name="Renamed", backup_restore="on")
    assert errors_of(administrator, page(source, "change/"), entries) == {}
    source.refresh_from_db()
    assert (source.friendly_name, source.backup_restore, source.updated_by) == (
        "Renamed",
        True,
        "administrator",
    )
    assert open_from(source, "sealed_secret").reveal_text() == KEY


def test_a_new_key_has_not_the_end_date_of_the_old_one(administrator: Client) -> None:
    source = make_source(azure_settings())
    response = administrator.post(
        page(source, "change/"), edit_entries(source, status="active", key="new-secret")
    )
    source.refresh_from_db()
    assumed = sources.assumed_expiry(timezone.now())
    assert (source.secret_expires_on, source.secret_expiry_assumed) == (assumed, True)
    words = " ".join(str(message) for message in get_messages(response.wsgi_request))
    assert f"{assumed.day} {assumed:%b %Y}, is assumed" in words


def test_a_new_key_with_its_date_has_that_one(administrator: Client) -> None:
    source = make_source(azure_settings(secret_expires_on=None))
    entries = edit_entries(source, status="active", key="new-secret", secret_expires_on="2031-05-06")
    assert errors_of(administrator, page(source, "change/"), entries) == {}
    source.refresh_from_db()
    assert (str(source.secret_expires_on), source.secret_expiry_assumed) == ("2031-05-06", False)


def test_an_edit_does_not_call_the_key_and_its_date_optional(administrator: Client) -> None:
    """Empty means something there, and the help says what."""
    html = administrator.get(page(make_source(azure_settings()), "change/")).content.decode()
    for name, optional in (("key", False), ("secret_expires_on", False), ("trusted_roots", True)):
        label = html.partition(f'<label for="id_{name}">')[2].partition("</label>")[0]
        assert ("optional" in label) is optional, name


@pytest.mark.parametrize("part", ["add/", "change/", "clone/"])
def test_the_date_says_what_is_assumed(administrator: Client, part: str) -> None:
    source = make_source(azure_settings())
    form = administrator.get(ADD if part == "add/" else page(source, part)).context["form"]
    assert "Two years are assumed for a new Key until you enter its date." in str(
        form.fields["secret_expires_on"].help_text
    )


def test_a_date_that_is_over_is_refused_at_its_field(administrator: Client) -> None:
    yesterday = (timezone.localdate() - timedelta(days=1)).isoformat()
    entries = new_entries(status="active", secret_expires_on=yesterday)
    assert "over already" in errors_of(administrator, ADD, entries)["secret_expires_on"][0]
    source = make_source(azure_settings())
    entries = edit_entries(source, status="active", secret_expires_on=yesterday)
    found = errors_of(administrator, page(source, "change/"), entries)
    assert "over already" in found["secret_expires_on"][0]


def test_a_key_that_ended_does_not_hinder_another_change(administrator: Client) -> None:
    source = make_source(azure_settings(secret_expires_on=timezone.localdate() - timedelta(days=1)))
    entries = edit_entries(source, status="active", friendly_name="Renamed")
    assert errors_of(administrator, page(source, "change/"), entries) == {}


@pytest.mark.parametrize(
    ("stored", "posted", "warned"),
    [
        ({}, {"remove_after_seconds": "5"}, True),
        ({"remove_after_seconds": 5}, {"friendly_name": "Renamed"}, False),
        ({"remove_after_seconds": 5}, {"remove_after_seconds": "6"}, True),
    ],
)
def test_few_seconds_are_warned_about_when_they_are_entered(
    administrator: Client, stored: dict[str, int], posted: dict[str, str], warned: bool
) -> None:
    held: dict[str, Any] = {
        "backup_restore": True,
        "keep_after_signing": True,
        "remove_after_seconds": 600,
    } | stored
    source = make_source(azure_settings(**held))
    entries = edit_entries(source, status="active", **KEEP, remove_after_seconds="5") | posted
    response = administrator.post(page(source, "change/"), entries)
    words = " ".join(str(message) for message in get_messages(response.wsgi_request))
    assert ("once keys leave the HSM between signatures" in words) is warned


@pytest.mark.parametrize(
    ("changes", "told"),
    [({}, True), ({"dns_name": "fabrikam.managedhsm.azure.net"}, False)],
)
def test_a_second_source_for_the_same_account_and_hsm_is_told(
    administrator: Client, changes: dict[str, str], told: bool
) -> None:
    make_source(azure_settings("First"))
    entries = new_entries(status="active", friendly_name="Second", **changes)
    response = administrator.post(ADD, entries)
    words = " ".join(str(message) for message in get_messages(response.wsgi_request))
    assert ("“First” reaches the same HSM with the same Application ID" in words) is told


def test_an_edit_shows_everything_but_the_key(administrator: Client) -> None:
    source = make_source(
        azure_settings(backup_restore=True, keep_after_signing=True, remove_after_seconds=99)
    )
    found = controls(administrator, page(source, "change/")).by_name
    assert found["dns_name"]["value"] == "https://contoso.managedhsm.azure.net"
    assert found["secret_expires_on"]["value"] == "2027-05-01"
    assert found["remove_after_seconds"]["value"] == "99"
    assert "value" not in found["key"]
    assert "required" not in found["key"]
    assert "disabled" in found["kind"]


def test_aiming_the_key_elsewhere_needs_it_again(administrator: Client) -> None:
    source = make_source(azure_settings())
    entries = edit_entries(source, status="active", dns_name="fabrikam.managedhsm.azure.net")
    found = errors_of(administrator, page(source, "change/"), entries)
    assert "DNS Name" in found["key"][0]
    assert errors_of(administrator, page(source, "change/"), entries | {"key": "new-secret"}) == {}
    source.refresh_from_db()
    assert open_from(source, "sealed_secret").reveal_text() == "new-secret"


def test_a_new_key_that_was_not_saved_is_asked_for_again(administrator: Client) -> None:
    source = make_source(azure_settings())
    entries = edit_entries(source, status="active", key="new-secret", application_id="zzz")
    found = errors_of(administrator, page(source, "change/"), entries)
    assert "Enter the Key again" in found["key"][0]


def test_a_conflict_names_the_other_and_loses_no_entry(administrator: Client) -> None:
    source = make_source(azure_settings())
    entries = edit_entries(source, status="active", friendly_name="Mine", key="new-secret")
    sources.deactivate(source_id=source.pk, actor=ACTOR, now=NOW + timedelta(minutes=1))
    response = administrator.post(page(source, "change/"), entries)
    form = response.context["form"]
    assert "was changed by tests meanwhile" in form.non_field_errors()[0]
    assert "Enter the Key again" in str(form.errors["key"])
    found = Controls(response.content.decode()).by_name
    assert (found["friendly_name"]["value"], found["revision"]["value"]) == ("Mine", "2")
    assert "new-secret" not in response.content.decode()
    assert errors_of(administrator, page(source, "change/"), entries | {"revision": 2}) == {}
    source.refresh_from_db()
    assert (source.friendly_name, source.is_active) == ("Mine", True)


@pytest.mark.parametrize("revision", ["", "0", "x"])
def test_an_edit_must_say_what_it_is_based_on(administrator: Client, revision: str) -> None:
    source = make_source(azure_settings())
    entries = edit_entries(source, status="active", friendly_name="Mine", revision=revision)
    assert errors_of(administrator, page(source, "change/"), entries)
    source.refresh_from_db()
    assert source.friendly_name == "Contoso HSM"


def test_saving_without_a_change_says_so(administrator: Client) -> None:
    source = make_source(azure_settings())
    response = administrator.post(page(source, "change/"), edit_entries(source, status="active"))
    assert "Nothing was changed" in str(next(iter(get_messages(response.wsgi_request))))


def test_a_source_deleted_meanwhile_is_told_on_the_list(
    administrator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(azure_settings())
    real = sources.check_settings

    def gone(**arguments: Any) -> Any:
        columns = real(**arguments)
        CryptoSource.objects.all().delete()
        return columns

    monkeypatch.setattr(sources, "check_settings", gone)
    entries = edit_entries(source, status="active", friendly_name="Mine")
    response = administrator.post(page(source, "change/"), entries, follow=True)
    assert "was deleted meanwhile" in response.content.decode()


# --- Status is for administrators ----------------------------------------------------------------


def test_an_operators_source_starts_inactive(operator: Client) -> None:
    assert "disabled" in controls(operator, ADD).by_name["status"]
    assert "Only administrators" in operator.get(ADD).content.decode()
    assert errors_of(operator, ADD, new_entries()) == {}
    assert not CryptoSource.objects.get().is_active


def test_an_operator_who_posts_a_status_is_refused(operator: Client) -> None:
    found = errors_of(operator, ADD, new_entries(status="active"))
    assert "Only administrators" in found["status"][0]
    source = make_source(azure_settings())
    found = errors_of(operator, page(source, "change/"), edit_entries(source, status="inactive"))
    assert "Only administrators" in found["status"][0]
    source.refresh_from_db()
    assert source.is_active


@pytest.mark.parametrize("active", [True, False])
def test_an_operators_edit_leaves_the_status_alone(operator: Client, active: bool) -> None:
    source = make_source(azure_settings(), active=active)
    assert errors_of(operator, page(source, "change/"), edit_entries(source, friendly_name="Renamed")) == {}
    source.refresh_from_db()
    assert (source.friendly_name, source.is_active) == ("Renamed", active)


def test_an_administrators_edit_switches(administrator: Client) -> None:
    source = make_source(azure_settings())
    assert errors_of(administrator, page(source, "change/"), edit_entries(source, status="inactive")) == {}
    source.refresh_from_db()
    assert not source.is_active


# --- Types --------------------------------------------------------------------------------------


def test_only_types_that_work_appear(administrator: Client, settings: Settings) -> None:
    settings.ALLOW_MEMORY_SOURCES = False
    assert [option["value"] for option in controls(administrator, ADD).options] == ["azure_managed_hsm"]


def test_an_unlicensed_type_is_greyed_with_the_reason_and_refused(
    administrator: Client, install: InstallLicence
) -> None:
    install("source:something_else")
    html = administrator.get(ADD).content.decode()
    (azure,) = [one for one in Controls(html).options if one["value"] == "azure_managed_hsm"]
    assert "disabled" in azure
    assert "The licence of Contoso does not include it" in html
    found = errors_of(administrator, ADD, new_entries(status="active"))
    assert "does not include" in found["kind"][0]
    assert not CryptoSource.objects.exists()


def test_the_reason_is_text_and_no_markup(administrator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "licence_refusal", lambda **_: "The licence of <b>Contoso</b> ended.")
    assert "&lt;b&gt;Contoso&lt;/b&gt; ended." in administrator.get(ADD).content.decode()


def test_without_a_licence_the_reason_is_that(administrator: Client, settings: Settings) -> None:
    settings.ALLOW_MEMORY_SOURCES = False
    settings.LICENCE_ISSUER_KEYS_FILE = ""
    html = administrator.get(ADD).content.decode()
    assert "not licensed" in html
    assert "No type is licensed" in html


def test_a_source_whose_type_lost_its_licence_is_not_edited(
    administrator: Client, install: InstallLicence
) -> None:
    source = make_source(azure_settings())
    install("source:something_else")
    entries = edit_entries(source, status="active", friendly_name="Renamed")
    assert "does not include" in errors_of(administrator, page(source, "change/"), entries)["kind"][0]
