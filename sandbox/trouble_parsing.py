"""Reading rules of trouble: a document from JSON or TOML, checked member by member."""

import json
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sandbox import roles
from sandbox.trouble_rules import AFTER, BEFORE, EFFECTS, EVERYWHERE, Document, Effect, Rule

T = TypeVar("T")

_STATUSES = (500, 502, 503, 504)
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LONGEST = 86400.0
_SETTINGS = frozenset(("seconds", "retry_after", "status", "moment", "claims", "role", "clock"))
_FREQUENCY = frozenset(("probability", "every", "next"))
_MATCH = frozenset(("operations", "keys", "hsm", "application"))
_COMMON = frozenset(("id", "effect", "after", "for"))


class TroubleError(ValueError):
    """A document makes no sense; the message says which rule and why."""


def read(path: Path, hsms: Collection[str]) -> Document:
    """The rules in a file: TOML where its name ends in .toml, else JSON. Raises TroubleError."""
    try:
        text = path.read_text()
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as err:
        raise TroubleError(f"{path} cannot be read: {err.strerror}") from err
    except ValueError as err:
        raise TroubleError(f"{path} is not {'TOML' if path.suffix == '.toml' else 'JSON'}: {err}") from err
    try:
        return parse(content, hsms)
    except TroubleError as err:
        raise TroubleError(f"{path}: {err}") from err


def parse(content: object, hsms: Collection[str], taken: Collection[str] = ()) -> Document:
    """The rules of a document, for a sandbox that serves ``hsms``; ``taken`` are ids in use already.

    Raises TroubleError for the first thing that is wrong; no rule counts then.
    """
    if not isinstance(content, Mapping):
        raise TroubleError("The document must be an object with rules")
    _refuse_unknown("The document", content, {"seed", "rules"})
    seed, given = content.get("seed", 0), content.get("rules", [])
    if not _is_whole(seed):
        raise TroubleError(f"seed must be a whole number, not {seed!r}")
    if not isinstance(given, list):
        raise TroubleError("rules must be a list")
    used = set(taken)
    return Document(seed, tuple(_rule(position, item, hsms, used) for position, item in enumerate(given, 1)))


def _rule(position: int, given: object, hsms: Collection[str], used: set[str]) -> Rule:
    """One rule; its id joins ``used``."""
    where = f"Rule {position}"
    if not isinstance(given, Mapping):
        raise TroubleError(f"{where} must be an object")
    name = given.get("id") or _free_id(used)
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,60}", name):
        raise TroubleError(f"{where}: id must be 1 to 60 letters, digits, dots, hyphens or underscores")
    where = f"{where} ({name})"
    if name in used:
        raise TroubleError(f"{where}: there is a rule of this id already")
    used.add(name)
    try:
        return _Reader(given, hsms).rule(name)
    except TroubleError as err:
        raise TroubleError(f"{where}: {err}") from err


def _free_id(used: set[str]) -> str:
    number = 1
    while f"rule-{number}" in used:
        number += 1
    return f"rule-{number}"


