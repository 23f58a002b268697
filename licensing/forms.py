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
    """Exactly one of the two ways; what is wrong is told at the field that it came by."""

    file = forms.FileField(required=False, label="Licence file", max_length=255)
    text = forms.CharField(
        required=False,
        label="Or paste its text",
        max_length=LARGEST,
        widget=forms.Textarea(
            attrs={"rows": 6, "spellcheck": "false", "autocomplete": "off", "class": "mono"}
        ),
    )

    class Meta:
        model = Licence
        fields: tuple[str, ...] = ()

    def clean(self) -> dict[str, Any]:
        """Leaves the checked licence in ``cleaned_data["token"]``, and what it says in ``["claims"]``."""
        values = super().clean() or self.cleaned_data
        file, text = values.get("file"), (values.get("text") or "").strip()
        if self.errors:
            return values
        if file and text:
            raise forms.ValidationError({"text": "Give the file or its text, not both."})
        if not file and not text:
            raise forms.ValidationError({"file": "Choose a licence file, or paste its text below."})
        token = _read(file) if file else text
        try:
            claims = installable(token=token, now=timezone.now())
        except LicenceError as err:
            raise forms.ValidationError({"file" if file else "text": str(err)}) from None
        return {**values, "token": token, "claims": claims}


def _read(file: "UploadedFile[bytes]") -> str:
    """Also when it was read before, by the look at what it would change."""
    if (file.size or 0) > LARGEST:
        raise forms.ValidationError({"file": "This file is too large for a licence."})
    file.seek(0)
    try:
        return bytes(file.read()).decode("ascii").strip()
    except UnicodeDecodeError:
        raise forms.ValidationError({"file": "This file is not a licence."}) from None
