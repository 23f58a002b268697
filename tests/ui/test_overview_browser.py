"""The front page in a browser: work that is followed live, the keyboard, narrow windows."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from keys.models import KeyOperation
from tests.browser import Window, chromium, window
from tests.keymanager.holdings import make_keys, make_operation, make_source, make_use, person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def console(browser: Browser, live_server: Any) -> Iterator[Window]:
    with window(browser, live_server.url) as opened:
        yield opened


def _polls(page: Page) -> list[str]:
    """The addresses of the live part that the page asks for from now on."""
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url) if "/overview/work/" in request.url else None
    )
    return asked


def test_work_comes_and_goes_without_loading_the_page_again(console: Window) -> None:
    (key,) = make_keys(make_source())
    page = console.enter_as(person("operator"))
    expect(page.get_by_text("All quiet: nothing is under way.")).to_be_visible()
    operation = make_operation(key, "backup", "pending")
    expect(page.get_by_role("link", name="Back up seal-0")).to_be_visible()
    expect(page.get_by_text("Take a backup and seal it, step 1 of 2")).to_be_visible()
    KeyOperation.objects.filter(pk=operation.pk).update(state="running", step="verify_backup")
    expect(page.get_by_text("Verify the backup, step 2 of 2")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "75")
    operation.delete()
    expect(page.get_by_text("All quiet: nothing is under way.")).to_be_visible()


def test_a_hidden_page_does_not_ask(console: Window) -> None:
    page = console.enter_as(person("operator"))
    asked = _polls(page)
    page.wait_for_timeout(2500)
    assert 1 <= len(asked) <= 3
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", {value: true, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []


def test_the_focus_stays_on_the_link_that_has_it_while_work_moves_on(console: Window) -> None:
    (key,) = make_keys(make_source())
    operation = make_operation(key, "backup", "pending")
    page = console.enter_as(person("operator"))
    link = page.get_by_role("link", name="Back up seal-0")
    link.focus()
    KeyOperation.objects.filter(pk=operation.pk).update(
        state="running", claim_token=uuid4(), claim_expires_at=timezone.now()
    )
    expect(page.get_by_role("link", name="1 running")).to_be_visible()
    expect(link).to_be_focused()


@pytest.mark.parametrize("width", [1440, 1280, 1024, 768, 390, 320])
def test_the_page_is_never_wider_than_its_window(browser: Browser, live_server: Any, width: int) -> None:
    source = make_source("A-source-with-a-very-long-name-that-nobody-could-break-anywhere-sensibly", days=-3)
    for number in range(12):
        make_source(f"Source {number}", days=number * 30, healthy=number % 2 == 0)
    (key,) = make_keys(source, prefix="a-key-with-a-very-long-name-that-goes-on-and-on-and-on")
    make_operation(key, "backup", "failed", error="E" * 200)
    make_operation(key, "sign", "running")
    make_use(key, {0: 1_234_567, 40: 5})
    with window(browser, live_server.url, width=width) as console:
        page = console.enter_as(person("administrator"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_picture_of_secrets_is_a_table_for_a_screen_reader(console: Window) -> None:
    make_source("Contoso", days=12)
    page = console.enter_as(person("auditor"))
    table = page.get_by_role("table", name="The Key (client secret) of each crypto source")
    row = table.get_by_role("row", name="Contoso")
    expect(row.get_by_role("rowheader")).to_contain_text("Contoso")
    expect(row).to_contain_text("12 days left")
    row.get_by_role("link", name="Contoso").press("Enter")
    expect(page.get_by_role("heading", name="Contoso", level=1)).to_be_visible()


def test_the_checklist_leads_to_the_form_by_the_keyboard(console: Window) -> None:
    page = console.enter_as(person("operator"))
    steps = page.get_by_role("region", name="Your way to the first signature")
    expect(steps.get_by_role("listitem")).to_have_count(6)
    expect(steps.locator("[aria-current=step]")).to_contain_text("Install the licence")
    expect(steps.get_by_role("link")).to_have_count(0)
