"""The form that takes a licence, as a file or as text."""

from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone

from licensing.models import Licence
from licensing.services import LicenceError, installable

# Bytes. A licence has less than one thousand.
LARGEST = 64 * 1024


class LicenceForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    file = forms.FileField(required=False, label="Licence file", max_length=255)
    text = forms.CharField(
        required=False,
        label="or its text",
        max_length=LARGEST,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "autocomplete": "off"}),
    )

    class Meta:
        model = Licence
        fields: tuple[str, ...] = ()

    def clean(self) -> dict[str, Any]:
        """Leaves the checked licence in ``cleaned_data["token"]``."""
        values = super().clean() or self.cleaned_data
        file, text = values.get("file"), (values.get("text") or "").strip()
        if bool(file) == bool(text):
            raise forms.ValidationError("Choose a licence file, or paste its text.")
        token = _read(file) if file else text
        try:
            installable(token=token, now=timezone.now())
        except LicenceError as err:
            self.add_error("file" if file else "text", str(err))
        return {**values, "token": token}


def _read(file: "UploadedFile[bytes]") -> str:
    if (file.size or 0) > LARGEST:
        raise forms.ValidationError({"file": "This file is too large for a licence."})
    try:
        return bytes(file.read()).decode("ascii").strip()
    except UnicodeDecodeError:
        raise forms.ValidationError({"file": "This file is not a licence."}) from None
