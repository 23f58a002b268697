"""The licence: whose it is, how long it lasts, and which source types it enables."""

from dataclasses import dataclass
from datetime import datetime

from cryptosources.models import SourceKind
from cryptosources.providers.api import ProviderKind
from cryptosources.services.gate import feature_of
from cryptosources.wording import Badge
from keymanager.overview import links
from licensing.outlook import ending
from licensing.services import LicenceStatus


@dataclass(frozen=True, slots=True)
class LicenceTerm:
    """The dates of a licence in force; ``left`` is the part of its time that is still to come, in percent."""

    starts_at: datetime
    ends_at: datetime
    badge: Badge
    left: int


@dataclass(frozen=True, slots=True)
class LicenceCard:
    """``term`` is None unless the licence is in force; ``problem`` says why it is not.

    ``source_types`` are the types there are, each with whether it is enabled.
    """

    customer: str
    problem: str
    term: LicenceTerm | None
    source_types: list[tuple[str, bool]]
    url: str


def licence_card(status: LicenceStatus, *, now: datetime) -> LicenceCard:
    """The licence for people; reads nothing."""
    kinds = [kind for kind in SourceKind if kind != SourceKind.MEMORY]
    return LicenceCard(
        customer=status.customer,
        problem=status.problem,
        term=_term(status, now) if status.in_force else None,
        source_types=[
            (str(kind.label), feature_of(ProviderKind(kind.value)) in status.features) for kind in kinds
        ],
        url=links.listing(links.LICENCES),
    )


def _term(status: LicenceStatus, now: datetime) -> LicenceTerm | None:
    if status.not_before is None or status.not_after is None:
        return None
    left, end = status.not_after - now, ending(status.not_after, now)
    part = round(100 * left / (status.not_after - status.not_before))
    return LicenceTerm(status.not_before, status.not_after, Badge(end.badge, end.words), part)
