"""A session that ends while somebody fills in a form: nothing is lost, nothing goes as somebody else."""

import time
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page, expect

from cryptosources.forms import SourceForm
from cryptosources.models import CryptoSource
from tests.browser import Window, chromium, window
from tests.ui.markup import parse
from tests.ui.urls import live_answers

NEW_SOURCE = "/cryptosources/cryptosource/add/"
SECRET = "the-value-of-a-client-secret"


def _person(name: str, role: str = "operator") -> User:
    person = User.objects.create_user(name, password=f"{name}'s password", is_staff=True)
    person.groups.add(Group.objects.get(name=role))
    return person


# --- What the server says -------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_page_learns_who_is_signed_in(client: Client) -> None:
    assert client.get("/session/").json()["user"] == ""
    client.force_login(_person("ada"))
    answer = client.get("/session/")
    assert answer.json()["user"] == "ada"
    assert answer.json()["token"]
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.django_db
def test_asking_who_is_signed_in_does_not_prolong_the_session(client: Client) -> None:
    client.force_login(_person("ada"))
    ends = timezone.now() + timedelta(minutes=1)
    Session.objects.update(expire_date=ends)
    answer = client.get("/session/")
    assert Session.objects.get().expire_date == ends
    assert "sessionid" not in answer.cookies


@pytest.mark.django_db
def test_without_scripts_a_lost_form_is_told_and_come_back_to(client: Client) -> None:
    _person("ada")
    page = f"http://testserver{NEW_SOURCE}?from=list"
    sent = client.post(NEW_SOURCE, {"friendly_name": "Lost", "key": SECRET}, headers={"referer": page})
    assert sent.status_code == HTTPStatus.FOUND
    door = client.get(sent.headers["Location"])
    assert "What you sent was not carried out" in door.content.decode()
    sign_in = {"username": "ada", "password": "ada's password", "next": parse_next(door.content.decode())}
    back = client.post(sent.headers["Location"], sign_in, follow=True)
    assert back.redirect_chain[-1][0] == f"{NEW_SOURCE}?from=list"
    assert "so nothing was carried out" in back.content.decode()
    assert SECRET not in back.content.decode()
    assert not CryptoSource.objects.exists()


def parse_next(html: str) -> str:
    return next(field["value"] for field in parse(html).all("input") if field.get("name") == "next")


@pytest.mark.django_db
def test_a_lost_press_of_a_button_leads_back_to_its_page(client: Client) -> None:
    """Doors that only take a POST have no page of their own to come back to."""
    source = "/cryptosources/cryptosource/11111111-1111-1111-1111-111111111111/"
    sent = client.post(f"{source}test/", headers={"referer": f"http://testserver{source}"})
    assert sent.headers["Location"].endswith(f"next={source}")


@pytest.mark.django_db
@pytest.mark.parametrize("sender", ["", "https://evil.example/page/", "//evil.example/"])
def test_a_lost_form_from_nowhere_leads_to_the_front_page(client: Client, sender: str) -> None:
    sent = client.post(NEW_SOURCE, headers={"referer": sender})
    assert sent.headers["Location"].endswith("next=/")


@pytest.mark.django_db
def test_signing_out_twice_is_no_lost_form(client: Client) -> None:
    assert "interrupted" not in client.post("/logout/").headers["Location"]


@pytest.mark.django_db
def test_an_ordinary_sign_in_says_nothing_of_a_lost_form(client: Client) -> None:
    _person("ada")
    sign_in = {"username": "ada", "password": "ada's password", "next": "/"}
    assert "nothing was carried out" not in client.post("/login/", sign_in, follow=True).content.decode()


# --- In a browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def ada(transactional_db: None) -> User:
    return _person("ada")


@pytest.fixture
def console(browser: Browser, live_server: Any, ada: User, licence: None) -> Iterator[Window]:
    with window(browser, live_server.url) as opened:
        opened.enter_as(ada)
        yield opened


def _fill_in_source(page: Page) -> None:
    page.get_by_label("Friendly Name").fill("Contoso eSeal")
    page.get_by_label("DNS Name").fill("contoso.managedhsm.azure.net")
    endpoint = "https://login.microsoftonline.com/0d153619-3606-470c-bfe6-0bf95f52a9c0/oauth2/v2.0/token"
    page.get_by_label("Endpoint OAuth 2.0 Token").fill(endpoint)
    page.get_by_label("Application ID").fill("02d00632-b69b-4431-8d30-1f9d4ed2e809")
    page.get_by_label("Key", exact=True).fill(SECRET)


