"""Crypto sources for tests, made the way the console makes them."""

from datetime import UTC, date, datetime
from typing import Any, Final

from audit.services import Actor
from cryptosources.models import CryptoSource
from cryptosources.providers.api import ProviderKind
from cryptosources.services import sources
from cryptosources.settings_value import SourceSettings
from secretstore.secret import Secret

NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ACTOR: Final = Actor.system("tests")
TENANT: Final = "6babcaad-604b-40ac-a9d7-9fd97c0b779f"
TOKEN_URL: Final = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
APPLICATION: Final = "11111111-2222-3333-4444-555555555555"
KEY: Final = "Key~that.must-never_be.shown"


def memory_settings(name: str = "Memory", **changes: Any) -> SourceSettings:
    return SourceSettings(**{"friendly_name": name, "kind": ProviderKind.MEMORY} | changes)


def azure_settings(name: str = "Contoso HSM", **changes: Any) -> SourceSettings:
    values: dict[str, Any] = {
        "friendly_name": name,
        "kind": ProviderKind.AZURE_MANAGED_HSM,
        "dns_name": "contoso.managedhsm.azure.net",
        "token_endpoint": TOKEN_URL,
        "application_id": APPLICATION,
        "key": Secret(KEY),
        "secret_expires_on": date(2027, 5, 1),
    }
    return SourceSettings(**(values | changes))


def make_source(entered: SourceSettings | None = None, *, active: bool = True) -> CryptoSource:
    """A source as stored; in memory unless told otherwise."""
    return sources.create_source(entered=entered or memory_settings(), active=active, actor=ACTOR, now=NOW)
