"""Looking at the catalogue's pages in a browser, each as the person whom it is for."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from playwright.sync_api import Browser, StorageState, expect

from tests.browser import ColourScheme, Window, window
from tests.pages.catalogue import By, Page
from tests.pages.scene import Scene

#: Wide and narrow windows, by the names in the pictures' file names.
WIDTHS: dict[str, int] = {"wide": 1280, "narrow": 390}
COLOURS: tuple[ColourScheme, ...] = ("light", "dark")
HEIGHT = 800
#: The browser's clock, so long after the scene's present: later than all that was really done in it.
PRESENT = timedelta(minutes=2)


class Visitor:
    """One browser on one scene. Every role signs in once; every page gets a window of its own."""

    def __init__(self, scene: Scene, browser: Browser) -> None:
        self.scene = scene
        self.browser = browser
        self._cookies: dict[tuple[By, bool], StorageState] = {}

    @contextmanager
    def at(self, page: Page) -> Iterator[Window]:
        """A window on the page, its act done and its text in sight; AssertionError otherwise."""
        url = (self.scene.empty if page.empty else self.scene.full).url
        with window(self.browser, url, height=HEIGHT, cookies=self._signed_in(page)) as console:
            console.tolerate(*page.tolerates)
            console.page.clock.set_fixed_time(self.scene.now + PRESENT)
            self._open(page, console)
            yield console

    def _open(self, page: Page, console: Window) -> None:
        answer = console.page.goto(console.base_url + self.scene.path(page.path), wait_until="load")
        assert answer is not None
        assert answer.status == page.status, f"{page.name}: {answer.status}"
        if page.act:
            page.act(console.page)
        expect(console.page.locator("body")).to_contain_text(page.shows)

    def _signed_in(self, page: Page) -> StorageState | None:
        if page.by is By.STRANGER:
            return None
        place = (page.by, page.empty)
        if place not in self._cookies:
            self._cookies[place] = self._sign_in(*place)
        return self._cookies[place]

    def _sign_in(self, by: By, empty: bool) -> StorageState:
        url = (self.scene.empty if empty else self.scene.full).url
        account = self.scene.sign_in(by, empty=empty)
        with window(self.browser, url) as console:
            console.sign_in(account.username, account.password)
            return console.page.context.storage_state()


def show(console: Window, *, width: str, colours: ColourScheme) -> None:
    """Give a page that is open another width and other colours."""
    console.page.set_viewport_size({"width": WIDTHS[width], "height": HEIGHT})
    console.page.emulate_media(color_scheme=colours)
