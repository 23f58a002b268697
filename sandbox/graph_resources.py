"""Applications and their credentials as Graph shows them."""

import base64
from datetime import UTC, datetime

from sandbox.certificates import Certificate
from sandbox.directory import App, ClientSecret, Directory

Json = dict[str, object]
PROPERTIES = frozenset(
    (
        "id",
        "deletedDateTime",
        "appId",
        "displayName",
        "identifierUris",
        "signInAudience",
        "tags",
        "keyCredentials",
        "passwordCredentials",
    )
)
_HINT_LENGTH = 3


def application(directory: Directory, app: App, select: tuple[str, ...], *, with_keys: bool = False) -> Json:
    """The properties selected, or all. ``with_keys`` shows whole certificates, not their names only."""
    certificates = directory.certificates.of(app.application_id)
    whole: Json = {
        "id": app.registration_id,
        "deletedDateTime": None,
        "appId": app.application_id,
        "displayName": app.display_name,
        "identifierUris": [],
        "signInAudience": "AzureADMyOrg",
        "tags": [],
        "keyCredentials": [_key(item, whole=with_keys) for item in certificates],
        "passwordCredentials": [password(item) for item in directory.secrets(app.application_id)],
    }
    return {name: whole[name] for name in select or whole}


def password(secret: ClientSecret, *, reveal: bool = False) -> Json:
    """A password credential; its text is shown once, in the answer to its making."""
    return {
        "customKeyIdentifier": None,
        "displayName": secret.display_name or None,
        "endDateTime": _time(secret.end_at),
        "hint": secret.value[:_HINT_LENGTH],
        "keyId": secret.key_id,
        "secretText": secret.value if reveal else None,
        "startDateTime": _time(secret.start_at),
    }


def _key(certificate: Certificate, *, whole: bool) -> Json:
    return {
        "customKeyIdentifier": certificate.thumbprint().hex().upper(),
        "displayName": certificate.display_name,
        "endDateTime": _time(certificate.end_at),
        "key": base64.b64encode(certificate.der).decode("ascii") if whole else None,
        "keyId": certificate.key_id,
        "startDateTime": _time(certificate.start_at),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}Z"
