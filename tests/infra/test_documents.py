"""The operator manual: links lead somewhere, commands exist, and what it says of rights and roles is so."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from cryptosources.forms import SourceForm
from cryptosources.providers.api import Right
from cryptosources.providers.azure import rights
from keymanager.console import ROOMS
from keymanager.roles import ROLES
from keys import wording
from tests.infra import reference
from tests.infra.lint import ROOT, tracked_files

DOCUMENTS = [file for file in tracked_files() if file.suffix == ".md"]
LINK = re.compile(r"""\]\(([^)\s]+)\)|\b(?:href|src|srcset)="([^"]+)\"""")


def prose(text: str) -> str:
    """The document without its code blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: lower case, no punctuation, hyphens for spaces."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(file: Path, text: str) -> list[str]:
    """Relative links and pictures that lead nowhere."""
    links = [written or tagged for written, tagged in LINK.findall(prose(text))]
    return [link for link in links if "://" not in link and not _leads(file, link)]


def _leads(file: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = file.parent / path if path else file
    if not target.resolve().is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text())


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(file: Path) -> None:
    assert broken_links(file, file.read_text()) == []


@pytest.mark.parametrize("link", ["nowhere.md", "#no-such-heading", "docs/README.md#no-such-heading", "../x"])
def test_a_broken_link_is_found(link: str) -> None:
    assert broken_links(ROOT / "README.md", f"[b]({link}) [c](#two-commands)") == [link]


def test_a_broken_picture_is_found() -> None:
    assert broken_links(ROOT / "README.md", '<img alt="x" src="docs/no.png">') == ["docs/no.png"]


def test_the_readme_shows_a_current_picture() -> None:
    assert "docs/screenshots/overview-light-wide.png" in (ROOT / "README.md").read_text()


def test_the_index_names_every_chapter() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    chapters = {file.name for file in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in chapters if f"]({name})" not in index} == set()


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_exist(file: Path) -> None:
    text = file.read_text()
    targets = {name for name, _ in reference.make_targets()} | {"help", "debian-packages"}
    named = set(re.findall(r"(?:^ {4}|^|`)make ([a-z][a-z-]*)\b", text, re.MULTILINE))
    assert named - targets == set()
    own = {parser.prog.split()[-1] for parser in reference.command_parsers()}
    named = set(re.findall(r"manage\.py ([a-z_]+)\b", text))
    assert named - own - set(reference.DJANGO_COMMANDS) - {"help"} == set()


def test_options_that_the_documents_give_to_our_commands_exist() -> None:
    known = {
        parser.prog.split()[-1]: {spelling for each in parser._actions for spelling in each.option_strings}
        for parser in reference.command_parsers()
    }
    wrong = [
        f"{file.name}: {command} {option}"
        for file in DOCUMENTS
        for command, rest in re.findall(r"manage\.py ([a-z_]+)([^`\n|]*)", file.read_text())
        for option in re.findall(r"(?<=\s)--[a-z-]+", rest.split("#")[0])
        if command in known and option not in known[command]
    ]
    assert wrong == []


def test_steps_for_the_workers_name_all_of_them() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    workers = {name for name in services if name.startswith("worker-")}
    for file in DOCUMENTS:
        for line in file.read_text().splitlines():
            named = set(re.findall(r"(?<!-)\bworker-[a-z]+\b", line))
            assert named <= workers, line
            assert len(named) < 2 or named == workers, line


# --- Words of the console -----------------------------------------------------------------------

#: What Entra's own pages call things.
ENTRA = {
    "App registrations",
    "New registration",
    "Accounts in this organizational directory only",
    "OAuth 2.0 token endpoint (v2)",
    "Certificates & secrets",
    "Secret ID",
    "Enterprise applications",
}
ITALIC = re.compile(r"(?<![*\w])\*([^*\n]+(?:\n[^*\n]+)?)\*(?!\*)")


