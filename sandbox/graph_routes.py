"""Graph's paths and queries: which application is meant, and what of it is asked for."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from sandbox import graph_errors

_BY_APP_ID = re.compile(r"applications\(appId=(['\"])([^'\"]*)\1\)")
_FILTER = re.compile(r"(appId|displayName) eq '([^']*)'")
_ACTIONS = {"addPassword", "removePassword"}


@dataclass(frozen=True)
class GraphRoute:
    """``op`` is list, get, addPassword or removePassword; the application is named by one of its two ids."""

    op: str
    id: str = ""
    app_id: str = ""

    @property
    def named(self) -> str:
        return self.id or self.app_id


def parse(method: str, path: str) -> GraphRoute:
    """The operation behind a path below the version. Raises GraphError for any other."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    found = _BY_APP_ID.fullmatch(parts[0])
    if found is not None:
        return _on_one(method, parts[1:], "", found[2].lower())
    if parts[0] != "applications":
        raise graph_errors.unknown_segment(parts[0])
    if len(parts) > 1:
        return _on_one(method, parts[2:], parts[1].lower(), "")
    if method != "GET":
        raise graph_errors.wrong_method(method)
    return GraphRoute("list")


def _on_one(method: str, rest: list[str], id_: str, app_id: str) -> GraphRoute:
    name = rest[0].removeprefix("microsoft.graph.") if rest else ""
    if len(rest) > 1 or (name and name not in _ACTIONS):
        raise graph_errors.unknown_segment(rest[-1])
    if method != ("POST" if name else "GET"):
        raise graph_errors.wrong_method(method)
    return GraphRoute(name or "get", id_, app_id)


def parse_filter(query: dict[str, str]) -> tuple[str, str] | None:
    """Property and value of ``$filter``, None where there is none. Raises GraphError for other filters."""
    text = query.get("$filter")
    if text is None:
        return None
    found = _FILTER.fullmatch(text.strip())
    if found is None:
        raise graph_errors.unsupported_query(text)
    return found[1], found[2]


def parse_select(query: dict[str, str], known: frozenset[str]) -> tuple[str, ...]:
    """The properties that ``$select`` names, none where it names none. Raises GraphError for unknown ones."""
    names = tuple(name.strip() for name in query.get("$select", "").split(",") if name.strip())
    for name in names:
        if name not in known:
            raise graph_errors.unknown_property(name)
    return names
