"""What keys have to say about their crypto source: how many are in it, and what stops with it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Expression, Max, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce, Now
from django.urls import reverse
from django.utils.formats import date_format

from cryptosources import consequences
from cryptosources.consequences import Consequence, Severity
from cryptosources.models import CryptoSource
from keys.lifecycle import OperationKind, OperationState, Residency
from keys.models import KeyOperation, KeyUse, ManagedKey

DAYS: Final = 30
_KEYS: Final = "admin:keys_managedkey_changelist"
_OPERATIONS: Final = "admin:keys_keyoperation_changelist"
#: The codes of a refused sign-in (Entra's, and the HSM's for a token) and of a missing right.
_REFUSED: Final = Q(error_code__startswith="AADSTS") | Q(
    error_code__in=("AccessDenied", "Unauthorized", "HTTP 401")
)
_SIGNING: Final = (Residency.RESIDENT, Residency.ABSENT)


def register() -> None:
    """Called when the app is ready."""
    consequences.register("keys", tell)
    consequences.register_residents("keys", residents)
    consequences.register_refusals("keys", refused_at)


def residents() -> Expression:
    """How many keys are in the HSM of the outer query's source now."""
    rows = ManagedKey.objects.filter(source=OuterRef("pk"), residency=Residency.RESIDENT).order_by()
    return Coalesce(Subquery(rows.values("source").annotate(count=Count("pk")).values("count")), Value(0))


def refused_at() -> Subquery:
    """When an operation on the outer query's source last failed for a refused sign-in or a missing right."""
    rows = KeyOperation.objects.filter(
        _REFUSED,
        key__source=OuterRef("pk"),
        state=OperationState.FAILED,
        requested_at__gte=Now() - timedelta(days=DAYS),
    ).order_by()
    return Subquery(rows.values("key__source").annotate(at=Max("finished_at")).values("at"))


def tell(source: CryptoSource, now: datetime) -> Iterator[Consequence]:
    """Keys that sign, their use, and the operations under way. Three queries."""
    yield from _keys(source, now)
    yield from _operations(source)


def _keys(source: CryptoSource, now: datetime) -> Iterator[Consequence]:
    signing = ManagedKey.objects.filter(source=source, residency__in=_SIGNING).count()
    if signing:
        yield Consequence(
            _counted(signing, "key that can sign", "keys that can sign"),
            signing,
            Severity.STOPS,
            *_link(_KEYS, source, "keys.view_managedkey"),
        )
    since = (now - timedelta(days=DAYS)).date()
    recent = Coalesce(Sum("signatures", filter=Q(day__gt=since)), 0)
    use = KeyUse.objects.filter(key__source=source).aggregate(recent=recent, last=Max("day"))
    if use["recent"]:
        made = _counted(use["recent"], "signature", "signatures")
        text = f"{made} in the last {DAYS} days, the last one on {date_format(use['last'], 'j M Y')}"
        yield Consequence(text, use["recent"], Severity.NOTE)
    elif signing:
        last = f"; the last one was on {date_format(use['last'], 'j M Y')}" if use["last"] else ""
        yield Consequence(f"no signature in the last {DAYS} days{last}", 0, Severity.NOTE)


def _operations(source: CryptoSource) -> Iterator[Consequence]:
    rows = KeyOperation.objects.under_way().filter(key__source=source).order_by()
    counted = dict(rows.values_list("kind").annotate(count=Count("pk")).values_list("kind", "count"))
    for gated, severity in ((True, Severity.STOPS), (False, Severity.GOES_ON)):
        kinds = {kind: count for kind, count in counted.items() if OperationKind(kind).gated is gated}
        total = sum(kinds.values())
        if total:
            named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            text = f"{_counted(total, 'operation', 'operations')} under way ({named})"
            yield Consequence(text, total, severity, *_link(_OPERATIONS, source, "keys.view_keyoperation"))


def _link(page: str, source: CryptoSource, permission: str) -> tuple[str, str]:
    return f"{reverse(page)}?source={source.pk}", permission


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
