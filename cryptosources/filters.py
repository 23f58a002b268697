"""The filters of the list of crypto sources."""

from datetime import timedelta
from typing import Any, Final

from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from cryptosources.models import LastTest
from cryptosources.wording import ExpiryZone, zone_days, zone_words

_ASSUMED: Final = "assumed"


class KeyEndsFilter(SimpleListFilter):
    """Sources by how near the end of their Key is, or by a date that nobody entered."""

    title = "Key (client secret) ends"
    parameter_name = "key_ends"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*((str(zone), zone_words(zone)) for zone in ExpiryZone), (_ASSUMED, "date assumed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted == _ASSUMED:
            return queryset.filter(secret_expiry_assumed=True)
        return queryset.filter(_in_zone(ExpiryZone(wanted))) if wanted in list(ExpiryZone) else queryset


def _in_zone(zone: ExpiryZone) -> Q:
    today = timezone.localdate()
    first, last = zone_days(zone)
    wanted = Q(secret_expires_on__isnull=False)
    if first is not None:
        wanted &= Q(secret_expires_on__gte=today + timedelta(days=first))
    if last is not None:
        wanted &= Q(secret_expires_on__lte=today + timedelta(days=last))
    return wanted


class LastTestFilter(SimpleListFilter):
    """Sources by their newest connection test that came to its end (``with_last_test`` must be there)."""

    title = "last test"
    parameter_name = "last_test"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(choice.value, str(choice.label)) for choice in LastTest]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        return queryset.filter(last_test=wanted) if wanted in LastTest.values else queryset
