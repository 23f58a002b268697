"""The gate before every use of a source: Active, and its type licensed."""

from datetime import datetime

from cryptosources.errors import SourceGone, SourceInactive
from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.api import ProviderKind
from licensing.services import refusal, require_feature


def feature_of(kind: ProviderKind) -> str:
    """The licence feature that a source type needs."""
    return f"source:{kind.value}"


def require_licensed(*, kind: ProviderKind, now: datetime) -> None:
    """Raise ``FeatureNotLicensed``. The in-memory kind is for tests, guarded by a setting instead."""
    if kind is not ProviderKind.MEMORY:
        require_feature(feature_of(kind), now=now)


def licence_refusal(*, kind: ProviderKind, now: datetime) -> str:
    """Why the licence does not allow this type, as a sentence; empty when it does."""
    return "" if kind is ProviderKind.MEMORY else refusal(feature_of(kind), now=now)


def require_usable(*, source: CryptoSource, now: datetime) -> None:
    """Raise unless the source may generate, sign, restore, recover or rotate right now.

    Reads the database, so a stale instance does no harm. Raises ``SourceInactive``, ``SourceGone`` or
    ``FeatureNotLicensed``. Call it at the place where the operation would reach the HSM; deletes and
    purges that are owed, backups and listings do not call it.
    """
    row = CryptoSource.objects.filter(pk=source.pk).values("status", "kind").first()
    if row is None:
        raise SourceGone(source.friendly_name)
    if row["status"] != SourceStatus.ACTIVE:
        raise SourceInactive(source.friendly_name)
    require_licensed(kind=ProviderKind(row["kind"]), now=now)
