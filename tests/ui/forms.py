"""A form with every kind of control, for the tests of the form markup."""

from typing import ClassVar

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Fieldset, Layout, Submit
from django import forms


class EveryControl(forms.Form):
    name = forms.CharField(label="Friendly Name", help_text="Unique in this console.")
    kind = forms.ChoiceField(label="Type", choices=[("hsm", "HSM"), ("vault", "Vault")])
    key = forms.CharField(label="Key", required=False, widget=forms.PasswordInput)
    backup = forms.BooleanField(label="Enable Key Backup & Restore", required=False, help_text="Costs time.")
    keep = forms.BooleanField(
        label="Keep after signing", required=False, widget=forms.CheckboxInput({"data-requires": "id_backup"})
    )
    seconds = forms.IntegerField(
        label="Remove after",
        required=False,
        min_value=1,
        widget=forms.NumberInput({"data-requires": "id_backup id_keep"}),
    )
    roots = forms.CharField(label="Trusted roots", required=False, widget=forms.Textarea)
    rights = forms.MultipleChoiceField(
        label="Rights",
        required=False,
        help_text="At least one.",
        choices=[("sign", "Sign"), ("purge", "Purge")],
        widget=forms.CheckboxSelectMultiple,
    )
    form_of = forms.ChoiceField(
        label="Form", choices=[("der", "DER"), ("raw", "r and s")], widget=forms.RadioSelect
    )
    revision = forms.IntegerField(widget=forms.HiddenInput)

    SECRET: ClassVar = "typed-and-never-shown"

    @property
    def helper(self) -> FormHelper:
        helper = FormHelper()
        helper.layout = Layout(
            Fieldset("Identification", "name", "kind"),
            Fieldset("Sign-in", "key", "roots"),
            Fieldset("Life of keys", "backup", "keep", "seconds", "rights", "form_of"),
            "revision",
        )
        helper.add_input(Submit("save", "Save"))
        return helper

    def clean(self) -> None:
        if self.is_bound:
            for name in ("key", "backup", "rights", "roots"):
                self.add_error(name, f"{name} is wrong <b>")
            self.add_error(None, "These do not go together.")
