"""Rules of trouble: what a document may say, what its refusals say, and which requests a rule strikes."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.clock import Clock
from sandbox.trouble import Seen, Trouble
from sandbox.trouble_parsing import TroubleError, parse, read
from sandbox.trouble_rules import EFFECTS, ON_HSM
from tests.sandbox_server import ROOT

HSMS = ("localhost", "elsewhere.localhost")
EXAMPLE = ROOT / "docs" / "sandbox" / "trouble.toml"
SIGN = Seen("sign", "invoice-1", "localhost", "an-app")


def rule(**members: Any) -> dict[str, Any]:
    return {name.rstrip("_"): value for name, value in members.items()}


def refused(content: Any) -> str:
    with pytest.raises(TroubleError) as caught:
        parse(content, HSMS)
    return str(caught.value)


def loaded(*rules: dict[str, Any], seed: int = 0) -> tuple[Trouble, Clock]:
    clock = Clock()
    trouble = Trouble(clock)
    trouble.load(parse({"seed": seed, "rules": list(rules)}, HSMS))
    return trouble, clock


def pattern(trouble: Trouble, seen: Seen = SIGN, count: int = 12) -> str:
    """Which of so many equal requests are struck: ``x`` for each that is."""
    return "".join("x" if trouble.strike(seen) else "." for _ in range(count))


# --- Documents ----------------------------------------------------------------------------------


def test_the_documented_example_shows_every_effect() -> None:
    found = read(EXAMPLE, HSMS)
    assert found.seed == 7
    assert {item.effect for item in found.rules} == set(EFFECTS)


def test_the_same_in_json(tmp_path: Path) -> None:
    file = tmp_path / "trouble.json"
    file.write_text(json.dumps({"seed": 3, "rules": [rule(id="slow", effect="latency", seconds=[0.1, 2])]}))
    found = read(file, HSMS)
    assert (found.seed, found.rules[0].id, found.rules[0].seconds) == (3, "slow", (0.1, 2.0))
    assert found.rules[0].operations == ON_HSM


def test_rules_without_an_id_are_numbered() -> None:
    rules = [rule(effect="throttle"), rule(id="rule-2", effect="reset"), rule(effect="hang")]
    with pytest.raises(TroubleError, match=r"Rule 2 \(rule-2\)"):
        parse({"rules": rules}, HSMS, ["rule-1"])
    assert [item.id for item in parse({"rules": rules[1:]}, HSMS).rules] == ["rule-2", "rule-1"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (rule(), "effect must be one of"),
        (rule(effect="fire"), "not 'fire'"),
        (rule(effect="reset", colour="red"), "unknown member 'colour'"),
        (rule(effect="reset", operations=["signn"]), "no operation 'signn'"),
        (rule(effect="reset", operations=[]), "operations must be a list"),
        (rule(effect="reset", operations="sign"), "operations must be a list"),
        (rule(effect="lag", seconds=5, operations=["token"]), "lag cannot strike the operation token"),
        (rule(effect="deny", operations=["challenge"]), "deny cannot strike the operation challenge"),
        (rule(effect="reset", hsm="nowhere"), "no HSM named nowhere"),
        (rule(effect="reset", keys=""), "keys must be a text"),
        (rule(effect="reset", probability=0), "above 0 and up to 1, not 0"),
        (rule(effect="reset", probability=True), "not True"),
        (rule(effect="reset", probability=0.5, every=2), "exclude each other"),
        (rule(effect="reset", every=0), "every must be a whole number from 1"),
        (rule(effect="reset", next=1.5), "next must be a whole number from 1"),
        (rule(effect="reset", after=-1), "after must be a number of seconds"),
        (rule(effect="reset", for_="long"), "for must be a number of seconds"),
        (rule(effect="reset", moment="during"), "before or after, not 'during'"),
        (rule(effect="reset", seconds=3), "reset has no seconds"),
        (rule(effect="latency"), "latency needs seconds"),
        (rule(effect="latency", seconds=[3, 1]), "from low to high"),
        (rule(effect="latency", seconds=[1]), "a range [low, high]"),
        (rule(effect="latency", seconds=-1), "seconds must be"),
        (rule(effect="lag", seconds=[1, 2]), "seconds must be"),
        (rule(effect="error", status=418), "status must be one of 500, 502, 503, 504"),
        (rule(effect="throttle", retry_after=0), "whole number of seconds from 1"),
        (rule(effect="lose-role", role="King"), "a built-in role's name"),
        (rule(effect="lose-role", role="*", next=1), "next means nothing"),
        (rule(effect="skew", seconds=5), "skew needs clock"),
        (rule(effect="skew", seconds=5, clock="entra", hsm="localhost"), "hsm means nothing"),
        (rule(effect="skew", seconds=5, clock="hsm", application="x"), "application means nothing"),
        (rule(effect="revoke-token", claims="yes"), "true or false"),
        (rule(id="a b", effect="reset"), "id must be"),
        ("reset", "Rule 1 must be an object"),
    ],
)
def test_a_bad_rule_is_named_with_what_is_wrong(wrong: Any, message: str) -> None:
    assert message in refused({"rules": [wrong]})


def test_a_bad_document() -> None:
    assert refused([]) == "The document must be an object with rules"
    assert "seed must be a whole number" in refused({"seed": "x"})
    assert "rules must be a list" in refused({"rules": {}})
    assert "unknown member 'rule'" in refused({"rule": []})
    twice = [rule(id="a", effect="reset"), rule(id="a", effect="hang")]
    assert refused({"rules": twice}) == "Rule 2 (a): there is a rule of this id already"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.toml", "rules = [", "is not TOML"),
        ("x.json", "{", "is not JSON"),
        ("x.json", '{"rules": [{"effect": "fire"}]}', "x.json: Rule 1 (rule-1): effect must be"),
    ],
)
def test_a_bad_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(TroubleError) as caught:
        read(file, HSMS)
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TroubleError, match="cannot be read: No such file"):
        read(tmp_path / "absent.toml", HSMS)


# --- Which requests, how often, when ------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "struck"),
    [
        ({}, True),
        ({"operations": ["sign", "get"]}, True),
        ({"operations": ["get"]}, False),
        ({"keys": "INVOICE-*"}, True),
        ({"keys": "letter-*"}, False),
        ({"hsm": "localhost"}, True),
        ({"hsm": "elsewhere.localhost"}, False),
        ({"application": "AN-APP"}, True),
        ({"application": "another"}, False),
    ],
)
def test_what_a_rule_strikes(members: dict[str, Any], struck: bool) -> None:
    trouble, _ = loaded(rule(effect="throttle", **members))
    assert bool(trouble.strike(SIGN)) is struck


def test_without_operations_a_rule_is_for_the_hsms() -> None:
    trouble, _ = loaded(rule(effect="reset"))
    assert [bool(trouble.strike(Seen(op))) for op in ("rng", "token", "challenge")] == [True, False, False]


def test_every_so_many_times() -> None:
    trouble, _ = loaded(rule(effect="reset", every=3))
    assert pattern(trouble) == "..x..x..x..x"


def test_at_most_so_many_times() -> None:
    trouble, _ = loaded(rule(effect="reset", every=2, next=2))
    assert pattern(trouble) == ".x.x........"
    assert [(item["matched"], item["hits"], item["in_force"]) for item in trouble.listing()] == [
        (12, 2, False)
    ]


def test_chances_follow_from_the_seed_and_the_rule_alone() -> None:
    """Another rule beside it changes nothing."""
    half, other = (rule(id=name, effect="reset", probability=0.5) for name in ("half", "other"))
    alone = pattern(loaded(half, seed=7)[0], count=200)
    assert 70 < alone.count("x") < 130
    both, _ = loaded(other, half, seed=7)
    struck = [[item.rule.id for item in both.strike(SIGN)] for _ in range(200)]
    assert "".join("x" if "half" in ids else "." for ids in struck) == alone
    assert pattern(loaded(half, seed=8)[0], count=200) != alone
    assert ["other" in ids for ids in struck] != ["half" in ids for ids in struck]


def test_time_windows_are_on_the_sandboxs_clock() -> None:
    trouble, clock = loaded(rule(effect="reset", after=10, for_=5))
    seen = [bool(trouble.strike(SIGN))]
    for step in (11, 3, 2):
        clock.advance(step)
        seen.append(bool(trouble.strike(SIGN)))
    assert seen == [False, True, True, False]


def test_active_as_long_as_there_is_something() -> None:
    trouble, _ = loaded()
    assert not trouble.active
    trouble.load(parse({"rules": [rule(effect="reset")]}, HSMS))
    assert trouble.active
    trouble.remove("rule-1")
    assert not trouble.active
    trouble.end_token("a-token")
    trouble.load(parse({"rules": [rule(effect="reset")]}, HSMS))
    trouble.remove("rule-1")
    assert trouble.active, "a revoked token is trouble, too"
    trouble.clear()
    assert not trouble.active


def test_a_rule_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(LookupError):
        loaded()[0].remove("rule-1")
