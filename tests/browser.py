"""A headless Chromium for tests, strict about what a page may do.

    with chromium() as browser, window(browser, live_server.url) as console:
        console.sign_in("ada", "her password")
        console.open("/cryptosources/cryptosource/")
        console.page.get_by_role("link", name="New crypto source").click()

Leaving ``window`` without another error fails the test when the pages wrote an error to the browser's
console (every violation of the Content-Security-Policy does), raised in a script, or asked another host
for anything. ``console.tolerate("404")`` allows console errors that contain that text.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, StorageState, sync_playwright

from tests.services import require_tool

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
TIMEOUT_MS = 15_000

ColourScheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """This machine's Chromium; skips the test where there is none. Keep it no longer than a module.

    Playwright's synchronous interface runs an event loop in this thread, where Django would refuse
    database access; the environment variable says that tests know what they do.
    """
    program = require_tool(*PROGRAMS, proves="the pages in a browser")
    with _environment("DJANGO_ALLOW_ASYNC_UNSAFE", "true"), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@dataclass
class Window:
    """One browser window (a session of its own) on one console."""

    page: Page
    base_url: str
    problems: list[str] = field(default_factory=list)
    tolerated: list[str] = field(default_factory=list)

    def open(self, path: str = "/") -> Page:
        """Go to a path of the console and wait until its scripts have run."""
        self.page.goto(self.base_url + path, wait_until="load")
        return self.page

    def sign_in(self, username: str, password: str) -> Page:
        """Sign in by the form; AssertionError when the console does not let this person in."""
        page = self.open("/login/")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password", exact=True).fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state("load")
        assert "/login/" not in page.url, f"{username} could not sign in: {page.inner_text('main')}"
        return page

    def enter_as(self, user: "User") -> Page:
        """Go in without the form, by a session made in this process's database (live_server only)."""
        from django.conf import settings
        from django.test import Client

        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        cookie = {"name": name, "value": client.cookies[name].value, "url": self.base_url}
        self.page.context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict in the stubs
        return self.open("/")

    def sign_out(self) -> None:
        self.page.context.clear_cookies()

    def tolerate(self, *fragments: str) -> None:
        """Allow console errors that contain one of these texts."""
        self.tolerated.extend(fragments)

    def check(self) -> None:
        """AssertionError naming what the pages did wrong so far."""
        wrong = [text for text in self.problems if not any(part in text for part in self.tolerated)]
        assert not wrong, "The pages misbehaved:\n" + "\n".join(wrong)

    def _watch(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        target = urlsplit(request.url)
        if (
            target.scheme in ("http", "https", "ws", "wss")
            and target.netloc != urlsplit(self.base_url).netloc
        ):
            self.problems.append(f"foreign host: {request.url}")


@contextmanager
def window(
    browser: Browser,
    base_url: str,
    *,
    width: int = 1280,
    height: int = 900,
    colours: ColourScheme = "light",
    check: bool = True,
    cookies: StorageState | None = None,
) -> Iterator[Window]:
    """A fresh window, without cookies unless another window's ``storage_state`` is given.

    ``base_url`` without a trailing slash, as ``live_server.url``.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=colours,
        locale="en-GB",
        accept_downloads=True,
        storage_state=cookies,
    )
    context.set_default_timeout(TIMEOUT_MS)
    try:
        opened = Window(context.new_page(), base_url.rstrip("/"))
        opened._watch()
        yield opened
        if check:
            opened.check()
    finally:
        context.close()
