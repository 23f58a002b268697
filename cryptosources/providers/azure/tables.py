"""The tables: HTTP status and code, AADSTS code, certificate problem → our error, our words, what to do.

Statuses, codes and texts are those of recorded Managed HSM and Key Vault traffic and of the vendor's
pages (*Key Vault: authentication, requests and responses*; *Common error codes*; *Entra: authentication
and authorization error codes*). The first row that fits decides.
"""

import re
from dataclasses import dataclass
from typing import Final

from cryptosources.providers.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConfigurationError,
    CredentialExpired,
    CredentialLocked,
    ForeignBackup,
    KeyNameReserved,
    KeyNotFound,
    ProviderError,
    ProviderUnavailable,
    Throttled,
    UnsupportedOperation,
)

MISSING_RIGHT: Final = re.compile(r"Not authorized to access (\S+)")


class Conflict(ProviderUnavailable):
    """409 without a reason we know: look at the key, and where that explains nothing, try again later."""


@dataclass(frozen=True, slots=True)
class Row:
    """``status`` None fits any; ``code`` and ``text`` are searched in the vendor's code and message."""

    status: int | None
    error: type[ProviderError]
    words: str
    code: str = ""
    text: str = ""
    remedy: str = ""

    def fits(self, status: int, code: str, text: str) -> bool:
        return (
            (self.status is None or self.status == status)
            and re.fullmatch(self.code or ".*", code) is not None
            and re.search(self.text, text, re.IGNORECASE) is not None
        )


_NETWORK_REMEDY: Final = (
    "Let this machine's address through the HSM's firewall, or reach the HSM through its private endpoint."
)
HSM_ROWS: Final = (
    Row(
        400,
        ForeignBackup,
        "The HSM cannot read this backup blob: it is damaged or belongs to another security domain.",
        code="Malformed ?[Bb]ackup ?[Bb]lob",
        remedy="Restore into the HSM that made the backup, or into one that shares its security domain.",
    ),
    Row(400, UnsupportedOperation, "This HSM does not know the operation.", code="NotSupported"),
    Row(400, UnsupportedOperation, "The HSM did not accept the request."),
    Row(
        401,
        AuthenticationFailed,
        "The HSM did not accept the sign-in's token.",
        remedy="Check that the token endpoint belongs to the HSM's own tenant, and this machine's clock.",
    ),
    Row(403, AccessDenied, "The application lacks a right on this HSM.", text=MISSING_RIGHT.pattern),
    Row(
        403,
        AccessDenied,
        "The HSM's network rules keep this machine out.",
        code="ForbiddenByFirewall|ForbiddenByConnection",
        remedy=_NETWORK_REMEDY,
    ),
    Row(
        403,
        AccessDenied,
        "The HSM's network rules keep this machine out.",
        text=r"firewall|client address is not authorized|public network access|private (endpoint|link)",
        remedy=_NETWORK_REMEDY,
    ),
    Row(
        403,
        UnsupportedOperation,
        "The key's state does not allow it.",
        text=r"not (allowed|permitted) on (an? |this )?(disabled|expired|not.yet.valid|key)|is disabled",
        code="KeyDisabled|Forbidden",
        remedy="Look at the key's dates, its enabled state and its permitted operations.",
    ),
    Row(403, UnsupportedOperation, "The key is disabled.", code="KeyDisabled|KeyExpired|KeyNotYetValid"),
    Row(
        403,
        UnsupportedOperation,
        "The HSM is full.",
        text=r"(largest|maximum) number|quota|limit (of|exceeded|reached)",
        remedy="Purge what is no longer needed; a Managed HSM holds 5,000 keys of 100 versions each.",
    ),
    Row(403, AccessDenied, "The HSM refuses this to the application."),
    Row(404, KeyNotFound, "There is no such key.", code="KeyNotFound"),
    Row(
        404,
        ConfigurationError,
        "No Managed HSM answers at this address.",
        remedy="Check the DNS name of the crypto source.",
    ),
    Row(408, ProviderUnavailable, "The HSM gave up waiting for the request."),
    Row(
        409,
        ProviderUnavailable,
        "A restore of the whole HSM is in progress; nothing else runs until it is done.",
        text="restore operation is in progress",
    ),
    Row(409, ProviderUnavailable, "The key is still being deleted.", code="ObjectIsBeingDeleted"),
    Row(409, ProviderUnavailable, "The key is still being deleted.", text="currently being deleted"),
    Row(
        409,
        KeyNameReserved,
        "A deleted key holds this name until it is recovered or purged.",
        code="ObjectIsDeletedButRecoverable",
        remedy="Recover or purge that key at the HSM, or choose another name.",
    ),
    Row(
        409,
        KeyNameReserved,
        "A deleted key holds this name until it is recovered or purged.",
        text="deleted but recoverable",
        remedy="Recover or purge that key at the HSM, or choose another name.",
    ),
    Row(409, Conflict, "The HSM reports a conflict."),
    Row(421, ConfigurationError, "The server does not know an HSM of this name."),
    Row(429, Throttled, "The HSM asks for a slower pace."),
)
SERVER_ROW: Final = Row(None, ProviderUnavailable, "The HSM has a problem of its own.")
REDIRECT_ROW: Final = Row(
    None,
    ConfigurationError,
    "The address sends elsewhere; that is not followed, because a token would go along.",
    remedy="Check the DNS name of the crypto source.",
)
OTHER_ROW: Final = Row(None, UnsupportedOperation, "The HSM refused the request.")

