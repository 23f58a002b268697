"""The lists' filters, in the console's words."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm
from keys import wording
from keys.attributes import Validity
from keys.lifecycle import OperationKind, OperationState, Residency
from keys.models import KeyBatch, KeyOperationQuerySet, ManagedKey, ManagedKeyQuerySet


class SourceFilter(SimpleListFilter):
    """Keys, or operations on keys, of one crypto source."""

    title = "source"
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [(str(pk), name) for pk, name in CryptoSource.objects.values_list("pk", "friendly_name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {value for value, _name in self.lookup_choices}:
            return queryset
        column = "source" if "source" in _columns(queryset) else "key__source"
        return queryset.filter(Q((column, self.value())))


def _columns(queryset: QuerySet[Any]) -> set[str]:
    return {field.name for field in queryset.model._meta.get_fields()}


class _OneOfMany(SimpleListFilter):
    """Rows of one thing out of thousands: shown only when the address names it by its id."""

    rows: type[ManagedKey | KeyBatch]
    column: str

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        try:
            wanted = UUID(request.GET.get(str(self.parameter_name), ""))
        except ValueError:
            return []
        return [(str(row.pk), str(row)) for row in self.rows._default_manager.filter(pk=wanted)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(Q((self.column, self.value()))) if self.lookup_choices else queryset


class KeyFilter(_OneOfMany):
    """Operations of one key."""

    title = "key"
    parameter_name = column = "key"
    rows = ManagedKey


class BatchFilter(_OneOfMany):
    """Operations that were asked for together."""

    title = "batch"
    parameter_name = column = "batch"
    rows = KeyBatch


class KeyBatchFilter(BatchFilter):
    """Keys that were asked for together."""

    column = "operations__batch"


class ActorFilter(SimpleListFilter):
    """Operations that one person asked for; the accounts are offered, the address may name others."""

    title = "who"
    parameter_name = "who"
    most = 50

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """None but the chosen one where only the rows are asked for, again and again."""
        chosen = request.GET.get(str(self.parameter_name), "")
        names = {chosen} if chosen else set()
        if request.accepts("text/html"):
            accounts = get_user_model()._default_manager.order_by("username")
            names.update(accounts.values_list("username", flat=True)[: self.most])
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(actor_name=self.value()) if self.value() else queryset


class AskedFilter(SimpleListFilter):
    """Operations asked for in the last days."""

    title = "asked"
    parameter_name = "asked"
    spans: ClassVar = {"1": "Last 24 hours", "7": "Last 7 days", "30": "Last 30 days"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(self.spans.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in self.spans:
            return queryset
        return queryset.filter(requested_at__gte=timezone.now() - timedelta(days=int(self.value() or 0)))


class _ChoiceFilter(SimpleListFilter):
    """Rows whose column has one of a fixed set of values; anything else in the address is no filter."""

    choices_shown: Iterable[tuple[str, str]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(self.choices_shown)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in dict(self.choices_shown):
            return queryset
        return queryset.filter(Q((str(self.parameter_name), self.value())))


class ResidencyFilter(_ChoiceFilter):
    title = "where"
    parameter_name = "residency"
    choices_shown = [(item.value, wording.PLACES[item].text) for item in Residency]


class KeyTypeFilter(_ChoiceFilter):
    title = "type"
    parameter_name = "algorithm"
    choices_shown = [(item.value, wording.key_type(item)) for item in KeyAlgorithm]


class KindFilter(_ChoiceFilter):
    title = "operation"
    parameter_name = "kind"
    choices_shown = [(item.value, wording.ACTS[item].label) for item in OperationKind]


class ValidityFilter(SimpleListFilter):
    """Keys that may sign now, and those that may not."""

    title = "validity"
    parameter_name = "validity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [(item.value, wording.VALIDITIES[item]) for item in Validity]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in set(Validity) or not isinstance(queryset, ManagedKeyQuerySet):
            return queryset
        return queryset.in_validity(Validity(str(self.value())), now=timezone.now())


class StateFilter(SimpleListFilter):
    """How operations stand, in the words of their badges."""

    title = "state"
    parameter_name = "state"
    _states: ClassVar = {
        "under_way": ("under way", KeyOperationQuerySet.under_way),
        "running": ("running", KeyOperationQuerySet.held),
        "waiting": ("waiting", KeyOperationQuerySet.waiting),
        "paused": ("paused", KeyOperationQuerySet.paused),
        "succeeded": ("done", lambda rows: rows.filter(state=OperationState.SUCCEEDED)),
        "failed": ("failed", lambda rows: rows.filter(state=OperationState.FAILED)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [(value, words) for value, (words, _narrow) in self._states.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _words, narrow = self._states.get(str(self.value()), ("", None))
        return narrow(queryset) if narrow else queryset
