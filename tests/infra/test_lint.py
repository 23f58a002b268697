"""The linters find what they are there to find, and nothing in the tree as it is."""

import pytest

from tests.infra import lint


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<p>\n<script>alert(1)</script>", "a.html:2: an inline script"),
        ('<script type="module">x</script>', "inline script"),
        ("<STYLE>p{}</STYLE>", "inline style sheet"),
        ('<p class="a" style="color:red">', "style attribute"),
        ('<button\n onclick="go()">', "event handler"),
        ('<a href="javascript:go()">', "javascript: address"),
        ('<script src="https://cdn.example/x.js"></script>', "foreign address"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "foreign address"),
    ],
)
def test_inline_code_is_found(text: str, what: str) -> None:
    assert any(what in complaint for complaint in lint.inline_code("a.html", text))


@pytest.mark.parametrize(
    "text",
    [
        '<script src="{% static "js/a.js" %}"></script>',
        '<link rel="stylesheet" href="/static/a.css">',
        '<a href="https://example.org/on-line=yes">style of it</a>',
        '<input data-on="x" aria-label="one = two">',
    ],
)
def test_clean_templates_pass(text: str) -> None:
    assert list(lint.inline_code("a.html", text)) == []


def test_a_template_that_does_not_compile_is_found() -> None:
    assert list(lint.template_error("a.html", "{% if x %}")) != []
    assert list(lint.template_error("a.html", "{% if x %}{% endif %}")) == []


@pytest.mark.parametrize(
    "line",
    [
        "django",
        "django==5.2",
        "django>=5 --hash=sha256:00",
        "--index-url https://host/simple",
        "-f /somewhere",
    ],
)
def test_loose_requirements_are_found(line: str) -> None:
    assert len(list(lint.loose_requirements("requirements.txt", line + "\n"))) == 1


def test_a_pinned_requirement_passes() -> None:
    text = "# comment\ndjango==5.2.19 ; python_version > '3' \\\n  --hash=sha256:00 \\\n  --hash=sha256:11\n"
    assert list(lint.loose_requirements("requirements.txt", text)) == []


def test_registry_hosts_are_found() -> None:
    assert list(lint.registry_names("x", "see https://" + lint.REGISTRIES[0] + "/simple")) != []


def test_the_tree_is_clean() -> None:
    assert list(lint.complaints(lint.tracked_files())) == []
