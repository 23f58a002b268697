"""Every page of the catalogue, as axe-core and a strict browser see it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error

from tests.browser import Window, chromium, window
from tests.pages import axe
from tests.pages.catalogue import PAGES, Page
from tests.pages.scene import scene
from tests.pages.visit import WIDTHS, Visitor, show

pytestmark = pytest.mark.browser

#: Moderate and minor findings that stay, by rule, each with its reason.
ACCEPTED: dict[str, str] = {}

WIDE_TABLES = (
    "[...document.querySelectorAll('.table-wrap')].some(wrap => wrap.scrollWidth > wrap.clientWidth)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_every_page_is_accessible_and_fits_its_window(browser: Browser) -> None:
    """One test for all, so that one process builds the scene once; it reports every page that fails."""
    axe.require()
    with scene() as built:
        visitor = Visitor(built, browser)
        problems = [f"{page.name}: {problem}" for page in PAGES for problem in _problems(visitor, page)]
    assert not problems, "\n".join(["", *problems])


def _problems(visitor: Visitor, page: Page) -> list[str]:
    try:
        with visitor.at(page) as console:
            return list(_looked_at(console))
    except (AssertionError, Error) as problem:
        return [str(problem)]


def _looked_at(console: Window) -> Iterator[str]:
    axe.load(console.page)
    show(console, width="wide", colours="light")
    yield from _found(console, "wide, light")
    yield from _too_wide(console, "wide")
    show(console, width="wide", colours="dark")
    yield from _found(console, "wide, dark", rules=axe.COLOUR_RULES)
    show(console, width="narrow", colours="light")
    yield from _found(console, "narrow, light", rules=axe.ROOM_RULES)
    yield from _too_wide(console, "narrow")


def _too_wide(console: Window, width: str) -> Iterator[str]:
    if console.page.evaluate("document.documentElement.scrollWidth") > WIDTHS[width]:
        yield f"{width}: wider than its window"
    if console.page.evaluate(WIDE_TABLES):
        yield f"{width}: a table wider than its place"


def _found(console: Window, look: str, *, rules: tuple[str, ...] = ()) -> Iterator[str]:
    for violation in axe.violations(console.page, rules=rules):
        if violation.impact in ("serious", "critical") or violation.rule not in ACCEPTED:
            yield f"{look}: {violation}"


# --- The checker can fail ---------------------------------------------------------------------------

GOOD = "<label for=a>Name</label><input id=a>"
WRONG = {
    "label": "<input type=text>",
    "color-contrast": "<p style='color: #aaa; background: #bbb'>Words that nobody can read</p>",
    "button-name": "<button></button>",
    "image-alt": "<img src='data:,'>",
}


@pytest.fixture
def blank(browser: Browser) -> Iterator[Window]:
    with window(browser, "http://localhost", check=False) as console:
        yield console


def _rules_broken(console: Window, body: str) -> set[str]:
    console.page.set_content(
        f"<!DOCTYPE html><html lang=en><title>T</title><main><h1>H</h1>{body}</main></html>"
    )
    axe.load(console.page)
    return {violation.rule for violation in axe.violations(console.page)}


def test_a_good_page_is_good(blank: Window) -> None:
    assert _rules_broken(blank, GOOD) == set()


@pytest.mark.parametrize("rule", sorted(WRONG))
def test_a_bad_page_is_found_out(blank: Window, rule: str) -> None:
    assert rule in _rules_broken(blank, GOOD + WRONG[rule])
