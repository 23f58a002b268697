"""Which operations a key's page offers, and why the others are greyed.

Only what the page shows: the services decide again when a person asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptosources.models import CryptoSource
from cryptosources.services.gate import licence_refusal
from keys.lifecycle import OperationKind, Residency, possible
from keys.models import KeyOperation, ManagedKey
from keys.services.validity import why_not_valid
from keys.wording import ACTS, NOT_FROM_HERE, ActWords

#: The order on the page; what cannot be undone comes last and stands apart.
ORDER: Final = (
    OperationKind.SIGN,
    OperationKind.BACKUP,
    OperationKind.ROTATE,
    OperationKind.UPDATE,
    OperationKind.RESTORE,
    OperationKind.RECOVER,
    OperationKind.DELETE,
    OperationKind.PURGE,
)
DANGEROUS: Final = frozenset({OperationKind.DELETE, OperationKind.PURGE})
#: These show a page of their own before anything is asked for.
_ASK_FIRST: Final = DANGEROUS | {OperationKind.SIGN, OperationKind.ROTATE, OperationKind.UPDATE}
#: Residencies that end a key's story: nothing will be offered again.
OVER: Final = frozenset({Residency.PURGED, Residency.NOT_CREATED})


@dataclass(frozen=True, slots=True)
class Offer:
    """One operation on a key's page. ``reason`` says why it is greyed; empty when it is possible."""

    kind: OperationKind
    words: ActWords
    reason: str

    @property
    def dangerous(self) -> bool:
        return self.kind in DANGEROUS

    @property
    def asks_first(self) -> bool:
        return self.kind in _ASK_FIRST


def offers(key: ManagedKey, *, under_way: list[KeyOperation], now: datetime) -> list[Offer]:
    """Every operation there is, the possible ones first, each group in the page's order."""
    busy = next((operation for operation in under_way if operation.exclusive), None)
    refusals = _SourceRefusals(key.source, now)
    found = [Offer(kind, ACTS[kind], _reason(kind, key, busy, refusals)) for kind in ORDER]
    return sorted(found, key=lambda offer: bool(offer.reason))


def offer(key: ManagedKey, kind: OperationKind, *, now: datetime) -> Offer:
    """One of :func:`offers`."""
    under_way = list(key.operations.under_way())
    return next(offer for offer in offers(key, under_way=under_way, now=now) if offer.kind is kind)


@dataclass(slots=True)
class _SourceRefusals:
    """Why the source is of no use now; the licence is read once."""

    source: CryptoSource
    now: datetime
    _licence: str | None = None

    def all_of(self, kind: OperationKind) -> Iterator[str]:
        if kind.gated and not self.source.is_active:
            yield f"The crypto source “{self.source.friendly_name}” is Inactive."
        if self._licence is None:
            self._licence = licence_refusal(kind=self.source.provider_kind, now=self.now)
        if self._licence:
            yield self._licence


def _reason(
    kind: OperationKind, key: ManagedKey, busy: KeyOperation | None, refusals: _SourceRefusals
) -> str:
    if kind not in possible(key.where):
        return _impossible(kind, key)
    if kind is OperationKind.PURGE and not key.purgeable:
        return "This HSM has purge protection: a deleted key stays until its retention ends."
    if busy is not None and kind.exclusive:
        return f"The {ACTS[busy.what].noun} of this key is under way; wait until it ends."
    if kind is OperationKind.SIGN and (reason := why_not_valid(key, now=refusals.now)):
        return reason
    return next(refusals.all_of(kind), "")


def _impossible(kind: OperationKind, key: ManagedKey) -> str:
    if kind is OperationKind.PURGE and key.where is Residency.RESIDENT:
        return "Only a deleted key can be purged: delete it first."
    if kind is OperationKind.RESTORE and key.where is Residency.DELETED:
        return "The HSM still holds the deleted key: recover it, or purge it before restoring its backup."
    if kind is OperationKind.DELETE and key.where is Residency.DELETED:
        return "The key is deleted already."
    return NOT_FROM_HERE[key.where]
