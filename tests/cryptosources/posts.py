"""What a browser posts from the crypto source form."""

from typing import Any, Final

from django.test import Client

from cryptosources.models import CryptoSource
from tests.cryptosources.factories import APPLICATION, KEY, TOKEN_URL

LIST: Final = "/cryptosources/cryptosource/"
ADD: Final = f"{LIST}add/"


def page(source: CryptoSource, part: str = "") -> str:
    return f"{LIST}{source.pk}/{part}"


def new_entries(**changes: Any) -> dict[str, Any]:
    """The entries of a new Azure source; None takes a field away, as a disabled control does."""
    entries: dict[str, Any] = {
        "friendly_name": "Contoso HSM",
        "kind": "azure_managed_hsm",
        "dns_name": "contoso.managedhsm.azure.net",
        "token_endpoint": TOKEN_URL,
        "application_id": APPLICATION,
        "key": KEY,
        "secret_expires_on": "2027-05-01",
        "trusted_roots": "",
        "sign_in_method": "client_secret",
    }
    return {name: value for name, value in (entries | changes).items() if value is not None}


def edit_entries(source: CryptoSource, **changes: Any) -> dict[str, Any]:
    """The entries of an Edit that changes nothing."""
    kept = {
        "revision": source.revision,
        "friendly_name": source.friendly_name,
        "dns_name": source.dns_name,
        "token_endpoint": source.token_endpoint,
        "application_id": str(source.application_id),
        "secret_expires_on": source.secret_expires_on.isoformat() if source.secret_expires_on else "",
        "key": "",
        "kind": None,
    }
    return new_entries(**(kept | changes))


def errors_of(client: Client, url: str, entries: dict[str, Any]) -> dict[str, list[str]]:
    """Post, and read the errors field by field; empty when it was saved."""
    response = client.post(url, entries)
    if response.status_code == 302:
        return {}
    assert response.status_code == 200
    return {name: [str(text) for text in texts] for name, texts in response.context["form"].errors.items()}
