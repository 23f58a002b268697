"""docs/errors.md names every code and every refusal that the code has, and no text that it has not."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cryptosources.providers import errors as provider_errors
from cryptosources.providers.azure import tables
from keys.lifecycle import OperationState, Residency
from tests.infra.lint import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text()
ROOMS = ("audit", "cryptosources", "keymanager", "keys", "licensing", "secretstore")
# The in-memory source is for tests only.
FILES = sorted(
    file for room in ROOMS for file in (ROOT / room).rglob("*.py") if not file.name.startswith("memory")
)
#: What a person meets as the reason of a refusal or a failure. Others say at their field what to enter.
SHOWN = {
    "AddressError",
    "BadIssuerKeys",
    "BadRing",
    "BadRoots",
    "CannotOpen",
    "ConfigurationError",
    "CycleRefused",
    "ForeignBackup",
    "KeyMismatch",
    "KeyNotFound",
    "KeysMissing",
    "LicenceError",
    "OperationRefused",
    "SealedForWorkers",
    "SecretStoreError",
    "StepFailed",
    "StepRefused",
    "unavailable",
}
#: Functions that put a text on the page of a connection test, and which argument it is.
STEPS = {"failed_step": 2, "_left_for_later": 1}
INTERNAL = {
    "A source of type … cannot be opened with …",
    "….",
}


def text_of(node: ast.expr) -> str:
    """A literal with ``…`` for what is put in; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


@cache
def syntax(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text())))


def keywords(name: str) -> Iterator[ast.expr]:
    """What is handed over under that name, in any call."""
    for file in FILES:
        for node in syntax(file):
            if isinstance(node, ast.keyword) and node.arg == name:
                yield node.value


def refusals() -> Iterator[tuple[str, str]]:
    """Each text that is raised as one of SHOWN or is a step's, with the file that has it."""
    for file in FILES:
        for node in syntax(file):
            text = text_of(_shown(node)).rstrip(".")
            if text and text not in INTERNAL:
                yield text, str(file.relative_to(ROOT))


def _shown(node: ast.AST) -> ast.expr:
    """The expression of the text that a person is shown; an empty one where there is none."""
    call = node.exc if isinstance(node, ast.Raise) else node
    if not isinstance(call, ast.Call):
        return NOTHING
    if any(keyword.arg == "field" for keyword in call.keywords):
        return NOTHING  # stands at its field
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    place = 0 if isinstance(node, ast.Raise) and name in SHOWN else STEPS.get(name, 99)
    return call.args[place] if len(call.args) > place else NOTHING


NOTHING = ast.Constant("")


def sources_errors() -> list[str]:
    """The texts of the refusals that cryptosources/errors.py words itself."""
    calls = (node for node in syntax(ROOT / "cryptosources" / "errors.py") if isinstance(node, ast.Call))
    texts = [text_of(call.args[0]) for call in calls if ast.unparse(call.func) == "super().__init__"]
    return [text.rstrip(".") for text in texts if text]


@cache
def phrases() -> set[str]:
    """What the page quotes in bold; long enough that it does not fit anything."""
    found = set(re.findall(r"\*\*(.+?)\*\*", PAGE))
    assert all(len(phrase.replace("…", "").strip()) >= 8 for phrase in found)
    return found


@cache
def pattern(phrase: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part.strip()) for part in phrase.split("…")), re.DOTALL)


@pytest.mark.parametrize(("text", "file"), sorted(set(refusals())))
def test_every_refusal_is_on_the_page(text: str, file: str) -> None:
    assert any(pattern(phrase).search(text) for phrase in phrases()), f"{file}: “{text}”"


@pytest.mark.parametrize("text", sources_errors())
def test_every_refusal_about_a_source_is_on_the_page(text: str) -> None:
    assert any(pattern(phrase).search(text) for phrase in phrases())


def test_the_page_quotes_nothing_that_the_code_does_not_say() -> None:
    said = [
        text
        for file in FILES
        for node in syntax(file)
        if isinstance(node, ast.expr) and (text := text_of(node))
    ]
    stale = [phrase for phrase in phrases() if not any(pattern(phrase).search(text) for text in said)]
    assert stale == []


@pytest.mark.parametrize(
    "row",
    [
        *tables.HSM_ROWS,
        *tables.ENTRA_ROWS,
        tables.SERVER_ROW,
        tables.REDIRECT_ROW,
        tables.OTHER_ROW,
        tables.ENTRA_OTHER,
        tables.ENTRA_DOWN,
    ],
    ids=lambda row: row.words,
)
def test_every_row_of_the_providers_tables_is_on_the_page(row: tables.Row) -> None:
    assert any(pattern(phrase).search(row.words) for phrase in phrases())
    for code in row.code.split("|") if row.code else ():
        plain = code.replace("?[Bb]", "B").replace(" B", "B").replace("530\\d\\d", "530…")
        assert f"`{plain}`" in PAGE
    if row.status:
        assert re.search(rf"^\| {row.status} \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(
    ("number", "words"), [(number, words) for number, (words, _) in tables.TLS_ROWS.items()]
)
def test_every_certificate_problem_is_on_the_page(number: int, words: str) -> None:
    assert f"**{words}**" in PAGE
    (row,) = [line for line in PAGE.splitlines() if f"**{words}**" in line]
    assert re.search(rf"`(X509 )?{number}`", row)


def test_every_code_of_our_own_is_on_the_page() -> None:
    codes = {text for node in keywords("code") if (text := text_of(node)) and "…" not in text}
    of_the_vendor = {row.code for row in (*tables.HSM_ROWS, *tables.ENTRA_ROWS)}
    assert {code for code in codes - of_the_vendor if f"`{code}`" not in PAGE} == set()


def test_every_kind_of_error_is_on_the_page() -> None:
    kinds = [
        kind
        for kind in vars(provider_errors).values()
        if isinstance(kind, type)
        and issubclass(kind, provider_errors.ProviderError)
        and kind is not provider_errors.ProviderError
    ]
    rows = {name: line for line in PAGE.splitlines() for name in re.findall(r"^\| (`\w+`.*?) \|", line)}
    for kind in kinds:
        (line,) = [line for names, line in rows.items() if f"`{kind.__name__}`" in names]
        again, effect = (cell.strip() for cell in line.split("|")[2:4])
        assert again.startswith("yes" if kind.retryable else "no"), line
        assert effect.startswith("none" if kind.outcome_known else "unknown"), line


def test_every_state_of_an_operation_is_on_the_page() -> None:
    assert {state.value for state in OperationState if f"`{state.value}`" not in PAGE} == set()
    assert f"`{Residency.FAULTED.value}`" in PAGE


def test_every_finding_of_the_system_checks_is_on_the_page() -> None:
    texts = {text_of(node) for file in FILES for node in syntax(file) if isinstance(node, ast.expr)}
    findings = {text for text in texts if re.fullmatch(r"[a-z]+\.[EW]\d{3}", text)}
    assert len(findings) > 5
    assert {code for code in findings if f"`{code}`" not in PAGE} == set()


def test_a_new_refusal_would_be_found() -> None:
    assert not any(pattern(phrase).search("The HSM is on fire") for phrase in phrases())
