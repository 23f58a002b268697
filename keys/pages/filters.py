"""The lists' filters, in the console's words."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from cryptosources.models import CryptoSource
from cryptosources.providers.algorithms import KeyAlgorithm
from keys import wording
from keys.lifecycle import OperationKind, OperationState, Residency
from keys.models import ManagedKey


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


class KeyFilter(SimpleListFilter):
    """Operations of one key. Shown only when the address names one: there may be thousands of keys."""

    title = "key"
    parameter_name = "key"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        try:
            wanted = UUID(request.GET.get(self.parameter_name, ""))
        except ValueError:
            return []
        return [
            (str(pk), name) for pk, name in ManagedKey.objects.filter(pk=wanted).values_list("pk", "name")
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(key=self.value()) if self.lookup_choices else queryset


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


class StateFilter(_ChoiceFilter):
    title = "state"
    parameter_name = "state"
    choices_shown = [(item.value, wording.STATES[item].text) for item in OperationState]
