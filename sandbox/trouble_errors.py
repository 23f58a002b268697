"""Refusals that only trouble and pace give. *documented*, *assumed*: as in ``errors.py``."""

from sandbox.entra_errors import EntraError
from sandbox.errors import HsmError
from sandbox.graph_errors import GraphError

_CODES = {
    500: ("InternalServerError", "An unexpected error occurred"),
    502: ("BadGateway", "The server behind the gateway gave no valid answer"),
    503: ("ServiceUnavailable", "The service is temporarily unavailable; retry later"),
    504: ("GatewayTimeout", "The server behind the gateway did not answer in time"),
}


def throttled() -> HsmError:
    """429. No Managed HSM was recorded answering it; code, text and the missing Retry-After are Key Vault's,
    from a public report."""
    return HsmError(
        429,
        "Throttled",
        "Request was not processed because too many requests were received. "
        "Reason: VaultRequestTypeLimitReached",
    )


def out_of_order(status: int) -> HsmError:
    """500, 502, 503 or 504; assumed."""
    return HsmError(status, *_CODES[status])


def name_is_being_purged(name: str) -> HsmError:
    """409. Never recorded from a Managed HSM; the text is Key Vault's, where a purge takes its time."""
    return HsmError(
        409,
        "Conflict",
        f"Key {name} is currently being deleted and cannot be re-created or restored; retry later.",
    )


def entra_out_of_order(status: int) -> EntraError:
    """The directory's *transient error*, documented."""
    text = "A transient error has occurred. Please try again."
    return EntraError(status, "temporarily_unavailable", 90033, text)


def graph_throttled() -> GraphError:
    """429, documented (*Microsoft Graph throttling guidance*)."""
    return GraphError(429, "TooManyRequests", "Please retry again later.")


def graph_out_of_order(status: int) -> GraphError:
    """500 to 504; the code of 503 is documented, the others and the texts are assumed."""
    code, text = _CODES[status]
    return GraphError(status, "serviceNotAvailable" if status == 503 else code, text)


class EntraThrottled(Exception):
    """The directory's 429 to clients that ask for too many tokens: plain text, from a public report."""

    text = "Too Many Requests"
