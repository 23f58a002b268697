"""The settings of a crypto source as one value: what the form collects and the services take."""

from dataclasses import dataclass, field
from datetime import date

from cryptosources.providers.api import ProviderKind
from secretstore.secret import Secret


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What a person enters. ``key`` None keeps the stored Key; ``secret_expires_on`` None means unknown."""

    friendly_name: str
    kind: ProviderKind
    dns_name: str = ""
    token_endpoint: str = ""
    application_id: str = ""
    key: Secret | None = field(default=None, repr=False)
    secret_expires_on: date | None = None
    secret_expiry_assumed: bool = False
    backup_restore: bool = False
    keep_after_signing: bool = False
    remove_after_seconds: int | None = None
    trusted_roots: str = ""
    sign_in_method: str = "client_secret"
