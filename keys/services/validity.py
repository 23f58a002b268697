"""When keys may sign: what may be asked for, and keys that must not sign now."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cryptosources.providers.api import KeyAttributes
from keys.attributes import BadAttributes, Validity, require_dates, require_tags, require_year
from keys.models import ManagedKey
from keys.services.refusals import OperationRefused

#: Enabled, without dates, without tags of the operators' own.
PLAIN: Final = KeyAttributes()

#: In an update's parameters: tags that were shown and left out, so that they go; all others stay.
TAGS_REMOVED: Final = "tags_removed"

_WHY: Final = {
    Validity.DISABLED: "is disabled",
    Validity.NOT_YET_VALID: "is not valid before {start:%Y-%m-%d %H:%M:%S} UTC",
    Validity.EXPIRED: "expired at {end:%Y-%m-%d %H:%M:%S} UTC",
}


def fit(attributes: KeyAttributes) -> KeyAttributes:
    """The attributes as an HSM keeps them: dates in UTC and whole seconds.

    OperationRefused, naming the field, for dates or tags that no key can have.
    """
    try:
        require_year(attributes.not_before, field="not_before")
        require_year(attributes.expires_at, field="expires_at")
        start, end = _whole(attributes.not_before), _whole(attributes.expires_at)
        require_dates(not_before=start, expires_at=end)
        require_tags(attributes.tags)
    except BadAttributes as error:
        raise OperationRefused(str(error), field=error.field) from error
    return KeyAttributes(attributes.enabled, start, end, dict(attributes.tags))


def fit_for_a_new_key(attributes: KeyAttributes, *, now: datetime) -> KeyAttributes:
    """As :func:`fit`; a key that would never sign is refused, too."""
    fitting = fit(attributes)
    if fitting.expires_at is not None and fitting.expires_at <= now:
        raise OperationRefused("This is past: the key would never sign.", field="expires_at")
    return fitting


def as_parameters(attributes: KeyAttributes) -> dict[str, object]:
    """The attributes in an operation's row; dates as ISO 8601."""
    return {
        "enabled": attributes.enabled,
        "not_before": attributes.not_before.isoformat() if attributes.not_before else None,
        "expires_at": attributes.expires_at.isoformat() if attributes.expires_at else None,
        "tags": dict(attributes.tags),
    }


def from_parameters(parameters: Mapping[str, Any]) -> KeyAttributes:
    """What :func:`as_parameters` wrote."""
    start, end = parameters["not_before"], parameters["expires_at"]
    return KeyAttributes(
        enabled=parameters["enabled"],
        not_before=datetime.fromisoformat(start) if start else None,
        expires_at=datetime.fromisoformat(end) if end else None,
        tags=dict(parameters["tags"]),
    )


def _whole(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC).replace(microsecond=0) if at else None


class KeyNotValid(Exception):
    """The key's own dates or its enabled state forbid signing; ``validity`` says which."""

    def __init__(self, message: str, validity: Validity) -> None:
        super().__init__(message)
        self.message = message
        self.validity = validity


def require_valid(key: ManagedKey, *, now: datetime, version: str) -> None:
    """KeyNotValid unless the key may sign now with that version.

    A disabled key signs with none. The dates on record are the current version's; those of an earlier
    one are left to the HSM, which knows.
    """
    if (version == key.current_version or not key.enabled) and (reason := why_not_valid(key, now=now)):
        raise KeyNotValid(reason, key.validity(now))


def why_not_valid(key: ManagedKey, *, now: datetime) -> str:
    """The reason in a sentence, with what to do; empty when the key may sign."""
    validity = key.validity(now)
    if validity.may_sign:
        return ""
    what = _WHY[validity].format(start=_whole(key.not_before), end=_whole(key.expires_at))
    return f"The key {what}: the HSM signs nothing with it. Change its validity first."
