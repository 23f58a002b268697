"""The crypto source pages in headless Chromium, under the real Content-Security-Policy."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from cryptosources.models import ConnectionTest, CryptoSource, ThrowAwayKey
from cryptosources.services import connection_test, key_cycle
from tests.browser import ColourScheme, Window, chromium, window
from tests.cryptosources.certificates import certificate
from tests.cryptosources.conftest import InstallLicence, person
from tests.cryptosources.factories import APPLICATION, KEY, TOKEN_URL, azure_settings, make_source
from tests.cryptosources.finished import finish_test
from tests.cryptosources.posts import ADD, LIST, page
from tests.cryptosources.test_consequences import add_key

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("licensed", "sent"),
]
BACKUP = "Enable Key Backup & Restore"
KEEP = "Do not instantly remove key from Azure after signing"
SECONDS = "Remove the keys after (seconds)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def console(browser: Browser, live_server: LiveServer) -> Iterator[Window]:
    """An administrator's window."""
    with window(browser, live_server.url) as opened:
        opened.enter_as(person("administrator"))
        yield opened


def fill_in(form: Page) -> None:
    for label, value in (
        ("Friendly Name", "Contoso HSM"),
        ("DNS Name", "contoso.managedhsm.azure.net"),
        ("Endpoint OAuth 2.0 Token", TOKEN_URL),
        ("Application ID", APPLICATION),
        ("Key expires on", "2027-05-01"),
    ):
        form.get_by_label(label).fill(value)
    form.get_by_label("Key", exact=True).fill(KEY)


def test_a_source_is_created_in_the_form(console: Window) -> None:
    form = console.open(ADD)
    fill_in(form)
    form.get_by_label(BACKUP).check()
    form.get_by_label(KEEP).check()
    form.get_by_label(SECONDS).fill("600")
    form.get_by_role("button", name="Create crypto source").click()
    expect(form.get_by_text("“Contoso HSM” was created.")).to_be_visible()
    source = CryptoSource.objects.get()
    assert (source.is_active, source.remove_after_seconds) == (True, 600)
    assert source.secret_expires_on == date(2027, 5, 1)
    assert KEY not in form.content()


def test_dependent_fields_wait_for_their_checkboxes(console: Window) -> None:
    form = console.open(ADD)
    expect(form.get_by_label(KEEP)).to_be_disabled()
    expect(form.get_by_label(SECONDS)).to_be_disabled()
    form.get_by_label(BACKUP).check()
    expect(form.get_by_label(KEEP)).to_be_enabled()
    expect(form.get_by_label(SECONDS)).to_be_disabled()
    form.get_by_label(KEEP).check()
    form.get_by_label(SECONDS).fill("600")
    form.get_by_label(BACKUP).uncheck()
    expect(form.get_by_label(KEEP)).to_be_disabled()
    expect(form.get_by_label(SECONDS)).to_be_disabled()
    fill_in(form)
    form.get_by_role("button", name="Create crypto source").click()
    expect(form.get_by_text("was created")).to_be_visible()
    source = CryptoSource.objects.get()
    assert (source.keep_after_signing, source.remove_after_seconds) == (False, None)


def test_all_that_is_wrong_is_told_at_once_in_our_words(console: Window) -> None:
    """The browser's own bubbles would tell the first problem only, and in words of its own."""
    form = console.open(ADD)
    fill_in(form)
    for label, value in (
        ("Friendly Name", ""),
        ("Application ID", "not-a-guid"),
        ("Endpoint OAuth 2.0 Token", "http://login.microsoftonline.com/x"),
    ):
        form.get_by_label(label).fill(value)
    form.get_by_role("button", name="Create crypto source").click()
    summary = form.get_by_role("alert").filter(has_text="Please look at this again")
    for words in ("Enter a Friendly Name", "a GUID such as", "https://"):
        expect(summary.get_by_text(words)).to_be_visible()
    assert not CryptoSource.objects.exists()


def test_a_refused_form_leads_to_its_fields_by_keyboard(console: Window) -> None:
    form = console.open(ADD)
    fill_in(form)
    form.get_by_label("DNS Name").fill("hsm.example.com")
    form.get_by_label("DNS Name").press("Enter")
    summary = form.get_by_role("alert").filter(has_text="Please look at this again")
    expect(summary).to_be_focused()
    summary.get_by_role("link", name="DNS Name").press("Enter")
    expect(form.get_by_label("DNS Name")).to_be_focused()
    expect(form.get_by_label("DNS Name")).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("Key", exact=True)).to_have_value("")


def test_an_unlicensed_type_is_greyed(console: Window, install: InstallLicence) -> None:
    install("source:something_else")
    form = console.open(ADD)
    option = form.get_by_label("Crypto Source Type").locator("option", has_text="Azure Managed HSM")
    expect(option).to_be_disabled()
    expect(option).to_contain_text("not licensed")


def test_one_click_in_the_list_switches(console: Window) -> None:
    source = make_source(azure_settings())
    listed = console.open(f"{LIST}?status=active")
    listed.get_by_role("button", name="Make Inactive: Contoso HSM").click()
    expect(listed.get_by_text("“Contoso HSM” is Inactive now.")).to_be_visible()
    assert listed.url.endswith("?status=active")
    source.refresh_from_db()
    assert not source.is_active