def _end_sessions() -> None:
    Session.objects.all().delete()


def _dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Sign in again")


def _create(page: Page) -> Locator:
    return page.get_by_role("button", name="Create crypto source")


@pytest.mark.browser
def test_a_form_goes_on_after_signing_in_again(console: Window) -> None:
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    _end_sessions()
    _create(page).click()
    dialog = _dialog(page)
    expect(dialog).to_contain_text("still here")
    expect(dialog.get_by_label("Password")).to_be_focused()
    assert not CryptoSource.objects.exists()
    dialog.get_by_label("Password").fill("ada's password")
    dialog.get_by_role("button", name="Sign in and go on").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Contoso eSeal")
    source = CryptoSource.objects.get()
    assert source.created_by == "ada"
    assert source.sealed_secret


@pytest.mark.browser
def test_the_dialog_works_with_the_keyboard_alone(console: Window) -> None:
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    _end_sessions()
    _create(page).focus()
    page.keyboard.press("Enter")
    expect(_dialog(page).get_by_label("Password")).to_be_focused()
    page.keyboard.type("ada's password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Contoso eSeal")


@pytest.mark.browser
def test_escape_closes_the_dialog_and_keeps_the_form(console: Window) -> None:
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    _end_sessions()
    _create(page).click()
    expect(_dialog(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(_dialog(page)).to_be_hidden()
    expect(_create(page)).to_be_focused()
    expect(page.get_by_label("Key", exact=True)).to_have_value(SECRET)
    assert not CryptoSource.objects.exists()
    _create(page).click()
    expect(_dialog(page)).to_be_visible()


@pytest.mark.browser
def test_a_wrong_password_is_said_in_the_dialog(console: Window) -> None:
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    _end_sessions()
    _create(page).click()
    dialog = _dialog(page)
    dialog.get_by_label("Password").fill("a guess")
    dialog.get_by_label("Password").press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("do not go together")
    expect(dialog.get_by_label("Password")).to_be_focused()
    expect(dialog.get_by_label("Password")).to_have_value("")
    dialog.get_by_label("Password").fill("ada's password")
    dialog.get_by_label("Password").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Contoso eSeal")


@pytest.mark.browser
def test_somebody_else_is_told_and_nothing_is_sent(console: Window) -> None:
    _person("tom", "administrator")
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    _end_sessions()
    _create(page).click()
    _dialog(page).get_by_label("Username").fill("tom")
    _dialog(page).get_by_label("Password").fill("tom's password")
    _dialog(page).get_by_label("Password").press("Enter")
    other = page.get_by_role("dialog", name="Signed in as tom")
    expect(other).to_contain_text("opened by ada")
    assert not CryptoSource.objects.exists()
    other.get_by_role("button", name="Load the page again").click()
    expect(page.locator(".user-name")).to_have_text("tom")
    expect(page.get_by_label("Friendly Name")).to_have_value("")
    assert not CryptoSource.objects.exists()


@pytest.mark.browser
def test_a_form_is_not_sent_as_the_person_who_signed_in_meanwhile(
    console: Window, browser: Browser, live_server: Any
) -> None:
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    with window(browser, live_server.url) as elsewhere:
        elsewhere.enter_as(_person("tom", "administrator"))
        page.context.add_cookies(elsewhere.page.context.cookies())  # type: ignore[arg-type]  # the same shape
    _create(page).click()
    other = page.get_by_role("dialog", name="Signed in as tom")
    other.get_by_role("button", name="Stay on this page").click()
    expect(page.get_by_label("Key", exact=True)).to_have_value(SECRET)
    assert not CryptoSource.objects.exists()


@pytest.mark.browser
def test_a_form_takes_the_token_of_a_newer_session(console: Window) -> None:
    """Signing out and in again in another tab makes a new token; the form of this tab still goes."""
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    tab = page.context.new_page()
    _end_sessions()
    tab.goto(f"{console.base_url}/login/")
    tab.get_by_label("Username").fill("ada")
    tab.get_by_label("Password", exact=True).fill("ada's password")
    tab.get_by_role("button", name="Sign in").click()
    expect(tab.locator(".user-name")).to_have_text("ada")
    _create(page).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Contoso eSeal")


@pytest.mark.browser
def test_a_server_that_is_away_loses_nothing(console: Window) -> None:
    console.tolerate("ERR_INTERNET_DISCONNECTED")
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    page.context.set_offline(True)
    _create(page).click()
    expect(page.get_by_text("Nothing was sent, and what you typed is still here")).to_be_visible()
    page.context.set_offline(False)
    _create(page).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Contoso eSeal")


@pytest.fixture
def slow_posts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The forms of new sources that reached the server, which takes its time and turns each of them down."""
    reached: list[str] = []

    def slow(_form: SourceForm) -> bool:
        reached.append("post")
        time.sleep(1.5)
        return False

    monkeypatch.setattr(SourceForm, "is_valid", slow)
    return reached


def _click_thrice(page: Page) -> None:
    """The second and third while the answer is awaited."""
    _create(page).evaluate(
        "button => [0, 500, 1000].forEach((wait) => setTimeout(() => button.click(), wait))"
    )


@pytest.mark.browser
def test_a_form_whose_answer_is_awaited_is_sent_once(console: Window, slow_posts: list[str]) -> None:
    page = console.open(NEW_SOURCE)
    _fill_in_source(page)
    with page.expect_navigation():
        _click_thrice(page)
    page.wait_for_timeout(500)
    assert slow_posts == ["post"]
    _fill_in_source(page)
    with page.expect_navigation():
        _create(page).click()
    assert slow_posts == ["post", "post"], "the page of the answer sends again"


@pytest.mark.browser
def test_a_form_that_stays_on_its_page_goes_again_after_a_while(
    console: Window,
) -> None:
    """As when the answer is a download, or the browser's stop button was pressed."""
    page = console.page
    page.clock.install()
    console.open(NEW_SOURCE)
    _fill_in_source(page)
    page.route("**/add/", lambda route: route.fulfill(status=204))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method) if request.method == "POST" else None)
    _create(page).click()
    page.wait_for_timeout(500)
    _create(page).click()
    page.wait_for_timeout(500)
    assert sent == ["POST"]
    page.clock.fast_forward(11_000)
    _create(page).click()
    page.wait_for_timeout(500)
    assert sent == ["POST", "POST"]


