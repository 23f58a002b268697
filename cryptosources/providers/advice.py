"""What a person does about an error that names no remedy of its own: a sentence for each kind."""

from typing import Final

from cryptosources.providers.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConfigurationError,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    Throttled,
)

AGAIN: Final = "Run the test again; if it fails again, show the code to whoever runs the HSM."
_BY_KIND: Final[tuple[tuple[type[ProviderError], str], ...]] = (
    (
        Throttled,
        "Wait a minute, then run the test again. If it stays, other applications use up this HSM's rate.",
    ),
    (
        ProviderUnavailable,
        "Run the test again in a minute. If it fails again, check the network between this machine and the "
        "HSM, and the status page of the cloud.",
    ),
    (
        OutcomeUnknown,
        "Run the test again in a minute. If it fails again, check the network between this machine and the "
        "HSM: the request left, and no answer came back.",
    ),
    (
        AuthenticationFailed,
        "Look the code up among the vendor's sign-in errors; the sign-in service's own words stand above.",
    ),
    (
        AccessDenied,
        "Ask whoever runs the HSM why it refuses this application; its own words stand above.",
    ),
    (
        ConfigurationError,
        "Compare the crypto source's DNS Name and token endpoint with what the cloud's portal shows.",
    ),
)


def next_thing(error: ProviderError) -> str:
    """The error's own remedy, else that of its kind; never empty."""
    if error.remedy:
        return error.remedy
    return next((words for kind, words in _BY_KIND if isinstance(error, kind)), AGAIN)
