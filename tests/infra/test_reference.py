"""docs/reference is current and complete: every variable and every command, each with its meaning."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from keymanager.environment import SECTIONS, SETTINGS, Variable
from tests.infra import reference
from tests.infra.lint import ROOT, tracked_files

DECLARED = {variable.name for section in SECTIONS for variable in section.variables}
VARIABLES = [variable for section in SECTIONS for variable in section.variables]


def read_by_settings() -> set[str]:
    """The declarations that ``keymanager/settings.py`` reads, as ``env.ROLE.read()``."""
    tree = ast.parse((ROOT / "keymanager" / "settings.py").read_text())
    return {
        node.func.value.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "read"
        and isinstance(node.func.value, ast.Attribute)
    }


def test_settings_read_every_declared_variable_and_no_other() -> None:
    declared = {variable.name.removeprefix("KEYMANAGER_") for part in SETTINGS for variable in part.variables}
    assert read_by_settings() == declared


def test_only_declared_variables_are_named_in_the_tree() -> None:
    """In code, compose file, documents: a name that is not declared is a mistake or lacks its description."""
    private_to_a_test = {"KEYMANAGER_TEST_SOURCE"}
    named = {
        (name, str(file.relative_to(ROOT)))
        for file in tracked_files()
        if file.suffix in {".py", ".md", ".yml", ".html", ".sh", ""} and file != Path(__file__)
        for name in re.findall(r"KEYMANAGER_[A-Z]+(?:_[A-Z]+)*\b(?!_)", file.read_text(errors="replace"))
    }
    assert {(name, file) for name, file in named if name not in DECLARED | private_to_a_test} == set()


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_each_variable_is_described_in_sentences(variable: Variable[Any]) -> None:
    assert variable.meaning.endswith(".")
    assert variable.wrong.endswith(".")
    assert variable.readers


def test_rooms_take_settings_from_django_only() -> None:
    """Only wiring, the demo and tests look at the environment."""
    rooms = ("audit", "cryptosources", "keys", "licensing", "secretstore")
    readers = [
        str(file.relative_to(ROOT))
        for room in rooms
        for file in (ROOT / room).rglob("*.py")
        if re.search(r"os\.environ|os\.getenv|environ\.Env|keymanager.environment", file.read_text())
    ]
    assert readers == []


def test_every_argument_of_every_command_is_explained() -> None:
    parsers = [*reference.command_parsers(), reference.demo_parser()]
    silent = [
        f"{parser.prog} {each.dest}"
        for parser in parsers
        for each in reference.own_arguments(parser)
        if not each.help
    ]
    assert silent == []
    assert all(parser.description for parser in parsers)


def test_make_help_names_every_target_that_is_for_people() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {name for name, _ in reference.make_targets()} == set(phony.split()) - {"help", "debian-packages"}


def test_the_pages_are_current() -> None:
    assert list(reference.stale()) == []


def test_a_page_that_is_not_current_is_found(tmp_path: Path) -> None:
    for name, write in reference.PAGES.items():
        (tmp_path / name).write_text(write())
    assert list(reference.stale(tmp_path)) == []
    settings = tmp_path / "settings.md"
    settings.write_text(settings.read_text().replace("10", "11"))
    (tmp_path / "commands.md").unlink()
    assert [line.split(":")[0] for line in reference.stale(tmp_path)] == [
        "docs/reference/settings.md",
        "docs/reference/commands.md",
    ]
