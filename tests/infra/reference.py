"""Writes docs/reference: ``python -m tests.infra.reference``. Needs Django's settings.

Settings come from ``keymanager/environment.py``; commands from the parsers of our management commands and of
the demo, and from what ``make help`` says. ``make lint`` calls ``stale`` and fails when a page is not what
would be written now.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from keymanager.environment import EVERY_PROCESS, SECTIONS, Section, Variable
from tests.infra.lint import ROOT

FOLDER: Final = ROOT / "docs" / "reference"
_NOTE: Final = "<!-- Written by `make docs`; changes made here are lost. -->"
DJANGO_COMMANDS: Final = {
    "check": "look for settings that cannot work; with `--deploy` for unsafe ones, too",
    "migrate": "bring the database to this version; first of all after an upgrade",
    "collectstatic": "put style sheets, scripts and pictures where the web process serves them from",
    "createsuperuser": "make the first account",
    "clearsessions": "remove sessions that ended; once a day",
}
_HELP_LINE: Final = re.compile(r"@echo 'make (\S+)\s+(.+)'$", re.MULTILINE)


# --- Settings -------------------------------------------------------------------------------------


def settings_page() -> str:
    return "\n".join(
        [
            "# Settings",
            "",
            _NOTE,
            "",
            "What differs between installations comes from environment variables. An empty one counts as not",
            "set. A value that does not fit keeps the process from starting; the message names the variable.",
            "`python manage.py check` tells what else cannot work, `check --deploy` what is unsafe.",
            "",
            *_contents(),
            *(line for section in SECTIONS for line in _section(section)),
        ]
    )


def _contents() -> Iterator[str]:
    for section in SECTIONS:
        yield f"- [{section.title}](#{section.title.lower().replace(' ', '-')})"
    yield ""


def _section(section: Section) -> Iterator[str]:
    yield from (f"## {section.title}", "")
    if section.introduction:
        yield from (section.introduction, "")
    for variable in section.variables:
        yield from _variable(variable)


def _variable(variable: Variable[Any]) -> Iterator[str]:
    kind = variable.kind + (f", in {variable.unit}" if variable.unit else "")
    yield from (
        f"### `{variable.name}`",
        "",
        variable.meaning,
        "",
        f"- Type: {kind}{_choices(variable)}",
        f"- Default: {_default(variable)}",
        f"- Read by: {_readers(variable.readers)}",
        f"- A wrong value: {variable.wrong}",
        "",
    )


def _choices(variable: Variable[Any]) -> str:
    words = getattr(variable, "choices", ())
    return f": {', '.join(f'`{word}`' for word in words)}" if words else ""


def _default(variable: Variable[Any]) -> str:
    if variable.default_words:
        return variable.default_words
    if isinstance(variable.default, bool):
        return "yes" if variable.default else "no"
    values = variable.default if isinstance(variable.default, tuple) else (variable.default,)
    return ", ".join(f"`{_plain(value)}`" for value in values if value != "") or "empty"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _readers(readers: tuple[str, ...]) -> str:
    return "every process" if readers == EVERY_PROCESS else ", ".join(readers)


# --- Commands -------------------------------------------------------------------------------------


def commands_page() -> str:
    blocks = [
        "# Commands",
        _NOTE,
        "## make",
        "In the source tree. `make` makes a virtual environment of its own in `.venv`.",
        _table(("command", "what it does"), ((f"`make {name}`", told) for name, told in make_targets())),
        "## python manage.py",
        "With the installation's environment ([settings](settings.md)); in a container: "
        "`docker compose run --rm web python manage.py …`. `--help` shows these and Django's own options.",
        *(block for parser in command_parsers() for block in _command(parser)),
        "## Django's own",
        "The manual uses these; `python manage.py help` lists all.",
        _table(("command", "what it does"), django_commands()),
        "## python -m demo",
        *_command(demo_parser(), heading=False),
    ]
    return "\n\n".join(blocks) + "\n"


def make_targets() -> list[tuple[str, str]]:
    """Each target that ``make help`` names, with what it says."""
    return _HELP_LINE.findall((ROOT / "Makefile").read_text())


def command_parsers() -> list[argparse.ArgumentParser]:
    """The parsers of the project's own management commands, in the order of their names."""
    from django.core.management import get_commands, load_command_class

    return [
        load_command_class(app, name).create_parser("manage.py", name)
        for name, app in sorted(get_commands().items())
        if isinstance(app, str) and (ROOT / app).is_dir()
    ]


def django_commands() -> Iterator[tuple[str, str]]:
    """Django's commands that the manual uses, with what it is for here."""
    for name, told in DJANGO_COMMANDS.items():
        yield f"`python manage.py {name}`", told


def demo_parser() -> argparse.ArgumentParser:
    from demo.__main__ import parser

    return parser()


def _command(parser: argparse.ArgumentParser, *, heading: bool = True) -> Iterator[str]:
    own = own_arguments(parser)
    name = parser.prog.split()[-1]
    if heading:
        yield f"### {name}"
    yield parser.description or ""
    yield f"```sh\npython {_usage(parser, own)}\n```"
    if own:
        yield _table(("argument", "meaning"), ((_spelling(each), _told(parser, each)) for each in own))


def own_arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What the command adds to that which every Django command has."""
    from django.core.management.base import BaseCommand

    common = {each.dest for each in BaseCommand().create_parser("manage.py", "x")._actions}
    return [each for each in parser._actions if each.dest not in common | {"help"}]


def _usage(parser: argparse.ArgumentParser, own: list[argparse.Action]) -> str:
    words = [parser.prog.removeprefix("python ")]
    for each in own:
        word = f"{each.option_strings[-1]} {_value(each)}".strip() if each.option_strings else _value(each)
        words.append(word if each.required else f"[{word}]")
    return " ".join(words)


def _value(action: argparse.Action) -> str:
    """What stands for the value: nothing for a flag."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _spelling(action: argparse.Action) -> str:
    spellings = action.option_strings or [""]
    return ", ".join(f"`{f'{spelling} {_value(action)}'.strip()}`" for spelling in spellings)


def _told(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    told = (action.help or "") % {**vars(action), "prog": parser.prog}
    return f"{told} (required)" if action.required and action.option_strings else told


def _table(titles: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {titles[0]} | {titles[1]} |", "| --- | --- |"]
    lines += [
        f"| {left.replace('|', chr(92) + '|')} | {right.replace('|', chr(92) + '|')} |"
        for left, right in rows
    ]
    return "\n".join(lines)


# --- The pages ------------------------------------------------------------------------------------

PAGES: Final[dict[str, Callable[[], str]]] = {"settings.md": settings_page, "commands.md": commands_page}


def stale(folder: Path = FOLDER) -> Iterator[str]:
    """A complaint for each page that is missing or not as it would be written now."""
    for name, write in PAGES.items():
        file = folder / name
        if not file.exists() or file.read_text() != write():
            yield f"docs/reference/{name}: not current; run make docs"


def main() -> int:
    import django

    django.setup()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, write in PAGES.items():
        (FOLDER / name).write_text(write())
        sys.stdout.write(f"docs/reference/{name}\n")
    return 0


if __name__ == "__main__":
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keymanager.settings")
    sys.exit(main())