@cache
def said_by_the_console() -> str:
    """Every text of code and templates, in lower case, spaces evened out."""
    texts = []
    for room in ("audit", "cryptosources", "keymanager", "keys", "licensing", "secretstore", "templates"):
        for file in (ROOT / room).rglob("*"):
            if file.suffix == ".html":
                texts.append(file.read_text().replace("&amp;", "&"))
            elif file.suffix == ".py":
                nodes = ast.walk(ast.parse(file.read_text()))
                texts += [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    return " ".join(" ".join(texts).split()).lower()


def italics(text: str) -> set[str]:
    """What the manual puts in italics: words of a page. Each part around an ellipsis or a comma by itself."""
    quoted = {" ".join(words.split()) for words in ITALIC.findall(re.sub(r"\*\*.+?\*\*", "", prose(text)))}
    return {part.strip() for words in quoted - ENTRA for part in re.split("…|, ", words) if part.strip()}


@pytest.mark.parametrize("file", sorted((ROOT / "docs").glob("*.md")), ids=lambda file: str(file.name))
def test_words_in_italics_are_words_of_the_console(file: Path) -> None:
    words = italics(file.read_text())
    assert {each for each in words if each.lower() not in said_by_the_console()} == set()


def test_a_word_that_no_page_says_is_found() -> None:
    assert italics("Press *Make it so…, now* and **not this**.") == {"Make it so", "now"}
    assert "make it so" not in said_by_the_console()


#: A list of the console, as the navigation calls it, and the button that the manual says to press there.
PRESSED = re.compile(r"\*(" + "|".join(room.label for room in ROOMS) + r")\*,\s+\*([^*]+)\*")


def buttons(page: str) -> set[str]:
    """The words of a page's buttons, and of its links that look like buttons."""
    found = re.findall(r'<(a|button)\b[^>]*class="btn\b[^>]*>(.*?)</\1>', page, re.DOTALL)
    return {" ".join(re.sub(r"<[^>]+>", "", inside).split()) for _, inside in found}


@pytest.mark.django_db
def test_a_button_that_the_manual_presses_is_on_that_page(admin_client: Client) -> None:
    said = {pair for file in DOCUMENTS for pair in PRESSED.findall(prose(file.read_text()))}
    assert ("Keys", "Generate keys") in said
    pages = {room.label: reverse(room.url_name) for room in ROOMS}
    missing = {
        (label, button)
        for label, button in said
        if button not in buttons(admin_client.get(pages[label]).content.decode())
    }
    assert missing == set()


def table_words(heading: str) -> set[str]:
    """The first column of the first table under a heading of docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    return {row.split("|")[1].strip() for row in text.splitlines() if row.startswith("| ")} - {
        "on screen",
        "---",
    }


def test_places_and_states_are_called_as_on_screen() -> None:
    places = {", ".join(filter(None, (words.text, words.note))) for words in wording.PLACES.values()}
    assert table_words("Where a key is") == {place.replace(", recoverable", "") for place in places}
    states = {words.text for words in wording.STATES.values()}
    assert states <= table_words("How an operation stands")
    assert {
        word for word in table_words("How an operation stands") if word not in said_by_the_console()
    } == set()


# --- The first source ---------------------------------------------------------------------------

FIRST_SOURCE = (ROOT / "docs" / "first-source.md").read_text()


def test_the_role_in_the_manual_is_the_one_that_the_console_makes() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", FIRST_SOURCE, re.DOTALL)
    assert json.loads(block) == rights.role_definition(Right, name=rights.role_name(Right))


def test_the_lines_in_the_manual_are_those_that_the_console_shows() -> None:
    name = rights.role_name(Right)
    for line in (
        rights.object_id_command("$APP"),
        rights.define_command(hsm_name="contoso", file_name="key-manager-role.json"),
        rights.assign_command(hsm_name="contoso", role=name, object_id="$OBJECT"),
    ):
        assert line in FIRST_SOURCE


def test_the_manual_says_what_each_right_is_for() -> None:
    rows = " ".join(line for line in FIRST_SOURCE.splitlines() if line.startswith("| `"))
    assert {action for action in rights.DATA_ACTIONS.values() if f"`{action}`" not in rows} == set()


def test_the_manual_explains_every_field_of_the_form() -> None:
    labels = {str(field.label) for field in SourceForm.base_fields.values() if not field.widget.is_hidden}
    rows = [line.split("|")[1] for line in FIRST_SOURCE.splitlines() if line.startswith("| ")]
    assert {label for label in labels if not any(label in row for row in rows)} == set()


# --- People -------------------------------------------------------------------------------------


def table_of_rights() -> dict[str, dict[str, bool]]:
    """docs/people.md: permission → role → may."""
    text = (ROOT / "docs" / "people.md").read_text()
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    (head,) = [line for line in lines if line[0] == "may"]
    roles = [name.lower() for name in head[2:]]
    return {
        line[1].strip("`"): dict(zip(roles, (cell == "yes" for cell in line[2:]), strict=True))
        for line in lines
        if re.fullmatch(r"`\w+\.\w+`", line[1])
    }


def test_the_table_of_roles_is_what_the_roles_hold() -> None:
    held = set().union(*ROLES.values())
    assert table_of_rights() == {
        code: {role: code in codes for role, codes in ROLES.items()} for code in held
    }


@pytest.mark.django_db
def test_every_permission_of_a_role_exists() -> None:
    known = {
        f"{each.content_type.app_label}.{each.codename}"
        for each in Permission.objects.select_related("content_type")
    }
    assert set().union(*ROLES.values()) <= known
