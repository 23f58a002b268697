"""What the front page shows: sources and their secrets, work under way, and what waits for a person."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Exists, OuterRef

from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.wording import Badge, expiry_badge
from keys.lifecycle import OperationState, Residency
from keys.models import KeyOperation, ManagedKey

ROWS = 5
RECENT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class SecretLine:
    """A source and how long its Key (the client secret) is still good for."""

    source: CryptoSource
    left: Badge | None


@dataclass(frozen=True, slots=True)
class Sources:
    active: int
    inactive: int
    secrets: list[SecretLine]


@dataclass(frozen=True, slots=True)
class Keys:
    total: int
    resident: int
    faulted: list[ManagedKey]


@dataclass(frozen=True, slots=True)
class Operations:
    """``failed``: the last days' failures that no later success has made good."""

    under_way_count: int
    under_way: list[KeyOperation]
    failed: list[KeyOperation]


@dataclass(frozen=True, slots=True)
class Overview:
    """One reader's front page; a part that they may not see is None."""

    sources: Sources | None
    keys: Keys | None
    operations: Operations | None


def overview(*, user: AbstractUser | AnonymousUser, now: datetime) -> Overview:
    """Read the front page for a person; reads only what they may see."""
    return Overview(
        sources=_sources(now.date()) if user.has_perm("cryptosources.view_cryptosource") else None,
        keys=_keys() if user.has_perm("keys.view_managedkey") else None,
        operations=_operations(now) if user.has_perm("keys.view_keyoperation") else None,
    )


def _sources(today: date) -> Sources:
    rows = CryptoSource.objects.order_by("secret_expires_on")
    ending = rows.filter(secret_expires_on__isnull=False).defer("sealed_secret", "trusted_roots")
    secrets = [SecretLine(source, expiry_badge(source, today)) for source in ending[:ROWS]]
    active = rows.filter(status=SourceStatus.ACTIVE).count()
    return Sources(active=active, inactive=rows.count() - active, secrets=secrets)


def _keys() -> Keys:
    rows = ManagedKey.objects.all()
    return Keys(
        total=rows.exclude(residency__in=[Residency.PURGED, Residency.NOT_CREATED]).count(),
        resident=rows.filter(residency=Residency.RESIDENT).count(),
        faulted=list(rows.filter(residency=Residency.FAULTED).select_related("source")[:ROWS]),
    )


def _operations(now: datetime) -> Operations:
    rows = KeyOperation.objects.select_related("key", "key__source").order_by("-requested_at")
    open_rows = rows.under_way()
    repeated = KeyOperation.objects.filter(
        key=OuterRef("key"),
        kind=OuterRef("kind"),
        state=OperationState.SUCCEEDED,
        requested_at__gt=OuterRef("requested_at"),
    )
    failed = rows.filter(~Exists(repeated), state=OperationState.FAILED, finished_at__gte=now - RECENT)
    return Operations(
        under_way_count=open_rows.count(), under_way=list(open_rows[:ROWS]), failed=list(failed[:ROWS])
    )