class _Reader:
    """Reads one rule's members, each with a check of its own."""

    def __init__(self, given: Mapping[str, Any], hsms: Collection[str]) -> None:
        self._given = given
        self._hsms = hsms

    def rule(self, name: str) -> Rule:
        effect = self._effect()
        self._check_members(effect, EFFECTS[effect])
        return Rule(
            id=name,
            effect=effect,
            operations=self._operations(effect),
            keys=self._text("keys", "*"),
            hsm=self._hsm(),
            application=self._text("application", "").lower(),
            probability=self._read("probability", 1.0, _probability, "a number above 0 and up to 1"),
            every=self._read("every", 1, _count, "a whole number from 1"),
            next=self._read("next", None, _count, "a whole number from 1"),
            after=self._read("after", 0.0, _seconds, "a number of seconds, up to a day"),
            lasting=self._read("for", None, _seconds, "a number of seconds, up to a day"),
            seconds=self._seconds(effect),
            retry_after=self._read("retry_after", None, _count, "a whole number of seconds from 1"),
            status=self._read("status", 0, _status, f"one of {_listing(_STATUSES)}"),
            moment=self._choice("moment", (BEFORE, AFTER)),
            claims=self._read("claims", False, _flag, "true or false"),
            role=self._read("role", "", _role, "a built-in role's name, a role's GUID, or *"),
            clock=self._choice("clock", ("hsm", "entra")),
            source={"id": name, **self._given},
        )

    def _effect(self) -> str:
        found = self._given.get("effect")
        if not isinstance(found, str) or found not in EFFECTS:
            raise TroubleError(f"effect must be one of {_listing(EFFECTS)}, not {found!r}")
        return found

    def _check_members(self, name: str, effect: Effect) -> None:
        _refuse_unknown("It", self._given, _COMMON | _MATCH | _FREQUENCY | _SETTINGS)
        for member in sorted(effect.needs - set(self._given)):
            raise TroubleError(f"{name} needs {member}")
        for member in sorted((set(self._given) & _SETTINGS) - effect.needs - effect.allows):
            raise TroubleError(f"{name} has no {member}")
        if effect.standing:
            for member in sorted(set(self._given) & (_FREQUENCY | {"operations", "keys"})):
                raise TroubleError(f"{name} holds all the time, so {member} means nothing")
        if {"probability", "every"} <= set(self._given):
            raise TroubleError("probability and every exclude each other")
        if self._given.get("clock") == "entra" and "hsm" in self._given:
            raise TroubleError("entra has one clock for every HSM, so hsm means nothing")
        if name == "skew" and "application" in self._given:
            raise TroubleError("a clock is wrong for everybody, so application means nothing")

    def _operations(self, effect: str) -> frozenset[str]:
        given = self._given.get("operations")
        if given is None:
            return EFFECTS[effect].usual
        if not isinstance(given, list) or not given or not all(isinstance(item, str) for item in given):
            raise TroubleError("operations must be a list of names")
        for item in given:
            if item not in EVERYWHERE:
                raise TroubleError(f"there is no operation {item!r}; there are {_listing(EVERYWHERE)}")
            if item not in EFFECTS[effect].possible:
                raise TroubleError(f"{effect} cannot strike the operation {item}")
        return frozenset(given)

    def _hsm(self) -> str:
        name = self._text("hsm", "").lower()
        if name and name not in self._hsms:
            raise TroubleError(f"there is no HSM named {name}; there are {_listing(self._hsms)}")
        return name

    def _seconds(self, effect: str) -> tuple[float, float]:
        """A number, or for latency a range; only a clock can be behind."""
        given = self._given.get("seconds", 0)
        lowest = -_LONGEST if effect == "skew" else 0.0
        pair = given if isinstance(given, list) and effect == "latency" else [given, given]
        if len(pair) != 2 or not all(_is_number(item) and lowest <= item <= _LONGEST for item in pair):
            raise TroubleError(f"seconds must be {_seconds_wanted(effect)}, not {given!r}")
        if pair[0] > pair[1]:
            raise TroubleError(f"seconds must be a range from low to high, not {given!r}")
        return float(pair[0]), float(pair[1])

    def _text(self, name: str, default: str) -> str:
        return self._read(name, default, _non_empty, "a text")

    def _choice(self, name: str, choices: tuple[str, str]) -> str:
        return self._read(name, choices[0], lambda value: _one_of(value, choices), f"{' or '.join(choices)}")

    def _read(self, name: str, default: T, check: Callable[[Any], T | None], wanted: str) -> T:
        if name not in self._given:
            return default
        value = check(self._given[name])
        if value is None:
            raise TroubleError(f"{name} must be {wanted}, not {self._given[name]!r}")
        return value


def _refuse_unknown(what: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise TroubleError(f"{what} has an unknown member {name!r}; known are {_listing(known)}")


def _listing(values: Collection[object]) -> str:
    return ", ".join(sorted(map(str, values)))


def _seconds_wanted(effect: str) -> str:
    span = f"{-_LONGEST:g} to {_LONGEST:g}" if effect == "skew" else f"0 to {_LONGEST:g}"
    return f"{span}, or a range [low, high]" if effect == "latency" else span


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _probability(value: Any) -> float | None:
    return float(value) if _is_number(value) and 0 < value <= 1 else None


def _count(value: Any) -> int | None:
    return value if _is_whole(value) and value >= 1 else None


def _seconds(value: Any) -> float | None:
    return float(value) if _is_number(value) and 0 <= value <= _LONGEST else None


def _status(value: Any) -> int | None:
    return value if _is_whole(value) and value in _STATUSES else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _non_empty(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _one_of(value: Any, choices: tuple[str, str]) -> str | None:
    return value if isinstance(value, str) and value in choices else None


def _role(value: Any) -> str | None:
    """A role as its GUID in lower case, or ``*`` for all."""
    if not isinstance(value, str):
        return None
    found = roles.built_in(value)
    if found is not None:
        return found.name
    return value.lower() if value == "*" or _GUID.fullmatch(value) else None
