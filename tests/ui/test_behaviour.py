"""What the pages do in a browser: colours, menus, dependent fields, live parts, keyboard, narrow windows."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, expect

from tests.browser import Window, chromium, window
from tests.ui.urls import LiveAnswers, live_answers

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.ui.urls"),
]

WIDTHS = (1280, 768, 390, 320)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def answers() -> LiveAnswers:
    live_answers.__init__()  # type: ignore[misc]  # the view holds this very object
    live_answers.answers = [{"finished": True, "html": "<p>Done</p>"}]
    return live_answers


@pytest.fixture
def console(browser: Browser, live_server: Any, answers: LiveAnswers) -> Iterator[Window]:
    with window(browser, live_server.url) as opened:
        opened.enter_as(User.objects.create_superuser("ada"))
        yield opened


def _is_dark(console: Window) -> bool:
    """Is the page's ground darker than its text?"""
    script = "getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    return bool(sum(console.page.evaluate(script)) < 384)


def test_signing_in_and_out(browser: Browser, live_server: Any) -> None:
    User.objects.create_superuser("ada", password="engine")
    with window(browser, live_server.url) as console:
        console.sign_in("ada", "engine")
        console.page.locator("summary", has_text="ada").click()
        console.page.get_by_role("button", name="Sign out").click()
        expect(console.page.get_by_role("heading", name="Sign in")).to_be_visible()
        console.open("/auth/user/")
        expect(console.page.get_by_role("heading", name="Sign in")).to_be_visible()


# --- Colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_colours_follow_the_system(browser: Browser, live_server: Any, colours: Any) -> None:
    with window(browser, live_server.url, colours=colours) as console:
        console.open("/login/")
        assert _is_dark(console) == (colours == "dark")


def test_chosen_colours_are_remembered(console: Window) -> None:
    console.page.get_by_text("ada").first.click()
    console.page.get_by_role("button", name="Dark").click()
    assert _is_dark(console)
    console.open("/gallery/")
    assert _is_dark(console)
    console.page.get_by_text("ada").first.click()
    expect(console.page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    console.page.get_by_role("button", name="Auto").click()
    assert not _is_dark(console)


# --- Keyboard and narrow windows --------------------------------------------------------------------


def test_first_tab_leads_past_the_navigation(console: Window) -> None:
    page = console.open("/gallery/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_focus_is_visible(console: Window) -> None:
    page = console.open("/gallery/")
    for _ in range(4):
        page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_menu_closes_with_escape_and_gives_the_focus_back(console: Window) -> None:
    page = console.open("/gallery/")
    summary = page.locator("summary", has_text="Choose")
    summary.press("Enter")
    expect(page.get_by_role("link", name="One")).to_be_visible()
    page.get_by_role("link", name="One").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="One")).to_be_hidden()
    expect(summary).to_be_focused()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(console: Window, width: int) -> None:
    page = console.page
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/", "/gallery/", "/gallery/?wrong", "/auth/user/", "/auth/user/add/"):
        console.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_narrow_window_opens_its_navigation(console: Window) -> None:
    page = console.page
    page.set_viewport_size({"width": 390, "height": 800})
    console.open("/gallery/")
    people = page.get_by_role("link", name="People")
    expect(people).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    people.click()
    expect(page.get_by_role("heading", name="People")).to_be_visible()


def test_rows_of_a_narrow_table_name_their_columns(console: Window) -> None:
    page = console.page
    page.set_viewport_size({"width": 390, "height": 800})
    console.open("/auth/user/")
    shown = page.locator("td.field-status").first.evaluate(
        "cell => getComputedStyle(cell, '::before').content"
    )
    assert shown == '"Status"'


# --- Forms ----------------------------------------------------------------------------------------


def test_dependent_fields_wait_for_their_checkbox(console: Window) -> None:
    page = console.open("/gallery/")
    keep = page.get_by_label("Keep after signing")
    seconds = page.get_by_label("Remove after")
    expect(keep).to_be_disabled()
    expect(seconds).to_be_disabled()
    page.get_by_label("Enable Key Backup & Restore").check()
    expect(keep).to_be_enabled()
    expect(seconds).to_be_disabled()
    keep.check()
    expect(seconds).to_be_enabled()


