"""Components take what they are given and nothing from the page around them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.template.loader import render_to_string

from tests.ui.markup import Markup, parse


def _component(name: str, **context: Any) -> Markup:
    return parse(render_to_string(f"components/{name}.html", {"title": "The page", "text": "", **context}))


def _words(markup: Markup) -> str:
    return " ".join(" ".join(element.text for element in markup.elements).split())


def test_message_says_its_text_only() -> None:
    assert _words(_component("message", text="Done <b>")) == "Done <b>"


def test_time_without_a_script_is_absolute_and_exact_for_one() -> None:
    (shown,) = _component("time", at=datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)).all("time")
    assert shown.text == "14 Mar 2026, 09:26"
    assert shown["datetime"] == "2026-03-14T09:26:53+00:00"


def test_no_time_is_never() -> None:
    assert _words(_component("time", at=None)) == "never"


@pytest.mark.parametrize("outcome", ["passed", "failed", "warning", "skipped", "running", "waiting"])
def test_outcome_of_a_step_is_told_in_words_too(outcome: str) -> None:
    step = _component("step", step={"label": "TLS", "outcome": outcome})
    assert [hidden.text for hidden in step.with_class("visually-hidden")] == [f"{outcome.capitalize()}: "]


def test_copy_button_names_the_text_it_copies() -> None:
    box = _component("copy", id="pem", label="Public key", text="PEM")
    assert box.by_id(box.all("button")[0]["data-copy"]).text == "PEM"


def test_confirmation_ties_button_and_error_to_the_field() -> None:
    form = _component("confirm_text", text="eseal-2026", label="Purge", error="Type the name.")
    (button,) = form.with_class("btn-danger")
    field = form.by_id(button["data-confirm-field"])
    assert button["data-confirm-text"] == "eseal-2026"
    assert form.by_id(field["aria-describedby"]).text == "Type the name."
