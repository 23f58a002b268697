"""The front page: what an on-duty operator has to know, each part for those who may see it.

Every part reads a bounded number of rows in a fixed number of queries, whatever the installation holds.
"""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from keymanager.overview.faults import Faults, Reader, find_faults
from keymanager.overview.first_steps import FirstStep, checklist
from keymanager.overview.licence import LicenceCard, licence_card
from keymanager.overview.signing import Keys, Signatures, keys_by_place, signatures
from keymanager.overview.sources import (
    Secrets,
    SourceStates,
    read_sources,
    secrets_by_time_left,
    source_states,
)
from keymanager.overview.work import UnderWay, under_way
from licensing.services import current

__all__ = ("Overview", "overview")


@dataclass(frozen=True, slots=True)
class Overview:
    """One reader's front page as of ``now``; a part that they may not see is None, or empty."""

    now: datetime
    faults: Faults
    first_steps: list[FirstStep]
    sources: SourceStates | None
    secrets: Secrets | None
    keys: Keys | None
    signatures: Signatures | None
    work: UnderWay | None
    licence: LicenceCard | None

    @property
    def is_new(self) -> bool:
        """Does the checklist stand for the parts that would have nothing to show yet?"""
        return bool(self.first_steps)

    @property
    def is_empty(self) -> bool:
        """Is there nothing at all that this person may see?"""
        return not (self.sources or self.keys or self.work or self.licence)


def overview(*, user: Reader, now: datetime) -> Overview:
    """Read the front page for a person; reads only what they may see."""
    sees_sources = user.has_perm("cryptosources.view_cryptosource")
    sees_keys = user.has_perm("keys.view_managedkey")
    rows = read_sources() if sees_sources else []
    today = timezone.localdate(now)
    licence = current(now=now)
    return Overview(
        now=now,
        faults=find_faults(reader=user, sources=rows, licence=licence, today=today, now=now),
        first_steps=checklist(reader=user, sources=rows, licensed=licence.in_force),
        sources=source_states(rows) if sees_sources else None,
        secrets=secrets_by_time_left(rows, today) if sees_sources else None,
        keys=keys_by_place(now=now) if sees_keys else None,
        signatures=signatures(now=now) if sees_keys else None,
        work=under_way(now=now, since=now) if user.has_perm("keys.view_keyoperation") else None,
        licence=licence_card(licence, now=now) if user.has_perm("licensing.view_licence") else None,
    )
