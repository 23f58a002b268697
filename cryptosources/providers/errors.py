"""What can go wrong at an HSM, as one tree that answers *may I retry?* and *is the outcome known?*

Every error is safe to show and to log: it names the operation, the key and the vendor's code, never a
secret. The vendor's own exception is the ``__cause__``.
"""

from typing import ClassVar


class ProviderError(Exception):
    """An HSM operation failed.

    ``code`` is the vendor's own code (``AADSTS7000215``, ``BadParameter``, ``CKR_PIN_INCORRECT``),
    ``request_id`` the vendor's id for the request (empty when no answer came), ``retry_after`` seconds,
    ``remedy`` the next thing a person can do (empty where the message says it all).
    """

    retryable: ClassVar[bool] = False
    outcome_known: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        key: str = "",
        code: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.key = key
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.remedy = remedy


class ConfigurationError(ProviderError):
    """The source's settings cannot work: a bad address, a host not allowed, a certificate not trusted."""


class UnsupportedOperation(ProviderError):
    """This kind of source, or this key, cannot do what was asked."""


class AccessDenied(ProviderError):
    """Signed in, but a right is missing; ``missing_right`` is the vendor's name for it."""

    def __init__(self, message: str, *, missing_right: str = "", **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # forwarded keyword by keyword
        self.missing_right = missing_right


class AuthenticationFailed(ProviderError):
    """The sign-in was refused. Never tried again by itself: accounts lock."""


class CredentialExpired(AuthenticationFailed):
    """The secret or certificate is past its end date."""


class CredentialLocked(AuthenticationFailed):
    """The account or token is locked; only a person can open it again."""


class KeyNotFound(ProviderError):
    """No live key of that name (and version)."""


class KeyAlreadyExists(ProviderError):
    """A live key has that name."""


class KeyNameReserved(ProviderError):
    """A soft-deleted key holds that name until it is purged or recovered."""


class PurgeProtected(ProviderError):
    """The HSM keeps deleted keys until their retention ends; nobody can purge earlier."""


class ForeignBackup(ProviderError):
    """The backup blob is malformed or belongs to another security domain."""


class Throttled(ProviderError):
    """The HSM asks for a slower pace."""

    retryable = True


class ProviderUnavailable(ProviderError):
    """The HSM or the sign-in service did not answer, and nothing was changed by this call."""

    retryable = True


class OutcomeUnknown(ProviderError):
    """The request left and no usable answer came: it may have taken effect. Describe before anything else."""

    retryable = True
    outcome_known = False


class KeyMismatch(ProviderError):
    """A key is not the one on record: its public key differs."""
