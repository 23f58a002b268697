"""docs/settings.md lists exactly the variables that the settings read, with their types and defaults."""

import ast
import re

import pytest

from demo.processes import ROOT

TYPES = {
    "str": "text",
    "bool": "yes/no",
    "int": "whole number",
    "float": "number",
    "list": "list",
    "db_url": "URL",
}
ROW = re.compile(r"^\| `(KEYMANAGER_\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def documented() -> dict[str, tuple[str, str, str]]:
    rows = ROW.findall((ROOT / "docs" / "settings.md").read_text())
    return {name: (kind, default, meaning) for name, kind, default, meaning in rows}


def read_by_settings() -> dict[str, tuple[str, ast.expr]]:
    """Type and default of each ``env.TYPE("KEYMANAGER_…", default=…)`` in the settings."""
    tree = ast.parse((ROOT / "keymanager" / "settings.py").read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_env(node.func.value):
            name = ast.literal_eval(node.args[0])
            (default,) = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
            found[name] = (TYPES[node.func.attr], default)
    return found


def _is_env(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "env"


def written(default: ast.expr) -> str | None:
    """The default as the page writes it; None for one that is computed, which the page tells in words."""
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return None
    values = value if isinstance(value, list) else [value]
    return ", ".join(f"`{each}`" for each in values if each != "") or "*(empty)*"


def test_the_page_lists_every_variable_and_no_other() -> None:
    assert set(documented()) == set(read_by_settings())


@pytest.mark.parametrize("name", sorted(read_by_settings()))
def test_type_and_default_are_right(name: str) -> None:
    kind, default = read_by_settings()[name]
    said_kind, said_default, meaning = documented()[name]
    assert said_kind == kind
    if (wanted := written(default)) is not None:
        assert said_default == wanted
    else:
        assert said_default.startswith("*(")
    assert meaning.rstrip().endswith(".")


def test_nothing_else_reads_the_environment() -> None:
    """Rooms take settings from Django; only wiring, the demo and tests look at the environment."""
    rooms = ("audit", "cryptosources", "keys", "licensing", "secretstore")
    readers = [
        str(file.relative_to(ROOT))
        for room in rooms
        for file in (ROOT / room).rglob("*.py")
        if re.search(r"os\.environ|os\.getenv|environ\.Env", file.read_text())
    ]
    assert readers == []
