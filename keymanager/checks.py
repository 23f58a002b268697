"""System checks over settings that belong to no single app."""

from itertools import pairwise
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from cryptosources.providers.hosts import AddressError, parse_rule

LADDER = ("PROVIDER_DEADLINE", "SOFT_LIMIT", "HARD_LIMIT", "CLAIM_SECONDS", "VISIBILITY_TIMEOUT")


@register()
def time_ladder(**_: Any) -> list[CheckMessage]:
    """Each step of the time ladder must be shorter than the next one.

    A claim that ends before its holder is killed would let two workers act on one key.
    """
    seconds = {name: float(getattr(settings, name)) for name in LADDER}
    return [
        Error(
            f"KEYMANAGER_{shorter} ({seconds[shorter]:g} s) must be less than "
            f"KEYMANAGER_{longer} ({seconds[longer]:g} s).",
            id="keymanager.E001",
        )
        for shorter, longer in pairwise(LADDER)
        if seconds[shorter] >= seconds[longer]
    ]


@register()
def secret_key(**_: Any) -> list[CheckMessage]:
    """Django refuses to start without a SECRET_KEY; say which variable sets it."""
    if settings.SECRET_KEY:
        return []
    return [Error("Set KEYMANAGER_SECRET_KEY to a long random value.", id="keymanager.E003")]


@register()
def allow_lists(**_: Any) -> list[CheckMessage]:
    """Every entry of the two allow-lists must be one that providers understand."""
    found: list[CheckMessage] = []
    for name in ("HSM_HOSTS", "TOKEN_HOSTS"):
        for entry in getattr(settings, name):
            try:
                parse_rule(entry)
            except AddressError as error:
                found.append(Error(f"KEYMANAGER_{name}: {error}", id="keymanager.E004"))
    return found
