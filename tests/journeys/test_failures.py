"""What goes wrong in a first week, seen by a person in a browser: each says what happened and what to do."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from demo import prepare
from tests.browser import window
from tests.journeys.person import KEYS, SECONDS_20, SOURCES, Person
from tests.services import Stack

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.timeout(240)]


def test_wrong_secret(administrator: Person) -> None:
    person = administrator
    person.create_source("Wrong secret", key="not-the-secret-at-all")
    person.stack.sandbox.reset_requests()
    test = person.test_connection()
    expect(test).to_contain_text("AADSTS7000215")
    expect(test).to_contain_text("secret")
    assert "not-the-secret-at-all" not in person.page.content()
    tokens = {name: count for name, count in person.stack.sandbox.requests().items() if "token" in name}
    assert sum(tokens.values()) == 1, f"a refused secret is tried once: {tokens}"


def test_expired_secret(administrator: Person) -> None:
    person = administrator
    yesterday = datetime.now(UTC) - timedelta(days=1)
    expired = person.stack.sandbox.add_secret(yesterday - timedelta(days=30), yesterday)
    person.create_source("Expired secret", key=expired.value)
    test = person.test_connection()
    expect(test).to_contain_text("AADSTS7000222")
    expect(test).to_contain_text("expired")


def test_unknown_host(administrator: Person) -> None:
    person = administrator
    person.fill_in_source("Unknown host", dns_name="https://hsm.example.com")
    person.submit_source()
    field = person.page.get_by_label("DNS Name")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(person.main).to_contain_text("hsm.example.com")
    expect(person.page.get_by_label("Friendly Name")).to_have_value("Unknown host")

    person.create_source("Unknown host", dns_name="no-such-hsm-anywhere.managedhsm.azure.net")
    test = person.test_connection()
    expect(test).to_contain_text("Name resolution")
    expect(test.locator(".message-error").first).to_be_visible()


def test_untrusted_certificate(administrator: Person) -> None:
    person = administrator
    person.create_source("Untrusted certificate", trusted_roots="")
    test = person.test_connection()
    expect(test).to_contain_text("TLS certificate")
    expect(test).to_contain_text("root certificate")


def test_missing_purge_right(administrator: Person) -> None:
    person = administrator
    hsm = person.stack.sandbox
    weak = hsm.add_app("No purge")
    hsm.revoke("keys/deletedKeys/delete", application_id=weak.application_id)
    person.create_source("No purge", backup=True, application_id=weak.application_id, key=weak.secret.value)
    test = person.test_connection()
    expect(test).to_contain_text("Microsoft.KeyVault/managedHsm/keys/deletedKeys/delete")
    person.generate("No purge", "kept-for-ever", "EC-HSM P-256")
    person.act("kept-for-ever", "Delete…", confirm="Delete this key")
    person.ask("kept-for-ever", "Purge…")
    person.page.get_by_label("to confirm").fill("kept-for-ever")
    person.main.get_by_role("button", name="Purge this key").click()
    person.see_failed()
    expect(person.main).to_contain_text("keys/deletedKeys/delete")


def test_duplicate_friendly_name(administrator: Person) -> None:
    person = administrator
    person.create_source("Only one")
    person.fill_in_source("ONLY ONE")
    person.submit_source()
    expect(person.page.get_by_label("Friendly Name")).to_have_attribute("aria-invalid", "true")
    expect(person.main).to_contain_text("Another crypto source has this Friendly Name")


def test_inactive_source(operator: Person) -> None:
    """An operator's new source is Inactive and only an administrator switches it, with one click."""
    person = operator
    person.create_source("Sleeping")
    expect(person.main).to_contain_text("Inactive")
    assert person.main.get_by_role("button", name="Make Active").count() == 0
    person.console.open(KEYS + "add/")
    option = person.page.locator("option", has_text="Sleeping")
    expect(option).to_be_disabled()
    expect(option).to_contain_text("Inactive")

    chromium = person.page.context.browser
    assert chromium is not None
    with window(chromium, person.stack.url) as other:
        other.sign_in("administrator", person.stack.accounts["administrator"].password)
        other.open(SOURCES)
        row = other.page.get_by_role("row").filter(has_text="Sleeping")
        row.get_by_role("button", name="Make Active: Sleeping").click()
        expect(row.get_by_role("button", name="Make Inactive: Sleeping")).to_be_visible()
    person.generate("Sleeping", "awake", "EC-HSM P-256")


@pytest.fixture
def licence(stack: Stack) -> Iterator[Callable[..., None]]:
    """Install a licence with these features (without any named: all); the full one again afterwards."""
    folder = stack.installation.home / "licence"

    def install(*features: str) -> None:
        words = [word for feature in features for word in ("--feature", feature)]
        stack.manage("make_licence", "--out", str(folder), *words)
        stack.manage("install_licence", str(folder / "licence.jws"))

    yield install
    install()


def test_unlicensed_type(administrator: Person, licence: Callable[..., None]) -> None:
    """Greyed with the reason where it would be chosen, and refused where it would reach the HSM."""
    person = administrator
    reason = "The licence of Demo does not include it"
    person.create_source("Once licensed")
    person.generate("Once licensed", "once-licensed", "EC-HSM P-256")
    licence("source:something_else")
    person.console.open(SOURCES + "add/")
    option = person.page.locator("option", has_text="Azure Managed HSM")
    expect(option).to_be_disabled()
    expect(option).to_contain_text("not licensed")
    expect(person.main).to_contain_text(reason)
    person.console.open(KEYS + "add/")
    expect(person.page.locator("option", has_text="Once licensed")).to_be_disabled()
    expect(person.main).to_contain_text(reason)
    person.open_key("once-licensed")
    expect(person.main.get_by_role("button", name="Back up", exact=True)).to_be_disabled()
    expect(person.main).to_contain_text(reason)


def test_hsm_down(administrator: Person) -> None:
    """A stopped HSM: the test says so, and work that waits is done by itself once it is back."""
    person = administrator
    person.create_source("Comes and goes")
    person.generate("Comes and goes", "patient", "EC-HSM P-256")
    person.stack.sandbox.kill()
    try:
        person.open_source("Comes and goes")
        test = person.test_connection()
        expect(test).to_contain_text("Connection")
        expect(test.locator(".message-error").first).to_be_visible()
        person.ask("patient", "Back up")
        expect(person.main).to_contain_text("tried again by itself", timeout=SECONDS_20)
    finally:
        person.stack.sandbox.start()
    person.see_done()


def test_the_roles_of_the_walk_are_the_consoles() -> None:
    """The journeys use the demo's accounts; a renamed role must not pass unnoticed."""
    from keymanager.roles import ROLES

    assert set(prepare.ROLES) == set(ROLES)
