"""The directory's refusals: AADSTS codes with the statuses, error names and texts of the token endpoint.

Recorded: 7000215, 700027. From public reports of real answers: the others.
Assumed: that a secret whose start lies ahead is refused as a wrong one; the status of 50027 and 700211.
"""

from datetime import UTC, datetime

from sandbox.certificates import Certificate


class EntraError(Exception):
    """``error`` is the OAuth error name (RFC 6749, section 5.2), ``code`` the number behind AADSTS."""

    def __init__(self, status: int, error: str, code: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = error
        self.code = code
        self.description = f"AADSTS{code}: {text}"


_NOT_CONSENTED = (
    "This can happen if the application has not been installed by the administrator of the tenant or "
    "consented to by any user in the tenant."
)


def unknown_tenant(tenant: str, *, discovery: bool = False) -> EntraError:
    text = (
        f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing "
        "into the correct cloud. Check with your subscription administrator, this may happen if there are "
        "no active subscriptions for the tenant."
    )
    return EntraError(400, "invalid_tenant" if discovery else "invalid_request", 90002, text)


def unknown_application(application_id: str, tenant: str) -> EntraError:
    text = (
        f"Application with identifier '{application_id}' was not found in the directory '{tenant}'. "
        f"{_NOT_CONSENTED} You may have sent your authentication request to the wrong tenant."
    )
    return EntraError(400, "unauthorized_client", 700016, text)


def wrong_secret() -> EntraError:
    return EntraError(401, "invalid_client", 7000215, "Invalid client secret is provided.")


def expired_secret(application_id: str) -> EntraError:
    text = (
        f"The provided client secret keys for app '{application_id}' are expired. Visit the Azure portal to "
        "create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate "
        "credentials for added security: https://aka.ms/certCreds."
    )
    return EntraError(401, "invalid_client", 7000222, text)


def missing_secret() -> EntraError:
    text = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
    return EntraError(401, "invalid_client", 7000218, text)


def missing_parameter(name: str) -> EntraError:
    text = f"The request body must contain the following parameter: '{name}'."
    return EntraError(400, "invalid_request", 900144, text)


def unsupported_grant(grant: str) -> EntraError:
    text = f"The app requested an unsupported grant type '{grant}'."
    return EntraError(400, "unsupported_grant_type", 70003, text)


def invalid_scope(scope: str) -> EntraError:
    text = (
        f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value "
        "with /.default suffixed to the resource identifier (application ID URI)."
    )
    return EntraError(400, "invalid_scope", 1002012, text)


def unknown_resource(resource: str, tenant: str) -> EntraError:
    text = (
        f"The resource principal named {resource} was not found in the tenant named {tenant}. "
        f"{_NOT_CONSENTED} You might have sent your authentication request to the wrong tenant."
    )
    return EntraError(400, "invalid_resource", 500011, text)


def unsupported_assertion_type(given: str) -> EntraError:
    return EntraError(400, "invalid_request", 70003, f"The client assertion type '{given}' is not supported.")


def malformed_assertion(reason: str) -> EntraError:
    return EntraError(400, "invalid_request", 50027, f"Invalid JWT token. {reason}")


def unknown_assertion_issuer(issuer: str) -> EntraError:
    """An assertion that the application did not issue itself would need a federated credential."""
    text = f"No matching federated identity record found for presented assertion issuer '{issuer}'."
    return EntraError(401, "invalid_client", 700211, text)


def bad_assertion_key(
    reason: str, thumbprint: bytes, application_id: str, certificate: Certificate | None = None
) -> EntraError:
    """``certificate`` is the registered one where the thumbprint led to one."""
    text = f"Client assertion contains an invalid signature. [Reason - {reason}, "
    text += f"Thumbprint of key used by client: '{thumbprint.hex().upper()}'"
    if certificate is not None:
        start, end = (_american(seconds) for seconds in (certificate.start_at, certificate.end_at))
        text += f", Found key 'Start={start}, End={end}'"
    text += f", Please visit the Azure Portal to see configured keys for app Id '{application_id}'.]"
    return EntraError(401, "invalid_client", 700027, text)


def assertion_out_of_time(now: int, begins: int, ends: int) -> EntraError:
    text = (
        f"Client assertion is not within its valid time range. Current time: {_precise(now)}, "
        f"assertion valid from {_precise(begins)}, expiry time of assertion {_precise(ends)}."
    )
    return EntraError(401, "invalid_client", 700024, text)


def wrong_assertion_audience() -> EntraError:
    return EntraError(
        401, "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer."
    )


def wrong_assertion_subject() -> EntraError:
    text = "Client assertion application identifier doesn't match 'client_id' parameter."
    return EntraError(401, "invalid_client", 700021, text)


def _american(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%m/%d/%Y %H:%M:%S}"


def _precise(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.0000000Z"
