"""The files of the look: nothing inline, nothing from another host, nothing evaluated."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from tests.ui.markup import refused_by_csp

ROOT = Path(settings.BASE_DIR)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html")) + sorted(ROOT.glob("*/templates/**/*.html"))
SCRIPTS = sorted((ROOT / "static").rglob("*.js"))
STYLES = sorted((ROOT / "static").rglob("*.css"))
DRAWINGS = sorted((ROOT / "static").rglob("*.svg"))
NAMESPACE = "http://www.w3.org/2000/svg"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _without_template_code(source: str) -> str:
    """A template as HTML: tags and comments of the template language taken out."""
    source = re.sub(r"{%\s*comment.*?endcomment\s*%}", "", source, flags=re.DOTALL)
    return re.sub(r"{%.*?%}|{#.*?#}", " ", source, flags=re.DOTALL)


def test_there_are_files_to_check() -> None:
    assert len(TEMPLATES) > 30
    assert SCRIPTS
    assert STYLES
    assert DRAWINGS


@pytest.mark.parametrize("path", TEMPLATES, ids=_name)
def test_template_keeps_to_the_policy(path: Path) -> None:
    assert refused_by_csp(_without_template_code(path.read_text())) == []


def test_the_check_sees_what_it_looks_for() -> None:
    bad = """<p style="color:red"><a href="//cdn.example.org/x" onclick="go()">x</a><script>1</script>
    <style>a{}</style><img src="https://example.org/x.png"><a href="javascript:go()">y</a>"""
    assert len(refused_by_csp(bad)) == 7


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_script_evaluates_nothing_and_stays_on_this_host(path: Path) -> None:
    source = path.read_text()
    assert not re.search(
        r"\beval\(|new Function|document\.write|https?:|\.style\b|setAttribute\(.style", source
    )
    assert not re.search(r"set(Timeout|Interval)\(\s*[\"'`]", source)


@pytest.mark.parametrize("path", STYLES, ids=_name)
def test_style_loads_nothing(path: Path) -> None:
    assert not re.search(r"@import|url\(|https?:|expression\(", path.read_text())


@pytest.mark.parametrize("path", DRAWINGS, ids=_name)
def test_drawing_holds_shapes_only(path: Path) -> None:
    source = path.read_text().replace(NAMESPACE, "")
    assert not re.search(r"<script|<style|<image|<foreignObject|https?:|\son\w+=|style=", source)


def test_every_icon_asked_for_is_drawn() -> None:
    drawn = set(re.findall(r'symbol id="([\w-]+)"', (ROOT / "static/img/icons.svg").read_text()))
    asked = {
        name
        for path in TEMPLATES
        for name in re.findall(
            r'components/icon\.html" with (?:[\w=" ]*\s)?name="([\w-]+)"', path.read_text()
        )
    }
    assert asked
    assert asked <= drawn
