"""System checks over settings that belong to no single app."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

LADDER = ("PROVIDER_DEADLINE", "SOFT_LIMIT", "HARD_LIMIT", "CLAIM_SECONDS", "VISIBILITY_TIMEOUT")


@register()
def time_ladder(**_: Any) -> list[CheckMessage]:
    """Each step of the time ladder must be shorter than the next one.

    A claim that ends before its holder is killed would let two workers act on one key.
    """
    values = [float(getattr(settings, name)) for name in LADDER]
    return [
        Error(
            f"KEYMANAGER_{shorter} ({a:g} s) must be less than KEYMANAGER_{longer} ({b:g} s).",
            id="keymanager.E001",
        )
        for (shorter, a), (longer, b) in zip(
            zip(LADDER, values, strict=True), list(zip(LADDER, values, strict=True))[1:], strict=False
        )
        if a >= b
    ]


@register()
def role(**_: Any) -> list[CheckMessage]:
    """KEYMANAGER_ROLE is one of three words."""
    if settings.ROLE in ("web", "worker", "beat"):
        return []
    return [Error(f"KEYMANAGER_ROLE is {settings.ROLE!r}; use web, worker or beat.", id="keymanager.E002")]


@register()
def secret_key(**_: Any) -> list[CheckMessage]:
    """Django refuses to start without a SECRET_KEY; say which variable sets it."""
    if settings.SECRET_KEY:
        return []
    return [Error("Set KEYMANAGER_SECRET_KEY to a long random value.", id="keymanager.E003")]