_WRONG_SECRET: Final = (
    "Enter the secret's value (not its ID) in the crypto source, or make a new secret in Entra."
)
_TENANT: Final = "Copy the token endpoint again from the app registration's Endpoints page."
ENTRA_ROWS: Final = (
    Row(
        None, AuthenticationFailed, "The client secret is wrong.", code="AADSTS7000215", remedy=_WRONG_SECRET
    ),
    Row(
        None,
        AuthenticationFailed,
        "The client secret is missing.",
        code="AADSTS7000216|AADSTS7000218",
        remedy=_WRONG_SECRET,
    ),
    Row(
        None,
        CredentialExpired,
        "The client secret has expired.",
        code="AADSTS7000222",
        remedy="Make a new secret for the app registration in Entra and enter it in the crypto source.",
    ),
    Row(
        None,
        AuthenticationFailed,
        "The tenant knows no application with this Application ID.",
        code="AADSTS700016",
        remedy="Compare the Application ID and the tenant in the token endpoint with the app registration.",
    ),
    Row(
        None,
        CredentialLocked,
        "The application is disabled.",
        code="AADSTS7000112|AADSTS50053|AADSTS50057",
        remedy="Ask an administrator of the tenant to enable the application again.",
    ),
    Row(
        None,
        AuthenticationFailed,
        "The client certificate was not accepted.",
        code="AADSTS700027|AADSTS700024|AADSTS50012",
        remedy="Compare the certificate with the one in the app registration.",
    ),
    Row(
        None,
        AuthenticationFailed,
        "A policy of the tenant blocks the sign-in.",
        code="AADSTS53003|AADSTS530\\d\\d",
        remedy="Ask an administrator of the tenant which Conditional Access policy blocked this machine.",
    ),
    Row(
        None,
        ConfigurationError,
        "The tenant does not exist in this cloud.",
        code="AADSTS90002|AADSTS900021|AADSTS900023|AADSTS900382",
        remedy=_TENANT,
    ),
    Row(
        None,
        ConfigurationError,
        "The tenant does not know the HSM service that tokens are wanted for.",
        code="AADSTS500011|AADSTS50001|AADSTS70011|AADSTS1002012",
        remedy="Check that the HSM and the token endpoint belong to the same cloud.",
    ),
    Row(
        None,
        ProviderUnavailable,
        "The sign-in service has a passing problem.",
        code="AADSTS90033|AADSTS90024",
    ),
    Row(429, Throttled, "The sign-in service asks for a slower pace."),
    Row(
        None,
        ConfigurationError,
        "The sign-in service knows no such tenant.",
        text="Unable to get authority configuration",
        remedy=_TENANT,
    ),
)
ENTRA_OTHER: Final = Row(None, AuthenticationFailed, "The sign-in was refused.")
ENTRA_DOWN: Final = Row(None, ProviderUnavailable, "The sign-in service has a problem of its own.")

ROOT_REMEDY: Final = (
    "If the certificate comes from your own authority, paste that authority's root certificate "
    "into the crypto source's trusted root certificates."
)
# OpenSSL's X509_V_ERR_* numbers (x509_vfy.h): what is wrong with the certificate, what to do.
TLS_ROWS: Final[dict[int, tuple[str, str]]] = {
    9: ("its certificate is not valid yet", "Check this machine's clock."),
    10: ("its certificate has expired", "Have the server's certificate renewed; check this machine's clock."),
    18: ("its certificate is self-signed and not trusted here", ROOT_REMEDY),
    19: ("its certificate comes from a root that is not trusted here", ROOT_REMEDY),
    20: ("its certificate comes from an authority that is not trusted here", ROOT_REMEDY),
    21: ("its certificate comes from an authority that is not trusted here", ROOT_REMEDY),
    23: ("its certificate has been revoked", "Have the server's certificate replaced."),
    62: (
        "its certificate is for another host name",
        "Use the host name that the certificate names; for a private endpoint that is the HSM's public name.",
    ),
}
