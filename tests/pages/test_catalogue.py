"""The catalogue leaves no page out, and docs/screenshots shows exactly the catalogue."""

import re
from collections import defaultdict
from collections.abc import Iterator

from django.urls import URLPattern, URLResolver, get_resolver, resolve

from tests.pages.catalogue import NO_PAGES, PAGES
from tests.pages.shots import FOLDER, file_names, index

ANY_IDS = ("11111111-1111-1111-1111-111111111111", "1")
#: The pattern that matches what no other does.
NO_SUCH_PAGE = "(?P<url>.*)$"


def _patterns(resolver: URLResolver) -> Iterator[str]:
    """The name of every URL pattern; its route where it has none."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern)
        else:
            assert isinstance(pattern, URLPattern)
            yield pattern.name or str(pattern.pattern)


def _name_of(path: str) -> str:
    """The name of the URL pattern of a catalogue's path, any id in the place of an object's."""
    filled = (re.sub(r"\{[^}]*\}", any_id, path).partition("?")[0] for any_id in ANY_IDS)
    names = [match.url_name or NO_SUCH_PAGE for match in map(resolve, filled)]
    return next((name for name in names if name != NO_SUCH_PAGE), NO_SUCH_PAGE)


def test_every_page_of_the_console_is_in_the_catalogue() -> None:
    known = {_name_of(page.path) for page in PAGES} | set(NO_PAGES)
    left_out = sorted(set(_patterns(get_resolver())) - known)
    assert not left_out, f"Add a line to PAGES (or to NO_PAGES, with the reason) for: {left_out}"


def test_what_is_no_page_exists() -> None:
    assert set(NO_PAGES) - set(_patterns(get_resolver())) == set()


def test_no_page_is_called_no_page() -> None:
    known = {_name_of(page.path) for page in PAGES}
    assert known & set(NO_PAGES) <= {NO_SUCH_PAGE}


def test_names_are_different_and_fit_for_files() -> None:
    paths = defaultdict(list)
    for page in PAGES:
        paths[page.name].append(page.path)
    assert [name for name, found in paths.items() if len(found) > 1] == []
    assert [name for name in paths if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


def test_there_is_a_picture_of_every_page_and_no_other() -> None:
    wanted = {name for page in PAGES for name in file_names(page)}
    there = {file.name for file in FOLDER.glob("*.png")}
    assert (sorted(wanted - there), sorted(there - wanted)) == ([], []), "Run `make screenshots`."


def test_the_gallery_is_current() -> None:
    assert (FOLDER / "README.md").read_text() == index(), "Run `make screenshots`."