def test_what_stops_is_confirmed_by_keyboard(console: Window) -> None:
    source = make_source(azure_settings())
    add_key(source, "eseal")
    listed = console.open(LIST)
    listed.get_by_role("button", name="Make Inactive: Contoso HSM").focus()
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("heading", name="Make Contoso HSM Inactive?")).to_be_visible()
    expect(listed.get_by_text("1 key that can sign")).to_be_visible()
    listed.get_by_role("button", name="Make Inactive").focus()
    listed.keyboard.press("Enter")
    expect(listed.get_by_text("“Contoso HSM” is Inactive now.")).to_be_visible()
    assert listed.url.endswith(LIST)
    source.refresh_from_db()
    assert not source.is_active


def test_a_source_is_cloned(console: Window) -> None:
    source = make_source(azure_settings())
    form = console.open(LIST)
    form.get_by_role("link", name="Clone Contoso HSM").click()
    expect(form.get_by_label("Friendly Name")).to_have_value("Copy of Contoso HSM")
    expect(form.get_by_label("Key", exact=True)).to_have_value("")
    form.get_by_label("Key", exact=True).fill(KEY)
    form.get_by_role("button", name="Create crypto source").click()
    expect(form.get_by_text("“Copy of Contoso HSM” was created.")).to_be_visible()
    copy = CryptoSource.objects.exclude(pk=source.pk).get()
    assert (copy.is_active, copy.dns_name) == (False, source.dns_name)


def test_a_throw_away_key_is_explained_and_followed(console: Window) -> None:
    source = make_source()
    shown = console.open(page(source))
    shown.get_by_text("Also run a throw-away key through its whole life").click()
    shown.get_by_role("button", name="Test with a throw-away key").click()
    expect(shown.get_by_text("Waiting for a worker…")).to_be_visible()
    connection_test.run_test(test_id=ConnectionTest.objects.get().pk, clock=timezone.now)
    expect(shown.get_by_text("Right: sign")).to_be_visible()
    while key := ThrowAwayKey.objects.first():
        key_cycle.perform(key_id=key.pk, clock=timezone.now)
    expect(shown.get_by_text("a throw-away key went through its whole life")).to_be_visible()
    expect(shown.get_by_text("Nothing is left of it")).to_be_visible()
    expect(shown.get_by_text("Every right that this source needs is there")).to_be_visible()


def test_a_missing_right_is_repaired_with_what_the_page_shows(console: Window) -> None:
    source = make_source(azure_settings())
    finish_test(source, "keys/sign/action")
    shown = console.open(page(source))
    shown.get_by_role("link", name="How to repair the rights").click()
    expect(shown.get_by_label("The command that assigns the role")).to_be_visible()
    with shown.expect_download() as download:
        shown.get_by_role("link", name="download it").click()
    assert download.value.suggested_filename == "key-manager-role.json"
    role = json.loads(Path(download.value.path()).read_text())
    assign = shown.get_by_label("The command that assigns the role").inner_text()
    assert f'--role "{role["roleName"]}"' in assign


def test_the_end_of_the_key_waits_for_its_type(console: Window) -> None:
    form = console.open(ADD)
    form.get_by_label("Crypto Source Type").select_option("memory")
    for label in ("DNS Name", "Key expires on"):
        expect(form.get_by_label(label)).to_be_disabled()
    form.get_by_label("Crypto Source Type").select_option("azure_managed_hsm")
    expect(form.get_by_label("Key expires on")).to_be_enabled()


def test_a_connection_test_is_followed_without_reloading(console: Window) -> None:
    source = make_source()
    shown = console.open(page(source))
    shown.get_by_role("button", name="Test connection").click()
    expect(shown.get_by_text("Waiting for a worker…")).to_be_visible()
    shown.evaluate("window.notReloaded = true")
    connection_test.run_test(test_id=ConnectionTest.objects.get().pk, clock=timezone.now)
    expect(shown.get_by_text("The connection works")).to_be_visible()
    expect(shown.get_by_text("Right: sign")).to_be_visible()
    assert shown.evaluate("window.notReloaded")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(
    browser: Browser, live_server: LiveServer, width: int, colours: ColourScheme
) -> None:
    source = make_source(
        azure_settings(
            "A Friendly Name that goes on and on, as such names do in large houses",
            dns_name="a-rather-long-hsm-name-24.managedhsm.usgovcloudapi.net",
            trusted_roots=certificate("A root certificate with a name of some length, too"),
        )
    )
    with window(browser, live_server.url, width=width, colours=colours) as console:
        console.enter_as(person("administrator"))
        finish_test(source, "keys/sign/action", "keys/deletedKeys/read/action")
        add_key(source, "a-key")
        parts = ("", "change/", "clone/", "deactivate/", "delete/")
        for url in (LIST, ADD, *(page(source, part) for part in parts)):
            wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert console.open(url).evaluate(wider) <= 0, url
