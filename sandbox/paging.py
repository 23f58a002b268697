"""Lists in pages. A page holds at most ten entries however many were asked for, as recorded for deleted keys:
a client that stops at the first short page loses keys."""

from collections.abc import Sequence
from urllib.parse import quote

from sandbox import b64, errors

PAGE_SIZE = 10
_MAX_RESULTS = 25


def limit(query: dict[str, str]) -> int:
    """How many entries the answer may hold. Raises HsmError unless ``maxresults`` is 1 to 25."""
    asked = query.get("maxresults", str(_MAX_RESULTS))
    if not asked.isdecimal() or not 1 <= int(asked) <= _MAX_RESULTS:
        raise errors.bad_parameter(f"Invalid maxresults: {asked}")
    return min(int(asked), PAGE_SIZE)


def position(query: dict[str, str]) -> int:
    """Where the page begins: 0, or where an earlier answer's ``$skiptoken`` says. Raises HsmError."""
    token = query.get("$skiptoken")
    if token is None:
        return 0
    try:
        mark, number = b64.decode(token).decode("ascii").split(":")
        if mark != "after":
            raise ValueError(mark)
        return int(number)
    except ValueError as err:
        raise errors.bad_parameter("Invalid $skiptoken") from err


def answer(
    url: str, query: dict[str, str], items: Sequence[object], following: int | None
) -> dict[str, object]:
    """The page's JSON. ``following`` is the position behind its last entry, None at the end of the list.

    The next link repeats ``maxresults`` and, as recorded, carries no api-version.
    """
    page: dict[str, object] = {"value": items}
    if following is not None:
        token = b64.encode(f"after:{following}".encode())
        asked = quote(query.get("maxresults", str(_MAX_RESULTS)))
        page["nextLink"] = f"{url}?maxresults={asked}&$skiptoken={token}"
    return page
