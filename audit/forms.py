"""The search form of the audit room."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator

from audit.actors import ActorKind
from audit.models import Outcome
from audit.search import FIRST_DAY, LAST_DAY, Search
from audit.wording import ACTIONS, GROUPS, OUTCOMES, SUBJECTS, WHO

Choices = list[tuple[str, Any]]


def _action_choices() -> Choices:
    """Every action under the heading of its group, and each group as a whole."""
    choices: Choices = [("", "Anything")]
    for prefix, group in GROUPS.items():
        actions = [(name, words) for name, words in ACTIONS.items() if name.startswith(f"{prefix}.")]
        choices.append((group, [(prefix, f"{group}: all"), *actions]))
    return choices


def _day(label: str) -> forms.DateField:
    years = f"Choose a day between {FIRST_DAY.year} and {LAST_DAY.year}."
    return forms.DateField(
        required=False,
        label=label,
        widget=forms.DateInput(attrs={"type": "date", "min": str(FIRST_DAY), "max": str(LAST_DAY)}),
        validators=[MinValueValidator(FIRST_DAY, years), MaxValueValidator(LAST_DAY, years)],
    )


class SearchForm(forms.Form):
    """What to look for. Anything else than a listed choice is refused, an unlisted action is not."""

    q = forms.CharField(
        required=False,
        max_length=200,
        label="Search",
        widget=forms.TextInput(
            attrs={"type": "search", "placeholder": "Name, person, operation or request id"}
        ),
    )
    action = forms.CharField(
        required=False, max_length=100, label="What", widget=forms.Select(choices=_action_choices())
    )
    outcome = forms.ChoiceField(
        required=False,
        label="Outcome",
        choices=[("", "Any"), *((outcome.value, words.text) for outcome, words in OUTCOMES.items())],
    )
    who = forms.ChoiceField(
        required=False,
        label="Who",
        choices=[("", "Anybody"), *((kind.value, words) for kind, words in WHO.items())],
    )
    subject = forms.ChoiceField(
        required=False,
        label="About",
        choices=[("", "Everything"), *((kind.slug, kind.plural) for kind in SUBJECTS)],
    )
    since = _day("From")
    until = _day("To")
    id = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)
    by = forms.CharField(required=False, max_length=200, widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data, auto_id="audit_%s")
        for field in self.fields.values():
            if isinstance(field.widget, forms.DateInput):
                field.widget.format = "%Y-%m-%d"

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        since, until = values.get("since"), values.get("until")
        if since and until and since > until:
            self.add_error("until", "This day is before the first one.")
        if values.get("id") and not values.get("subject"):
            self.add_error("subject", "Say what kind of thing this identifier belongs to.")
        return values

    def search(self) -> Search:
        """Of a valid form."""
        values = self.cleaned_data
        return Search(
            text=values["q"].strip(),
            action=values["action"],
            outcome=Outcome(values["outcome"]) if values["outcome"] else None,
            who=ActorKind(values["who"]) if values["who"] else None,
            by=values["by"],
            subject=values["subject"],
            identifier=values["id"],
            since=values["since"],
            until=values["until"],
        )


def told(search: Search) -> dict[str, str]:
    """The search as the record of an export holds it: what narrows, by the names of the form's fields."""
    values: dict[str, str | date | None] = {
        "q": search.text,
        "action": search.action,
        "outcome": search.outcome,
        "who": search.who,
        "by": search.by,
        "subject": search.subject,
        "id": search.identifier,
        "since": search.since,
        "until": search.until,
    }
    return {name: str(value) for name, value in values.items() if value}
