"""The rules of the crypto source form, in one place for form and services.

The database holds the same rules as check constraints (see ``models.py``); the browser shows them early.
"""

import re
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from cryptosources import addresses, trusted_roots
from cryptosources.errors import InvalidSource
from cryptosources.models import FRIENDLY_NAME_LENGTH, MAX_SECONDS, CryptoSource, SignInMethod
from cryptosources.providers.api import ProviderKind
from cryptosources.settings_value import SourceSettings

KEY_LENGTH: Final = 1000
SHORT_SECONDS: Final = 60
LONG_SECONDS: Final = 86_400

_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECRET_ID: Final = (
    "This looks like the secret's ID. Enter its Value; Entra shows it only once, when the secret is made."
)

# A stored Key goes only to the addresses, and under the name, for which a person entered it.
AIMING_FIELDS: Final = {
    "dns_name": "DNS Name",
    "token_endpoint": "Endpoint OAuth 2.0 Token",
    "application_id": "Application ID",
    "trusted_roots": "Trusted root certificates",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Checked and normalised settings, named as the columns they go to."""

    friendly_name: str
    kind: str
    dns_name: str
    token_endpoint: str
    application_id: uuid.UUID | None
    backup_restore: bool
    keep_after_signing: bool
    remove_after_seconds: int | None
    trusted_roots: str
    sign_in_method: str

    def items(self) -> list[tuple[str, object]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def changes(self, source: CryptoSource) -> dict[str, object]:
        """The columns in which ``source`` differs, with their new values."""
        return {name: value for name, value in self.items() if getattr(source, name) != value}


class _Problems:
    """Collects what is wrong, field by field, so that a person sees all of it at once."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def add(self, field: str, text: str) -> None:
        self.found.setdefault(field, []).append(text)

    def cleaned(self, field: str, text: str, clean: Callable[[str], str]) -> str:
        """``clean(text)``; a ValueError becomes the field's problem."""
        try:
            return clean(text)
        except ValueError as error:
            self.add(field, str(error))
            return ""


def check(entered: SourceSettings, *, existing: CryptoSource | None) -> Columns:
    """Check every rule that needs no look at the database. Raises ``InvalidSource`` with all problems."""
    problems = _Problems()
    columns = _columns(entered, problems)
    _check_dependent(entered, problems)
    if existing is not None and existing.kind != entered.kind:
        problems.add("kind", "The type of a crypto source cannot be changed. Create another one.")
    if entered.kind is ProviderKind.AZURE_MANAGED_HSM:
        _check_key(entered, columns, existing, problems)
    if problems.found:
        raise InvalidSource(problems.found)
    return columns


def _columns(entered: SourceSettings, problems: _Problems) -> Columns:
    azure = entered.kind is ProviderKind.AZURE_MANAGED_HSM
    return Columns(
        friendly_name=problems.cleaned("friendly_name", entered.friendly_name, _friendly_name),
        kind=entered.kind.value,
        dns_name=problems.cleaned("dns_name", entered.dns_name, _dns_name) if azure else "",
        token_endpoint=(
            problems.cleaned("token_endpoint", entered.token_endpoint, _token_endpoint) if azure else ""
        ),
        application_id=_application_id(entered.application_id, problems) if azure else None,
        backup_restore=entered.backup_restore,
        keep_after_signing=entered.keep_after_signing,
        remove_after_seconds=entered.remove_after_seconds,
        trusted_roots=problems.cleaned("trusted_roots", entered.trusted_roots, trusted_roots.normalise),
        sign_in_method=problems.cleaned("sign_in_method", entered.sign_in_method, _sign_in_method),
    )


def folded(friendly_name: str) -> str:
    """What two Friendly Names that differ in case or spacing have in common."""
    return _tidy(friendly_name).casefold()


def _tidy(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _friendly_name(text: str) -> str:
    name = _tidy(text)
    if not name:
        raise ValueError("Enter a Friendly Name.")
    if len(name) > FRIENDLY_NAME_LENGTH:
        raise ValueError(f"Use at most {FRIENDLY_NAME_LENGTH} characters; these are {len(name)}.")
    if not name.isprintable():
        raise ValueError("The Friendly Name contains characters that cannot be shown.")
    return name


def _dns_name(text: str) -> str:
    if not text.strip():
        raise ValueError("Enter the DNS Name of the HSM, for example contoso.managedhsm.azure.net.")
    return addresses.hsm_base_url(text.strip())


def _token_endpoint(text: str) -> str:
    if not text.strip():
        raise ValueError(
            "Enter the token URL, for example "
            "https://login.microsoftonline.com/<tenant id>/oauth2/v2.0/token."
        )
    return addresses.token_endpoint(text.strip())


def _application_id(text: str, problems: _Problems) -> uuid.UUID | None:
    """Only the written form that Entra shows: 8-4-4-4-12 hexadecimal digits."""
    entered = text.strip().lower()
    try:
        parsed = uuid.UUID(entered)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != entered:
        problems.add(
            "application_id",
            "Enter the Application (client) ID of the app registration: a GUID such as "
            "00000000-1111-2222-3333-444444444444.",
        )
        return None
    return parsed


def _sign_in_method(text: str) -> str:
    if text not in SignInMethod.values:
        raise ValueError("This sign-in method is not available.")
    return text


def _check_dependent(entered: SourceSettings, problems: _Problems) -> None:
    """A value without the checkbox that it depends on is an error: dropping it would hide a mistake."""
    if entered.keep_after_signing and not entered.backup_restore:
        problems.add("keep_after_signing", "This needs “Enable Key Backup & Restore”. Tick both or none.")
    seconds = entered.remove_after_seconds
    if seconds is not None and not entered.keep_after_signing:
        problems.add(
            "remove_after_seconds",
            "This needs “Do not instantly remove key from Azure after signing”. Tick it or leave this empty.",
        )
    elif entered.keep_after_signing and seconds is None:
        problems.add("remove_after_seconds", "Enter after how many seconds the keys are removed.")
    if seconds is not None and not 1 <= seconds <= MAX_SECONDS:
        problems.add("remove_after_seconds", "Enter a whole number of seconds, at least 1.")


def _check_key(
    entered: SourceSettings, columns: Columns, existing: CryptoSource | None, problems: _Problems
) -> None:
    if entered.key is not None:
        if _GUID.fullmatch(entered.key.reveal_text().strip()):
            problems.add("key", _SECRET_ID)
        if len(entered.key.reveal()) > KEY_LENGTH:
            problems.add("key", f"A Key has at most {KEY_LENGTH} characters.")
        return
    if existing is None:
        problems.add("key", "Enter the Key: the client secret of the app registration.")
        return
    changed = columns.changes(existing).keys() - problems.found.keys()
    aimed = [label for name, label in AIMING_FIELDS.items() if name in changed]
    if aimed:
        problems.add(
            "key",
            f"Enter the Key again, because you changed {' and '.join(aimed)}: "
            "a stored Key is never sent anywhere else than where it was entered for.",
        )


def seconds_advice(seconds: int | None) -> list[str]:
    """Allowed, but worth a second look."""
    if seconds is None or SHORT_SECONDS <= seconds <= LONG_SECONDS:
        return []
    if seconds < SHORT_SECONDS:
        return [
            f"Remove the keys after {seconds} seconds: that is less than a minute, "
            "so keys in regular use will be restored again and again, "
            "once keys leave the HSM between signatures."
        ]
    return [
        f"Remove the keys after {seconds:,} seconds: that is more than a day, "
        "so keys will stay in the HSM long after their last signature."
    ]