def test_a_chain_of_dependent_fields_falls_together_and_comes_back(console: Window) -> None:
    page = console.open("/gallery/")
    backup, keep = page.get_by_label("Enable Key Backup & Restore"), page.get_by_label("Keep after signing")
    backup.check()
    keep.check()
    backup.uncheck()
    expect(keep).to_be_disabled()
    expect(keep).not_to_be_checked()
    expect(page.get_by_label("Remove after")).to_be_disabled()
    backup.check()
    expect(keep).to_be_checked()
    expect(page.get_by_label("Remove after")).to_be_enabled()


def test_form_with_errors_opens_at_its_summary(console: Window) -> None:
    page = console.open("/gallery/?wrong")
    expect(page.locator(".error-summary")).to_be_focused()
    page.locator(".error-summary").get_by_role("link", name="Friendly Name").click()
    expect(page.get_by_label("Friendly Name")).to_be_focused()


def test_password_can_be_shown_while_it_is_typed(console: Window) -> None:
    page = console.open("/gallery/")
    key = page.locator("#id_key")
    key.fill("s3cret")
    page.get_by_role("button", name="Show").click()
    expect(key).to_have_attribute("type", "text")
    page.get_by_role("button", name="Hide").click()
    expect(key).to_have_attribute("type", "password")


def test_dangerous_button_waits_for_the_typed_name(console: Window) -> None:
    page = console.open("/gallery/")
    purge = page.get_by_role("button", name="Purge")
    expect(purge).to_be_disabled()
    page.get_by_label("to confirm").fill("eseal-2025")
    expect(purge).to_be_disabled()
    page.get_by_label("to confirm").fill("eseal-2026")
    expect(purge).to_be_enabled()


# --- Times, copying, live parts -----------------------------------------------------------------------


def test_times_are_told_from_now(console: Window) -> None:
    moment = console.open("/gallery/").locator("#moment time")
    expect(moment).to_have_text("3 minutes ago")
    assert moment.get_attribute("title")


def test_text_is_copied(console: Window) -> None:
    console.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = console.open("/gallery/")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "-----BEGIN PUBLIC KEY-----"


def test_live_part_follows_until_it_is_finished(console: Window, answers: LiveAnswers) -> None:
    answers.answers = [
        {"finished": False, "html": "<p>Step 1</p>"},
        {"finished": True, "html": "<p>Step 2</p>"},
    ]
    live = console.open("/gallery/").locator("#live")
    expect(live).to_have_attribute("aria-live", "polite")
    expect(live).to_have_text("Step 1")
    expect(live).to_have_text("Step 2")
    console.page.wait_for_timeout(1500)
    assert answers.asked == 2


def test_live_part_keeps_what_has_not_changed(console: Window, answers: LiveAnswers) -> None:
    more = "<details><summary>More</summary>text</details>"
    answers.answers = [{"finished": True, "html": f"<p>Changed</p>{more}"}]
    page = console.open("/gallery/")
    more_shown = page.locator("#live summary")
    more_shown.click()
    more_shown.focus()
    expect(page.locator("#live p")).to_have_text("Changed")
    expect(more_shown).to_be_focused()
    expect(page.locator("#live details")).to_have_attribute("open", "")


def test_live_part_says_when_the_server_is_away_and_recovers(console: Window, answers: LiveAnswers) -> None:
    console.tolerate("503")
    answers.answers = [503, {"finished": True, "html": "<p>Back</p>"}]
    page = console.open("/gallery/")
    expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Back")
    expect(page.get_by_text("The server cannot be reached.")).to_be_hidden()


def test_live_part_stops_when_it_may_not_ask_any_more(console: Window, answers: LiveAnswers) -> None:
    console.tolerate("403")
    answers.answers = [403]
    page = console.open("/gallery/")
    expect(page.get_by_text("This part no longer follows the work.")).to_be_visible()
    page.wait_for_timeout(1500)
    assert answers.asked == 1


def test_live_part_rests_while_the_page_is_hidden(console: Window, answers: LiveAnswers) -> None:
    answers.answers = [{"finished": False, "html": "<p>Going on</p>"}]
    page = console.open("/gallery/")
    expect(page.locator("#live")).to_have_text("Going on")
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", {value: true, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    page.wait_for_timeout(300)
    before = answers.asked
    page.wait_for_timeout(2200)
    assert answers.asked == before


# --- The watch itself -----------------------------------------------------------------------------


def test_watch_sees_what_the_policy_refuses(browser: Browser, live_server: Any) -> None:
    with window(browser, live_server.url, check=False) as console:
        page = console.open("/login/")
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
        page.wait_for_timeout(200)
        with pytest.raises(AssertionError, match="style"):
            console.check()
