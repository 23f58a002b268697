"""Pictures of every page, for docs/screenshots: ``python -m tests.pages.shots [NAME …]``.

Each page in light and dark, wide and narrow. What chance puts into a page is taken out first, so that a
picture changes when the page does. With names, only these pages are taken again.
"""

import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Error, FloatRect

from tests.browser import ColourScheme, Window, chromium
from tests.pages.catalogue import PAGES, Page
from tests.pages.scene import scene
from tests.pages.visit import COLOURS, WIDTHS, Visitor, show

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "screenshots"
STEADY = Path(__file__).with_name("steady.js").read_text()
#: The day that the pictures show.
PRESENT = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
PALETTE = 40
NEAR = 4
TALLEST = 2400

Colour = tuple[int, ...]


def file_name(page: Page, colours: ColourScheme, width: str) -> str:
    return f"{page.name}-{colours}-{width}.png"


def file_names(page: Page) -> Iterator[str]:
    """The four pictures of a page."""
    for colours in COLOURS:
        for width in WIDTHS:
            yield file_name(page, colours, width)


def index() -> str:
    """The gallery: docs/screenshots/README.md."""
    lines = [
        "# Every page of the console",
        "",
        "Written by `make screenshots`: each page in light and dark, in a wide and a narrow window.",
        "",
        "| Page | Wide | Narrow |",
        "|---|---|---|",
    ]
    for page in PAGES:
        wide, narrow = (
            " · ".join(f"[{colours}]({file_name(page, colours, width)})" for colours in COLOURS)
            for width in WIDTHS
        )
        lines.append(f"| {page.title} | {wide} | {narrow} |")
    for page in PAGES:
        lines += ["", f"## {page.title}", "", f"![{page.title}]({file_name(page, 'light', 'wide')})"]
    return "\n".join(lines) + "\n"


def take(console: Window, page: Page, shift: timedelta) -> Iterator[tuple[Path, int]]:
    """The four pictures of a page that is open; each file with its size in bytes."""
    console.page.evaluate(STEADY, shift / timedelta(milliseconds=1))
    for colours in COLOURS:
        for width in WIDTHS:
            show(console, width=width, colours=colours)
            raw = _photograph(console, width)
            file = FOLDER / file_name(page, colours, width)
            yield file, file.write_bytes(small(raw))


def _photograph(console: Window, width: str) -> bytes:
    """The whole page, the end of a very long one cut off; of a page with a dialog what is in sight."""
    if console.page.locator("dialog[open]").count():
        return console.page.screenshot(animations="disabled", caret="hide")
    console.page.evaluate("scrollTo(0, 0)")
    height = min(console.page.evaluate("document.documentElement.scrollHeight"), TALLEST)
    clip = FloatRect(x=0, y=0, width=WIDTHS[width], height=height)
    return console.page.screenshot(full_page=True, clip=clip, animations="disabled", caret="hide")


def small(png: bytes) -> bytes:
    """The picture with a palette of its most frequent colours that differ visibly from each other."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in _colours(picture) for part in colour])
    written = io.BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()


def _colours(picture: Image.Image) -> list[Colour]:
    counted = picture.getcolors(picture.width * picture.height) or []
    found: list[Colour] = []
    for _count, colour in sorted(counted, key=_weight, reverse=True):
        assert isinstance(colour, tuple)
        if len(found) == PALETTE:
            break
        if all(_distance(colour, other) > NEAR for other in found):
            found.append(colour)
    return found


def _weight(counted: tuple[int, Any]) -> int:
    """How much a colour matters: a few red letters among black ones must stay red."""
    count, colour = counted
    return count * (1 + int(max(colour)) - int(min(colour)))


def _distance(one: Colour, other: Colour) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def main(wanted: list[str]) -> int:
    """Take the pictures and say so; 1 where there is no browser, a name is unknown, or a page fails."""
    unknown = set(wanted) - {page.name for page in PAGES}
    if unknown:
        sys.stderr.write(f"No such page: {', '.join(sorted(unknown))}\n")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with chromium() as browser, scene() as built:
            visitor = Visitor(built, browser)
            pages = [page for page in PAGES if not wanted or page.name in wanted]
            failed = [page for page in pages if not _picture(visitor, page)]
    except pytest.skip.Exception as missing:
        sys.stderr.write(f"No pictures: {missing}\n")
        return 1
    _tidy()
    return 1 if failed else 0


def _picture(visitor: Visitor, page: Page) -> bool:
    """Whether the page was there; says which pictures were written, or why there are none."""
    try:
        with visitor.at(page) as console:
            for file, size in take(console, page, PRESENT - visitor.scene.now):
                sys.stdout.write(f"{file.relative_to(ROOT)}  {size / 1024:.0f} KB\n")
    except (AssertionError, Error) as problem:
        sys.stderr.write(f"{page.name}: {problem}\n")
        return False
    return True


def _tidy() -> None:
    """Remove pictures of pages that are no more, and write the index anew."""
    current = {name for page in PAGES for name in file_names(page)}
    for file in FOLDER.glob("*.png"):
        if file.name not in current:
            file.unlink()
    (FOLDER / "README.md").write_text(index())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