@pytest.mark.browser
def test_a_window_that_comes_back_asks(console: Window) -> None:
    page = console.page
    page.clock.install()
    console.open(NEW_SOURCE)
    _end_sessions()
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    page.wait_for_timeout(300)
    expect(_dialog(page)).to_be_hidden()
    page.clock.fast_forward(60_000)
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(_dialog(page)).to_be_visible()


@pytest.mark.browser
@pytest.mark.urls("tests.ui.urls")
def test_a_chosen_file_is_still_chosen(console: Window, tmp_path: Path) -> None:
    file = tmp_path / "document.txt"
    file.write_text("the words of a document")
    console.tolerate("favicon")
    page = console.open("/gallery/")
    page.get_by_label("Document").set_input_files(file)
    _end_sessions()
    page.get_by_role("button", name="Send").click()
    _dialog(page).get_by_label("Password").fill("ada's password")
    _dialog(page).get_by_label("Password").press("Enter")
    expect(page.get_by_text("the words of a document")).to_be_visible()


@pytest.mark.browser
@pytest.mark.urls("tests.ui.urls")
def test_a_live_part_goes_on_after_signing_in_again(console: Window) -> None:
    live_answers.__init__()  # type: ignore[misc]  # the view holds this very object
    live_answers.answers = [{"finished": False, "html": "<p>Going on</p>"}]
    page = console.open("/gallery/")
    expect(page.locator("#live")).to_have_text("Going on")
    live_answers.answers = [HTTPStatus.FORBIDDEN.value]
    console.tolerate("403")
    _end_sessions()
    expect(page.get_by_text("Your sign-in has ended")).to_be_visible()
    live_answers.answers = [{"finished": True, "html": "<p>Done</p>"}]
    page.get_by_role("button", name="Sign in again").click()
    _dialog(page).get_by_label("Password").fill("ada's password")
    _dialog(page).get_by_label("Password").press("Enter")
    expect(page.locator("#live")).to_have_text("Done")
    expect(page.get_by_text("Your sign-in has ended")).to_be_hidden()
