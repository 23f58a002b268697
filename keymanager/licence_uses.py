"""What the licence is for: each source type is a feature, used by the sources of that type."""

from collections.abc import Iterator

from cryptosources.models import CryptoSource, SourceKind, SourceStatus
from cryptosources.providers.api import ProviderKind
from cryptosources.services.gate import feature_of
from licensing.uses import Use


def source_types() -> Iterator[Use]:
    """Every source type but the one for tests, with its sources; one query."""
    rows = list(CryptoSource.objects.order_by("friendly_name").values_list("kind", "status", "friendly_name"))
    for kind in SourceKind:
        if kind == SourceKind.MEMORY:
            continue
        sources = [(status, name) for of_kind, status, name in rows if of_kind == kind]
        active = tuple(name for status, name in sources if status == SourceStatus.ACTIVE)
        yield Use(
            feature_of(ProviderKind(kind.value)), str(kind.label), active, inactive=len(sources) - len(active)
        )
