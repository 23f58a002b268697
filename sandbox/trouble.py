"""Trouble on demand: the rules in force, which of them strike a request, and how often they did."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sandbox.clock import Clock
from sandbox.trouble_journal import Journal
from sandbox.trouble_rules import Document, Json, Rule

_LISTS = frozenset(("list", "list-deleted"))


@dataclass(frozen=True)
class Seen:
    """A request as rules see it; ``key`` and ``hsm`` are empty where it has none."""

    op: str
    key: str = ""
    hsm: str = ""
    application: str = ""


class Loaded:
    """A rule with its own chances and counts. Same seed, same rule, same requests: same trouble."""

    def __init__(self, rule: Rule, seed: int, now: float) -> None:
        self.rule = rule
        self.matched = self.hits = 0
        self._since = now
        self._random = random.Random(f"{seed}/{rule.id}")  # noqa: S311 - chances, not secrets

    def in_time(self, now: float) -> bool:
        start = self._since + self.rule.after
        return start <= now and (self.rule.lasting is None or now < start + self.rule.lasting)

    def strikes(self) -> bool:
        """Whether this matching request is struck; counts it."""
        self.matched += 1
        if self.rule.next is not None and self.hits >= self.rule.next:
            return False
        if self.matched % self.rule.every or self._random.random() >= self.rule.probability:
            return False
        self.hits += 1
        return True

    def draw_seconds(self) -> float:
        return self._random.uniform(*self.rule.seconds)

    def as_json(self, now: float) -> Json:
        spent = self.rule.next is not None and self.hits >= self.rule.next
        return {
            "rule": self.rule.source,
            "matched": self.matched,
            "hits": self.hits,
            "in_force": self.in_time(now) and not spent,
        }


@dataclass(frozen=True)
class TokenEnd:
    """From when a token is refused, and the claims that its successor must show (base64, often none)."""

    at: float
    claims: str = ""


class Trouble:
    """All rules, in the order in which they came. ``active`` says in one look whether there are any."""

    def __init__(self, clock: Clock) -> None:
        self.active = False
        self.journal = Journal()
        self._clock = clock
        self._rules: dict[str, Loaded] = {}
        self._ends: dict[str, TokenEnd] = {}

    @property
    def ids(self) -> list[str]:
        return list(self._rules)

    def load(self, document: Document) -> None:
        """Put a document's rules behind those that are there."""
        now = self.now()
        self._replace([*self._rules.values(), *(Loaded(rule, document.seed, now) for rule in document.rules)])

    def remove(self, rule_id: str) -> None:
        """Raises LookupError where there is no such rule."""
        if rule_id not in self._rules:
            raise LookupError(rule_id)
        self._replace(loaded for name, loaded in self._rules.items() if name != rule_id)

    def clear(self) -> None:
        """No rules any more; tokens that were revoked or shortened count again."""
        self._ends.clear()
        self._replace([])

    def end_token(self, token: str, seconds: float = 0.0, claims: str = "") -> TokenEnd:
        """Let the HSMs refuse a token in so many seconds."""
        self._ends[token] = end = TokenEnd(self.now() + seconds, claims)
        return end

    def token_end(self, token: str) -> TokenEnd | None:
        """The end of a token that has ended too early."""
        end = self._ends.get(token)
        return end if end is not None and end.at <= self.now() else None

    def listing(self) -> list[Json]:
        now = self.now()
        return [loaded.as_json(now) for loaded in self._rules.values()]

    def now(self) -> float:
        """Seconds of the sandbox's clock, whatever clock is set wrong at the moment."""
        return self._clock.true_time()

    def strike(self, seen: Seen) -> list[Loaded]:
        """The rules that strike this request, in their order; each is counted."""
        now = self.now()
        return [
            loaded
            for loaded in self._rules.values()
            if not loaded.rule.standing and self._matches(loaded, seen, now) and loaded.strikes()
        ]

    def lost_roles(self, hsm: str) -> list[Loaded]:
        """The rules that take a role away on this HSM now."""
        return [found for found in self._standing("lose-role") if found.rule.hsm in {"", hsm}]

    def skew(self, clock: str, hsm: str = "") -> float:
        """By how many seconds the HSM's or the directory's clock is wrong now; counts."""
        wrong = [
            found
            for found in self._standing("skew")
            if found.rule.clock == clock and found.rule.hsm in {"", hsm}
        ]
        for found in wrong:
            found.matched += 1
            found.hits += 1
        return sum(found.rule.seconds[0] for found in wrong)

    def _standing(self, effect: str) -> list[Loaded]:
        now = self.now()
        return [item for item in self._rules.values() if item.rule.effect == effect and item.in_time(now)]

    def _matches(self, loaded: Loaded, seen: Seen, now: float) -> bool:
        rule = loaded.rule
        return (
            seen.op in rule.operations
            and rule.hsm in {"", seen.hsm}
            and rule.application in {"", seen.application}
            and (rule.keys == "*" or fnmatchcase(seen.key.lower(), rule.keys.lower()))
            and loaded.in_time(now)
            and self._has_past(rule, seen, now)
        )

    def _has_past(self, rule: Rule, seen: Seen, now: float) -> bool:
        """What looks back strikes only where there is something to look back to."""
        moment = now - rule.seconds[1]
        if rule.effect == "purge-window":
            return self.journal.was_purged(seen.hsm, seen.key, moment)
        if rule.effect == "lag":
            if seen.op in _LISTS:
                return bool(self.journal.since(seen.hsm, moment))
            return self.journal.first(seen.hsm, seen.key, moment) is not None
        return True

    def _replace(self, rules: Iterable[Loaded]) -> None:
        self._rules = {loaded.rule.id: loaded for loaded in rules}
        self.active = bool(self._rules or self._ends)
        looking_back = [
            item.rule.seconds[1]
            for item in self._rules.values()
            if item.rule.effect in {"lag", "purge-window"}
        ]
        self.journal.reach = max(looking_back, default=0.0)
