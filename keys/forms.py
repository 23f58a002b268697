"""The forms about keys. They check what was typed; the services decide what may be done."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from crispy_forms.helper import FormHelper
from crispy_forms.layout import HTML, Div, Fieldset, Layout, Submit
from django import forms
from django.utils import timezone

from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import (
    DigestMismatch,
    KeyAlgorithm,
    SignatureAlgorithm,
    require_digest,
)
from cryptosources.providers.api import KeyAttributes
from cryptosources.services.gate import licence_refusal
from keys import wording
from keys.attributes import (
    MOST_TAGS,
    TAG_LENGTH,
    BadAttributes,
    format_tags,
    parse_tags,
    require_dates,
    require_year,
)
from keys.encodings import parse_bytes, parse_digest
from keys.models import KeyVersion, ManagedKey, require_name
from keys.naming import (
    COUNT_RULE,
    DIGITS_RULE,
    FIRST_RULE,
    MOST_AT_ONCE,
    MOST_DIGITS,
    BadCount,
    counted_names,
)
from keys.uploads import HashedUpload

DIGEST: Final = "digest"
FILE: Final = "file"
SIGNATURE_LENGTH: Final = 4096
LABEL_LENGTH: Final = 200


_SENDING: Final = """<div data-sending hidden><p class="quiet">Sending…</p>
<progress class="progress" aria-label="Sending"></progress></div>"""


def _helper(*layout: object, button: str) -> FormHelper:
    """The layout with its button and a way back (``back_url`` of the page's context)."""
    helper = FormHelper()
    helper.form_class = "form"
    helper.attrs = {"novalidate": True}
    send = Submit("send", button, css_class="btn btn-primary")
    back = HTML('<a class="btn" href="{{ back_url }}">Cancel</a>')
    helper.layout = Layout(*layout, HTML(_SENDING), Div(send, back, css_class="form-actions"))
    return helper


class OneOfFile(forms.FileField):
    """One of several fields of which the form wants exactly one: not optional, yet empty when not chosen."""

    def clean(self, data: Any, initial: Any = None) -> Any:
        return None if data in self.empty_values else super().clean(data, initial)


class OneOfText(forms.CharField):
    """As :class:`OneOfFile`, for text."""

    def clean(self, value: Any) -> Any:
        return "" if value in self.empty_values else super().clean(value)


class UsualNumber(forms.IntegerField):
    """A number that is the usual one, its ``initial``, where the form sends none."""

    def clean(self, value: Any) -> Any:
        return self.initial if value in self.empty_values else super().clean(value)


def _always(rule: str) -> dict[str, str]:
    """The same words for a number that is too small and for one that is too large."""
    return {"min_value": rule, "max_value": rule}


class SourceSelect(forms.Select):
    """A list of crypto sources in which those that cannot be used are greyed, with the reason."""

    reasons: dict[str, str] = {}

    def create_option(self, name: str, value: Any, label: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, label, *args, **kwargs)
        if reason := self.reasons.get(str(value)):
            option["attrs"]["disabled"] = True
            option["label"] = f"{label} ({reason})"
        return option


class MomentField(forms.DateTimeField):
    """A day and a time in the console's time zone, to the minute as browsers ask for it."""

    FORMAT: Final = "%Y-%m-%dT%H:%M"
    input_formats = [FORMAT, f"{FORMAT}:%S"]
    widget = forms.DateTimeInput({"type": "datetime-local"}, format=FORMAT)
    default_error_messages = {"invalid": "Give a day and a time, such as 2027-01-31T23:59."}

    def to_python(self, value: Any) -> datetime | None:
        """The years that a key can have; nearer to the calendar's ends no time zone could be reckoned."""
        moment: datetime | None = super().to_python(value)
        try:
            require_year(moment)
        except BadAttributes as error:
            raise forms.ValidationError(str(error)) from error
        return moment


class AttributesForm(forms.Form):
    """From when until when a key signs, and the operators' tags. ``attributes`` is what was entered."""

    not_before = MomentField(label="Valid from", required=False)
    expires_at = MomentField(label="Valid until", required=False)
    tags = forms.CharField(
        label="Tags",
        required=False,
        help_text=f"One name=value a line, at most {MOST_TAGS}, each with up to {TAG_LENGTH} characters for "
        "the name and for the value. No personal data: the HSM's maker may store tags anywhere in the world.",
        widget=forms.Textarea(
            {
                "class": "mono",
                "rows": 3,
                "spellcheck": "false",
                "autocapitalize": "off",
                "placeholder": "department=seals",
            }
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zone = timezone.get_current_timezone_name()
        self.fields["not_before"].help_text = f"The HSM refuses to sign before. Time zone: {zone}."
        self.fields["expires_at"].help_text = "The HSM refuses to sign from then on. Empty: no end."

    def clean_tags(self) -> dict[str, str]:
        try:
            return parse_tags(self.cleaned_data["tags"])
        except BadAttributes as error:
            raise forms.ValidationError(list(error.problems)) from error

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        try:
            require_dates(not_before=data.get("not_before"), expires_at=data.get("expires_at"))
        except BadAttributes as error:
            self.add_error(error.field, str(error))
        return data

    @property
    def attributes(self) -> KeyAttributes:
        data = self.cleaned_data
        return KeyAttributes(data.get("enabled", True), data["not_before"], data["expires_at"], data["tags"])


class UpdateForm(AttributesForm):
    """The dates, the enabled state and the tags that a key has, to be changed."""

    enabled = forms.BooleanField(
        label="Enabled",
        required=False,
        help_text="This console signs nothing with a key that is not enabled. In the HSM the current version "
        "is disabled; earlier versions keep what they have there. Signatures keep verifying.",
    )

    def __init__(self, *args: Any, key: ManagedKey, **kwargs: Any) -> None:
        initial = {
            "enabled": key.enabled,
            "not_before": key.not_before,
            "expires_at": key.expires_at,
            "tags": format_tags(key.tags),
        }
        super().__init__(*args, initial=initial, **kwargs)
        self.key = key
        dates = Div("not_before", "expires_at", css_class="form-columns")
        self.helper = _helper(Fieldset("", "enabled", dates, "tags"), button="Change validity and tags")

    def clean_not_before(self) -> datetime | None:
        return _kept(self.cleaned_data["not_before"], self.key.not_before)

    def clean_expires_at(self) -> datetime | None:
        return _kept(self.cleaned_data["expires_at"], self.key.expires_at)


def _kept(entered: datetime | None, held: datetime | None) -> datetime | None:
    """The date held, when the entered one is the same to the minute: browsers ask for no seconds."""
    same = entered is not None and held is not None and entered == held.replace(second=0, microsecond=0)
    return held if same else entered


class GenerateForm(AttributesForm):
    """New keys. A greyed source that is posted all the same is refused by the service, with the reason.

    ``names`` are the names of all keys; ``token`` tells one sending of the form from its repetition.
    """

    field_order = [
        "token",
        "source",
        "algorithm",
        "name",
        "count",
        "first",
        "digits",
        "not_before",
        "expires_at",
        "tags",
    ]

    token = forms.UUIDField(required=False, widget=forms.HiddenInput)
    source = forms.ModelChoiceField(
        CryptoSource.objects.defer("sealed_secret"),
        label="Crypto source",
        widget=SourceSelect,
        empty_label="Choose a crypto source",
        error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose a crypto source."),
    )
    name = forms.CharField(
        label="Name",
        validators=[require_name],
        error_messages={"required": "Give a name."},
        help_text="1 to 127 letters, digits and hyphens, as the HSM demands. It cannot be changed later. "
        "For several keys: what comes before the number, such as eseal-2026-",
        widget=forms.TextInput(
            {"maxlength": 127, "autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    count = UsualNumber(
        label="How many",
        initial=1,
        min_value=1,
        max_value=MOST_AT_ONCE,
        error_messages=_always(COUNT_RULE),
        help_text=f"1 to {MOST_AT_ONCE}. Each of several keys gets the name and a number.",
    )
    first = UsualNumber(
        label="First number",
        initial=1,
        min_value=0,
        error_messages=_always(FIRST_RULE),
        help_text="For several keys.",
    )
    digits = UsualNumber(
        label="Digits",
        initial=3,
        min_value=1,
        max_value=MOST_DIGITS,
        error_messages=_always(DIGITS_RULE),
        help_text="3 writes 1 as 001, so that the names sort.",
    )
    algorithm = forms.TypedChoiceField(
        label="Key type",
        coerce=KeyAlgorithm,
        initial=KeyAlgorithm.RSA_3072.value,
        error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose a key type."),
        help_text="An RSA key signs with RS256, RS384, RS512, PS256, PS384 and PS512. An EC key signs with "
        "its curve's algorithm: P-256 with ES256, P-256K with ES256K, P-384 with ES384, P-521 with ES512.",
    )

    def __init__(self, *args: Any, sources: Sequence[CryptoSource], now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        reasons = why_unusable(sources, now=now)
        source, algorithm = self.fields["source"], self.fields["algorithm"]
        assert isinstance(source.widget, SourceSelect)
        assert isinstance(algorithm, forms.TypedChoiceField)
        source.widget.reasons = reasons
        usable = [row for row in sources if str(row.pk) not in reasons]
        if len(usable) == 1:
            self.initial.setdefault("source", usable[0])
        algorithm.choices = _key_types()
        self.initial.setdefault("token", uuid4())
        self.helper = _helper(*self._layout(), button="Generate key")

    def _layout(self) -> list[Fieldset]:
        notes = HTML('{% include "keys/source_notes.html" %}')
        numbers = Div("count", "first", "digits", css_class="form-columns counting")
        preview = HTML('{% include "keys/names_preview.html" %}')
        dates = Div("not_before", "expires_at", css_class="form-columns")
        return [
            Fieldset("", "token", "source", notes, "algorithm"),
            Fieldset("Names", "name", numbers, preview),
            Fieldset("Validity and tags", dates, "tags"),
        ]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if {"name", *_NUMBERS} & set(self.errors):
            return data
        try:
            data["names"] = counted_names(data["name"], **{name: data[name] for name in _NUMBERS})
        except BadCount as error:
            self.add_error(error.field, str(error))
        return data

    @property
    def names(self) -> list[str]:
        """All names as entered; empty before anything was, or while the numbers do not work."""
        found: list[str] = self.cleaned_data.get("names", []) if self.is_bound else []
        return found


_NUMBERS: Final = ("count", "first", "digits")


def why_unusable(sources: Iterable[CryptoSource], *, now: datetime) -> dict[str, str]:
    """Sources that cannot generate a key now, by primary key, with the reason in two words."""
    rows = list(sources)
    unlicensed = {kind for kind in {row.provider_kind for row in rows} if licence_refusal(kind=kind, now=now)}
    inactive = {str(row.pk): "Inactive" for row in rows if not row.is_active}
    return {str(row.pk): "not licensed" for row in rows if row.provider_kind in unlicensed} | inactive


def _key_types() -> list[tuple[str, list[tuple[str, str]]]]:
    types = [(algorithm, (algorithm.value, wording.key_type(algorithm))) for algorithm in KeyAlgorithm]
    return [
        ("RSA", [choice for algorithm, choice in types if algorithm.is_rsa]),
        ("Elliptic curve", [choice for algorithm, choice in types if not algorithm.is_rsa]),
    ]


class DigestForm(forms.Form):
    """A file or a digest, and an algorithm that the key can do.

    ``cleaned_data["digest_bytes"]`` is the digest, of the algorithm's length; ``the_label`` the file's name.
    Uploads are :class:`HashedUpload`: the file itself is gone when the form sees it.
    """

    use_required_attribute = False  # Which field is wanted depends on ``what``.

    what = forms.ChoiceField(
        label="What",
        choices=[(FILE, "A file"), (DIGEST, "A digest")],
        initial=FILE,
        widget=forms.RadioSelect,
    )
    file = OneOfFile(
        label="File",
        help_text="Hashed while it arrives, and never stored. Only its digest goes to the HSM.",
        widget=forms.FileInput({"data-requires": "id_what=file"}),
    )
    digest = OneOfText(
        label="Digest",
        max_length=500,
        help_text="Hexadecimal or base64.",
        widget=forms.TextInput(
            {"class": "mono", "data-requires": "id_what=digest", "autocomplete": "off", "spellcheck": "false"}
        ),
    )
    algorithm = forms.TypedChoiceField(label="Algorithm", coerce=SignatureAlgorithm)

    def __init__(self, *args: Any, key: ManagedKey, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.key = key
        algorithm = self.fields["algorithm"]
        assert isinstance(algorithm, forms.TypedChoiceField)
        algorithm.choices = [(item.value, wording.describe(item)) for item in key.signature_algorithms]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        chosen, other = (DIGEST, FILE) if data.get("what") == DIGEST else (FILE, DIGEST)
        if data.get(other):
            self.add_error(other, f"You chose a {chosen}: leave this empty, or choose the {other}.")
        elif chosen not in self.errors and not data.get(chosen):
            self.add_error(chosen, f"Give the {chosen}.")
        elif not self.errors:
            self._take_digest(data, chosen)
        return data

    def _take_digest(self, data: dict[str, Any], chosen: str) -> None:
        algorithm: SignatureAlgorithm = data["algorithm"]
        try:
            data["digest_bytes"] = (
                _upload(data[FILE]).digests[algorithm.hash_name]
                if chosen == FILE
                else parse_digest(data[DIGEST], algorithm)
            )
            require_digest(algorithm, data["digest_bytes"])
        except (DigestMismatch, ValueError) as error:
            self.add_error(chosen, str(error))

    @property
    def file_name(self) -> str:
        upload = self.cleaned_data.get(FILE)
        return str(upload.name) if upload else ""


def _upload(value: object) -> HashedUpload:
    """TypeError for an upload that came past the hashing handler."""
    if not isinstance(value, HashedUpload):
        raise TypeError("uploads to this form are hashed on arrival")
    return value


class SignForm(DigestForm):
    """Ask for a signature with the key's current version."""

    label = forms.CharField(
        label="Label",
        required=False,
        max_length=LABEL_LENGTH,
        help_text="What is signed, for the list of operations. A file's name is taken if you leave it empty.",
        widget=forms.TextInput({"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = _helper(Fieldset("", "what", "file", "digest", "algorithm", "label"), button="Sign")

    @property
    def label_or_file(self) -> str:
        return (self.cleaned_data.get("label") or self.file_name)[:LABEL_LENGTH]


class VerifyForm(DigestForm):
    """Check a signature with the public keys on record. ``cleaned_data["signature_bytes"]`` is as given."""

    signature = OneOfText(
        label="Signature",
        max_length=SIGNATURE_LENGTH,
        help_text="Hexadecimal or base64; an ECDSA signature as DER or as raw r‖s.",
        widget=forms.Textarea({"class": "mono", "rows": 4, "spellcheck": "false"}),
    )
    signature_file = OneOfFile(label="or the signature's file")
    version = forms.ModelChoiceField(
        KeyVersion.objects.none(), label="Version", required=False, empty_label="Any version on record"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        version = self.fields["version"]
        assert isinstance(version, forms.ModelChoiceField)
        version.queryset = self.key.versions.all()
        version.to_field_name = "version"
        self.fields["file"].help_text = "Hashed while it arrives, and never stored."
        self.helper = _helper(
            Fieldset("What was signed", "what", "file", "digest", "algorithm"),
            Fieldset("Its signature", "signature", "signature_file", "version"),
            button="Verify",
        )

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        text, upload = data.get("signature"), data.get("signature_file")
        if text and upload:
            self.add_error("signature", "Give the signature as text or as a file, not both.")
        elif not text and not upload and not {"signature", "signature_file"} & set(self.errors):
            self.add_error("signature", "Give the signature.")
        elif text:
            self._read_text(data, text)
        elif upload:
            self._read_file(data, _upload(upload))
        return data

    def _read_text(self, data: dict[str, Any], text: str) -> None:
        try:
            data["signature_bytes"] = parse_bytes(text)
        except ValueError as error:
            self.add_error("signature", str(error))

    def _read_file(self, data: dict[str, Any], upload: HashedUpload) -> None:
        if upload.whole is None:
            self.add_error("signature_file", "This file is too large for a signature.")
            return
        data["signature_bytes"] = upload.whole
