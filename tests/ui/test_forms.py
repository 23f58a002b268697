"""The form markup: labels, help and errors are tied to their control, and passwords are never shown again."""

import pytest
from crispy_forms.utils import render_crispy_form
from django.template import Context, Template

from tests.ui.forms import EveryControl
from tests.ui.markup import Markup, parse, refused_by_csp

BAD_INPUT = {"key": EveryControl.SECRET, "backup": "on", "seconds": "0", "revision": "1"}


@pytest.fixture
def fresh() -> Markup:
    return parse(render_crispy_form(EveryControl()))


@pytest.fixture
def refused() -> Markup:
    return parse(render_crispy_form(EveryControl(BAD_INPUT)))


def test_markup_keeps_to_the_policy() -> None:
    assert refused_by_csp(render_crispy_form(EveryControl(BAD_INPUT))) == []


@pytest.mark.parametrize("name", ["name", "kind", "key", "backup", "keep", "seconds", "roots"])
def test_every_control_has_one_label(fresh: Markup, name: str) -> None:
    assert [label["for"] for label in fresh.all("label")].count(f"id_{name}") == 1
    fresh.by_id(f"id_{name}")


@pytest.mark.parametrize("name", ["rights", "form_of"])
def test_several_controls_are_a_group_with_a_legend(fresh: Markup, name: str) -> None:
    assert fresh.by_id(f"div_id_{name}").tag == "fieldset"


def test_help_describes_its_control(fresh: Markup) -> None:
    assert fresh.by_id("id_name")["aria-describedby"] == "id_name_helptext"
    assert fresh.by_id("id_name_helptext").text.strip() == "Unique in this console."


def test_no_control_of_a_fresh_form_is_invalid(fresh: Markup) -> None:
    assert not [element for element in fresh.elements if element.get("aria-invalid")]
    assert not fresh.with_class("error-summary")


@pytest.mark.parametrize("name", ["name", "key", "backup", "seconds", "roots"])
def test_error_belongs_to_its_control(refused: Markup, name: str) -> None:
    control = refused.by_id(f"id_{name}")
    assert control["aria-invalid"] == "true"
    assert f"id_{name}_error" in control["aria-describedby"].split()
    refused.by_id(f"id_{name}_error")
    assert "field-invalid" in refused.by_id(f"div_id_{name}")["class"]


def test_error_belongs_to_its_group(refused: Markup) -> None:
    described = refused.by_id("div_id_rights")["aria-describedby"].split()
    assert described == ["id_rights_helptext", "id_rights_error"]
    refused.by_id("id_rights_error")


def test_a_right_control_has_no_error(refused: Markup) -> None:
    assert refused.by_id("id_keep").get("aria-invalid") is None


def test_summary_leads_to_every_wrong_field(refused: Markup) -> None:
    (summary,) = refused.with_class("error-summary")
    assert summary["role"] == "alert"
    targets = [link["href"].removeprefix("#") for link in refused.all("a")]
    assert {"id_name", "id_kind", "id_key", "id_backup", "id_seconds", "id_roots"} <= set(targets)
    identifiers = {element.get("id") for element in refused.elements}
    assert set(targets) <= identifiers


def test_error_of_the_whole_form_is_in_the_summary(refused: Markup) -> None:
    assert [item.text for item in refused.all("li") if "go together" in item.text]


def test_error_text_is_escaped() -> None:
    html = render_crispy_form(EveryControl(BAD_INPUT))
    assert "key is wrong &lt;b&gt;" in html
    assert "wrong <b>" not in html


def test_password_is_never_shown_again() -> None:
    html = render_crispy_form(EveryControl(BAD_INPUT))
    assert EveryControl.SECRET not in html
    assert parse(html).by_id("id_key")["type"] == "password"


def test_dependent_fields_name_what_they_need(fresh: Markup) -> None:
    assert fresh.by_id("id_seconds")["data-requires"] == "id_backup id_keep"


def test_sections_are_fieldsets_with_legends(fresh: Markup) -> None:
    assert [legend.text.strip() for legend in fresh.all("legend")][:2] == ["Identification", "Sign-in"]


def test_hidden_field_has_no_label(fresh: Markup) -> None:
    assert fresh.by_id("id_revision")["type"] == "hidden"
    assert "id_revision" not in [label["for"] for label in fresh.all("label")]


def test_form_posts_with_a_token_and_a_button() -> None:
    page = Template("{% load crispy_forms_tags %}{% crispy form %}").render(
        Context({"form": EveryControl(), "csrf_token": "a-token"})
    )
    found = parse(page)
    assert found.all("form")[0]["method"] == "post"
    assert [field["value"] for field in found.all("input") if field.get("name") == "csrfmiddlewaretoken"]
    assert [button["type"] for button in found.with_class("btn-primary")] == ["submit"]


def test_filters_render_the_same_field() -> None:
    form = EveryControl(BAD_INPUT)
    whole = Template("{% load crispy_forms_tags %}{{ form|crispy }}").render(Context({"form": form}))
    one = Template("{% load crispy_forms_tags %}{{ form.name|as_crispy_field }}").render(
        Context({"form": form})
    )
    assert parse(whole).by_id("id_name").attributes == parse(one).by_id("id_name").attributes
    assert len(parse(whole).with_class("error-summary")) == 1
