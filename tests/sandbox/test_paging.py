"""Lists in pages."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sandbox.wire import Wire
from tests.sandbox_server import SandboxServer

COUNT = 23


@pytest.fixture(scope="module")
def full() -> Iterator[Wire]:
    """An HSM with 23 live keys, 23 deleted ones, and 23 versions of one key."""
    with SandboxServer() as server:
        wire = Wire(server)
        for number in range(COUNT):
            wire.create(f"live-{number}")
            wire.create(f"gone-{number}")
            wire.delete(f"gone-{number}")
        for _ in range(COUNT - 1):
            wire.create("live-0")
        yield wire


def pages(wire: Wire, path: str) -> list[Any]:
    found = [wire.ok("GET", path)]
    while "nextLink" in found[-1]:
        following = found[-1]["nextLink"]
        assert following.startswith(wire.server.address(urlsplit(following).hostname or ""))
        answer = wire.send("GET", following.removeprefix(wire.server.address()), None, wire.authorization())
        assert answer.status == 200
        found.append(answer.body)
    return found


@pytest.mark.parametrize("path", ["/keys", "/deletedkeys", "/keys/live-0/versions"])
@pytest.mark.parametrize(
    ("asked", "sizes"), [("", [10, 10, 3]), ("?maxresults=25", [10, 10, 3]), ("?maxresults=8", [8, 8, 7])]
)
def test_pages(full: Wire, path: str, asked: str, sizes: list[int]) -> None:
    """Shorter than asked; the next link has maxresults and a token, no api-version, and works as it is."""
    found = pages(full, f"{path}{asked}")
    assert [len(page["value"]) for page in found] == sizes
    kids = [item["kid"] for page in found for item in page["value"]]
    assert len(set(kids)) == COUNT
    link = urlsplit(found[0]["nextLink"])
    assert link.path == path
    assert set(parse_qs(link.query)) == {"maxresults", "$skiptoken"}
    assert parse_qs(link.query)["maxresults"] == [asked.partition("=")[2] or "25"]


def test_a_full_last_page_has_no_next_link(full: Wire) -> None:
    assert "nextLink" not in pages(full, "/keys?maxresults=1")[-1]
    assert len(pages(full, "/keys?maxresults=1")) == COUNT


def test_keys_deleted_between_pages_hide_no_others(full: Wire) -> None:
    first = full.ok("GET", "/keys?maxresults=10")
    for item in first["value"][:5]:
        full.delete(item["kid"].rpartition("/")[2])
    token = first["nextLink"].rpartition("=")[2]
    second = full.ok("GET", f"/keys?maxresults=10&$skiptoken={token}")
    assert second["value"][0]["kid"].endswith("/live-10")
    for item in first["value"][:5]:
        full.ok("POST", f"/deletedkeys/{item['kid'].rpartition('/')[2]}/recover")


@pytest.mark.parametrize(
    "query",
    ["maxresults=0", "maxresults=26", "maxresults=x", "maxresults=", "$skiptoken=x", "$skiptoken=YTpi"],
)
def test_bad_queries(full: Wire, query: str) -> None:
    assert full.call("GET", f"/keys?{query}").error == (400, "BadParameter")
