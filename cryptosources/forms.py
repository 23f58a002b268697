"""The crypto source form: the fields in the order people know, and one call to the rules."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from crispy_forms.helper import FormHelper
from crispy_forms.layout import HTML, Div, Fieldset, Layout, Row, Submit
from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe

from cryptosources.errors import EditConflict
from cryptosources.models import FRIENDLY_NAME_LENGTH, CryptoSource, SignInMethod, SourceKind, SourceStatus
from cryptosources.providers.api import ProviderKind
from cryptosources.rules import KEY_LENGTH, LONG_SECONDS, SHORT_SECONDS
from cryptosources.services import sources
from cryptosources.services.gate import licence_refusal
from cryptosources.services.sources import InvalidSource, SourceSettings
from secretstore.secret import Secret

ONLY_ADMINISTRATORS: Final = "Only administrators switch a crypto source Active or Inactive."
ASSUMED: Final = "Two years are assumed for a new Key until you enter its date."
ENDED: Final = "This day is over already. Enter the day on which the client secret will end."
KEY_NOT_KEPT: Final = "Enter the Key again: it was not saved, and it is never sent back to this page."


@dataclass(frozen=True, slots=True)
class TypeOffer:
    """A source type that works here, and why it cannot be chosen (empty when it can)."""

    kind: ProviderKind
    refusal: str

    @property
    def label(self) -> str:
        name = str(SourceKind(self.kind.value).label)
        return f"{name} (not licensed)" if self.refusal else name


def type_offers(now: datetime) -> list[TypeOffer]:
    """Every type that works in this installation, licensed or not."""
    kinds = [ProviderKind.AZURE_MANAGED_HSM]
    if getattr(settings, "ALLOW_MEMORY_SOURCES", False):
        kinds.append(ProviderKind.MEMORY)
    return [TypeOffer(kind, licence_refusal(kind=kind, now=now)) for kind in kinds]


class TypeSelect(forms.Select):
    """A select in which the types that the licence refuses are greyed out."""

    refused: frozenset[str] = frozenset()

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        if str(value) in self.refused:
            option["attrs"]["disabled"] = True
        return option


class SecondsInput(forms.NumberInput):
    """Needed only with its checkboxes, so the browser must not insist where scripts are off."""

    def use_required_attribute(self, initial: Any) -> bool:
        return False


def _text(pattern: str, title: str) -> forms.TextInput:
    """A text control whose form the browser checks; ``title`` is what it says then."""
    return forms.TextInput(attrs={"pattern": pattern, "title": title, "spellcheck": "false"})


class SourceForm(forms.Form):
    """New, Clone and Edit; ``settings()`` and ``active`` are what the services take."""

    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)
    status = forms.ChoiceField(label="Status", choices=SourceStatus.choices, widget=forms.RadioSelect)
    friendly_name = forms.CharField(label="Friendly Name", max_length=FRIENDLY_NAME_LENGTH)
    kind = forms.ChoiceField(label="Crypto Source Type", widget=TypeSelect)
    dns_name = forms.CharField(
        label="DNS Name",
        required=False,
        widget=_text(
            r"\s*([Hh][Tt][Tt][Pp][Ss]://)?[^\s@?#\/]+/?\s*", "A host name, with or without https://"
        ),
        help_text="The HSM's address, such as contoso.managedhsm.azure.net. Every key operation goes there.",
    )
    token_endpoint = forms.CharField(
        label="Endpoint OAuth 2.0 Token",
        required=False,
        widget=_text(r"\s*[Hh][Tt][Tt][Pp][Ss]://[^\s@?#]+\s*", "A URL that begins with https://"),
        help_text="From the app registration's endpoints, version 1 or 2: "
        "https://login.microsoftonline.com/<em>tenant id</em>/oauth2/v2.0/token",
    )
    application_id = forms.CharField(
        label="Application ID",
        required=False,
        widget=_text(
            r"\s*[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\s*",
            "A GUID such as 00000000-1111-2222-3333-444444444444",
        ),
        help_text="The Application (client) ID of the app registration, a GUID.",
    )
    key = forms.CharField(
        label="Key",
        required=False,
        max_length=KEY_LENGTH,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
    )
    secret_expires_on = forms.DateField(
        label="Key expires on",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
    )
    backup_restore = forms.BooleanField(
        label="Enable Key Backup & Restore",
        required=False,
        help_text="Every key is backed up when it is made, and the backup is verified. Needs the rights to "
        "back up, restore, recover and purge, and an HSM without purge protection. In this version keys stay "
        "in the HSM; removing them between signatures comes with a later one.",
    )
    keep_after_signing = forms.BooleanField(
        label="Do not instantly remove key from Azure after signing",
        required=False,
        help_text="For keys in regular use: without it each signature will cost one restore, and an HSM "
        "restores at most 10 keys a second. Stored now, followed once keys leave between signatures.",
    )
    remove_after_seconds = forms.IntegerField(
        label="Remove the keys after (seconds)",
        min_value=1,
        widget=SecondsInput(attrs={"step": 1}),
        help_text="Counted from the last signature. Fewer than "
        f"{SHORT_SECONDS} seconds mean many restores, more than {LONG_SECONDS:,} (a day) keys that linger: "
        "you are warned of both.",
        error_messages={
            "invalid": "Enter a whole number of seconds, at least 1.",
            "min_value": "Enter a whole number of seconds, at least 1.",
        },
    )
    trusted_roots = forms.CharField(
        label="Trusted root certificates",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"class": "mono", "rows": 5, "spellcheck": "false"}),
        help_text="PEM, for an HSM behind a private endpoint with certificates of its own. "
        "Leave it empty for the public certificate authorities.",
    )
    sign_in_method = forms.ChoiceField(
        label="Sign-in method",
        choices=SignInMethod.choices,
        initial=SignInMethod.CLIENT_SECRET,
        widget=forms.RadioSelect,
    )

    def __init__(
        self,
        *args: Any,
        source: CryptoSource | None,
        cloned_from: CryptoSource | None = None,
        may_toggle: bool,
        now: datetime,
        **kwargs: Any,
    ) -> None:
        """``source`` is edited; without one the form is for a new source, filled in from ``cloned_from``."""
        self.source = source
        self.cloned_from = cloned_from
        self.may_toggle = may_toggle
        self.now = now
        kwargs["initial"] = {**self._initial(), **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)
        self._prepare_type()
        self._prepare_status()
        self._prepare_key()
        self._prepare_requirements()
        self.helper = _helper(source)

    # --- What the page shows ------------------------------------------------------------------

    def _initial(self) -> dict[str, object]:
        if self.source is not None:
            return self._settings_of(self.source)
        assumed = sources.assumed_expiry(self.now)
        if self.cloned_from is None:
            status = SourceStatus.ACTIVE if self.may_toggle else SourceStatus.INACTIVE
            return {"status": status, "secret_expires_on": assumed}
        copied = self._settings_of(self.cloned_from)
        if self.cloned_from.secret_expiry_assumed:
            copied["secret_expires_on"] = assumed
        return copied | {
            "revision": None,
            "status": SourceStatus.INACTIVE,
            "friendly_name": sources.suggested_name(self.cloned_from),
        }

    def _settings_of(self, source: CryptoSource) -> dict[str, object]:
        """Everything but the Key, which no web process can open."""
        return {name: getattr(source, name) for name in self.base_fields if name != "key"}

    def _prepare_type(self) -> None:
        field = self.fields["kind"]
        assert isinstance(field, forms.ChoiceField)
        if self.source is not None:
            field.choices = [(self.source.kind, self.source.get_kind_display())]
            field.disabled = True
            field.help_text = "The type of a crypto source stays as it is."
            return
        offers = type_offers(self.now)
        field.choices = [(offer.kind.value, offer.label) for offer in offers]
        widget = field.widget
        assert isinstance(widget, TypeSelect)
        widget.refused = frozenset(offer.kind.value for offer in offers if offer.refusal)
        field.help_text = format_html_join(
            mark_safe("<br>"), "{}: {}", ((offer.label, offer.refusal) for offer in offers if offer.refusal)
        )
        free = [offer.kind.value for offer in offers if not offer.refusal]
        if free:
            self.initial.setdefault("kind", free[0])
        else:
            field.choices = [("", "No type is licensed"), *field.choices]

    def _prepare_status(self) -> None:
        if not self.may_toggle:
            self.fields["status"].disabled = True
            self.fields["status"].help_text = ONLY_ADMINISTRATORS

    def _prepare_key(self) -> None:
        key, expiry = self.fields["key"], self.fields["secret_expires_on"]
        for field in (key, expiry):
            field.widget.attrs["data-kept"] = ""
        expiry.help_text = f"Entra shows it beside the secret. {ASSUMED}"
        if self.source is None:
            key.help_text = "The client secret's value. It is sealed and never shown again."
            if self.cloned_from is not None:
                key.help_text = "Not copied: it is sealed, and only the workers can open it. Enter it here."
            return
        key.help_text = (
            "Leave empty to keep the stored one. Needed again when the DNS Name, the token endpoint, "
            "the Application ID or the root certificates change."
        )
        if self.source.secret_expiry_assumed:
            expiry.help_text = f"Nobody has entered it yet. {expiry.help_text}"

    def _prepare_requirements(self) -> None:
        """What must be filled in, and what the browser disables; the rules check both again."""
        azure = self._kind() == SourceKind.AZURE_MANAGED_HSM
        for name in ("dns_name", "token_endpoint", "application_id", "key", "secret_expires_on"):
            field = self.fields[name]
            if name != "secret_expires_on":  # two years are assumed for one left empty
                field.required = azure and (name != "key" or self.source is None)
            if self.source is None:
                field.widget.attrs["data-requires"] = f"id_kind={SourceKind.AZURE_MANAGED_HSM}"
        self.fields["keep_after_signing"].widget.attrs["data-requires"] = "id_backup_restore"
        seconds = self.fields["remove_after_seconds"].widget
        seconds.attrs["data-requires"] = "id_backup_restore id_keep_after_signing"

    def _kind(self) -> str:
        initial = self.initial.get("kind", "")
        return str(self.data.get("kind", initial) if self.source is None else initial)

    # --- What was entered -----------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        if not self.may_toggle and self.data.get("status") not in (None, self.initial["status"]):
            self.add_error("status", ONLY_ADMINISTRATORS)
        if self.has_error("remove_after_seconds", "required"):
            del self.errors["remove_after_seconds"]  # the rules know whether it is
        if "kind" in self.cleaned_data:
            self._check_rules()
        if self.errors and self.data.get("key") and "key" not in self.errors:
            self.add_error("key", KEY_NOT_KEPT)
        return self.cleaned_data

    def clean_secret_expires_on(self) -> date | None:
        """A day that is over is an error, unless it stands so already and is not what is being changed."""
        entered: date | None = self.cleaned_data["secret_expires_on"]
        kept = self.source is not None and entered == self.source.secret_expires_on
        if entered is not None and not kept and entered < timezone.localdate(self.now):
            raise forms.ValidationError(ENDED)
        return entered

    def _check_rules(self) -> None:
        entered = self.settings()
        if refusal := licence_refusal(kind=entered.kind, now=self.now):
            self.add_error("kind", refusal)
        try:
            sources.check_settings(entered=entered, existing=self.source)
        except InvalidSource as refused:
            self.add_problems(refused)

    def add_problems(self, refused: InvalidSource) -> None:
        """Put the rules' problems at their fields; they say more than “This field is required”."""
        for name, texts in refused.problems.items():
            if self.has_error(name, "required"):
                del self.errors[name]
            if name not in self.errors:
                self.add_error(name, [forms.ValidationError(text) for text in texts])

    def show_conflict(self, conflict: EditConflict) -> None:
        """Keep the entries, and let the next Save be based on what is stored now."""
        assert self.source is not None
        self.source.refresh_from_db()
        self.data = {**self.data.dict(), "revision": self.source.revision}  # type: ignore[attr-defined]
        self.add_error(None, str(conflict))
        if self.cleaned_data.get("key"):
            self.add_error("key", KEY_NOT_KEPT)

    def settings(self) -> SourceSettings:
        """The entries as one value, whether or not all fields are fine."""
        entered = self.cleaned_data
        return SourceSettings(
            friendly_name=entered.get("friendly_name", ""),
            kind=ProviderKind(entered["kind"]),
            dns_name=entered.get("dns_name", ""),
            token_endpoint=entered.get("token_endpoint", ""),
            application_id=entered.get("application_id", ""),
            key=Secret(entered["key"]) if entered.get("key") else None,
            secret_expires_on=self._expiry(),
            backup_restore=entered.get("backup_restore", False),
            keep_after_signing=entered.get("keep_after_signing", False),
            remove_after_seconds=entered.get("remove_after_seconds"),
            trusted_roots=entered.get("trusted_roots", ""),
            sign_in_method=entered.get("sign_in_method", ""),
        )

    def _expiry(self) -> date | None:
        """None for a date that the person has not touched: for a new Key the service assumes it."""
        entered = self.cleaned_data.get("secret_expires_on")
        shown = self.source.secret_expires_on if self.source else sources.assumed_expiry(self.now)
        return None if entered == shown else entered

    @property
    def active(self) -> bool:
        """For those who may not toggle it, what it was: Django takes no value for a disabled field."""
        return bool(self.cleaned_data["status"] == SourceStatus.ACTIVE)


def _helper(source: CryptoSource | None) -> FormHelper:
    helper = FormHelper()
    helper.form_class = "form"
    helper.attrs = {"autocomplete": "off", "novalidate": True}
    helper.layout = Layout(
        "revision",
        Fieldset("Profile", "status", "friendly_name", "kind"),
        Fieldset(
            "Azure Managed HSM",
            "dns_name",
            "token_endpoint",
            "application_id",
            Row("key", "secret_expires_on"),
        ),
        Fieldset("Keys between signatures", "backup_restore", "keep_after_signing", "remove_after_seconds"),
        Fieldset("Connection", "trusted_roots", "sign_in_method"),
        Div(
            Submit("save", "Save" if source else "Create crypto source", css_class="btn btn-primary"),
            HTML('<a class="btn" href="{{ back_url }}">Cancel</a>'),
            css_class="form-actions",
        ),
    )
    return helper
