"""What waits for a person, the most urgent first: what happened, where, since when, and what to do next.

Without a licence everything stops. A Key that ended stops its whole source, a failed connection test probably
does; a faulted key stops itself, and a failed operation only what it was asked for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Lower

from cryptosources.models import ConnectionTest, LastTest, ThrowAwayKey
from cryptosources.providers.api import StepOutcome
from keymanager.overview import links
from keymanager.overview.sources import SourceRow
from keys import wording
from keys.lifecycle import NAME_FREE, OperationKind, OperationState, Residency
from keys.models import KeyOperation, ManagedKey
from licensing.services import LicenceStatus

Reader = AbstractUser | AnonymousUser

#: As many rows as a reader takes in; of more faults only the most urgent have one.
ALL_ROWS: Final = 6
URGENT_ROWS: Final = 5
#: More of a kind are not counted one by one: "100+".
MOST: Final = 100
#: A failure that nobody made good in that time is history; the list of operations keeps it.
RECENT: Final = timedelta(days=14)

_ENDED_ACTIVE: Final = "Nothing can sign in to its HSM any more."
_ENDED_INACTIVE: Final = "The source is Inactive; even so, the deletions that it owes cannot run."


@dataclass(frozen=True, slots=True)
class Fault:
    """One row; ``covers`` is how many faults of the same cause it stands for.

    ``source`` is empty where all are concerned. ``since_day`` is given instead of ``since`` where only the
    day is known.
    """

    title: str
    source: str
    what: str
    act: str
    url: str
    icon: str
    remedy: str = ""
    since: datetime | None = None
    since_day: date | None = None
    covers: int = 1


@dataclass(frozen=True, slots=True)
class FaultCount:
    """How many there are of a kind, and the list of them. ``capped``: there are more than counted."""

    words: str
    count: int
    url: str
    capped: bool = False


@dataclass(frozen=True, slots=True)
class Faults:
    """``more`` counts, by kind, what has no row."""

    rows: list[Fault] = field(default_factory=list)
    more: list[FaultCount] = field(default_factory=list)
    total: int = 0
    capped: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    """All faults of one kind: its rows, how they are counted in words, and where they are listed."""

    rows: list[Fault]
    one: str
    many: str
    url: str

    @property
    def total(self) -> int:
        return sum(row.covers for row in self.rows)

    @property
    def capped(self) -> bool:
        return self.total > MOST

    def without(self, shown: int) -> FaultCount:
        """What is left when the first ``shown`` rows have been told."""
        left = sum(row.covers for row in self.rows[shown:])
        return FaultCount(self.one if left == 1 else self.many, min(left, MOST), self.url, self.capped)


def find_faults(
    *, reader: Reader, sources: Sequence[SourceRow], licence: LicenceStatus, today: date, now: datetime
) -> Faults:
    """The faults that the reader may see; ``sources`` are those they may see, none for some people.

    At most four queries, of a bounded number of rows each.
    """
    kinds = [
        _licence(reader, sources, licence, now),
        _ended_keys(reader, sources, today),
        _failed_tests(sources, today),
    ]
    if reader.has_perm("keys.view_managedkey"):
        kinds.append(_faulted_keys())
    if reader.has_perm("cryptosources.view_cryptosource"):
        kinds.append(_left_throw_away_keys())
    if reader.has_perm("keys.view_keyoperation"):
        kinds.append(_failed_operations(reader, now))
    return _ranked([kind for kind in kinds if kind.rows])


def _ranked(kinds: Sequence[_Kind]) -> Faults:
    rows = sum(len(kind.rows) for kind in kinds)
    room = rows if rows <= ALL_ROWS else URGENT_ROWS
    shown: list[Fault] = []
    more = []
    for kind in kinds:
        taken = kind.rows[: room - len(shown)]
        shown += taken
        if len(taken) < len(kind.rows):
            more.append(kind.without(len(taken)))
    return Faults(
        shown, more, sum(min(kind.total, MOST) for kind in kinds), any(kind.capped for kind in kinds)
    )


def _licence(reader: Reader, sources: Sequence[SourceRow], licence: LicenceStatus, now: datetime) -> _Kind:
    """A licence that is not in force, where there is something for it to stop."""
    may_install = reader.has_perm("licensing.add_licence")
    fault = Fault(
        title="No licence is in force",
        source="",
        what=licence.problem,
        remedy="Until one is, no key can be used and no source tested, changed or activated.",
        act="Install a licence" if may_install else "Look at the licence",
        url=links.listing(links.NEW_LICENCE if may_install else links.LICENCES),
        icon="licence",
        since=licence.not_after if licence.not_after and licence.not_after <= now else None,
    )
    told = bool(sources) and not licence.in_force and reader.has_perm("licensing.view_licence")
    return _Kind([fault] if told else [], "licence", "licences", links.listing(links.LICENCES))


# --- Sources --------------------------------------------------------------------------------------


def _ended_keys(reader: Reader, sources: Iterable[SourceRow], today: date) -> _Kind:
    """Keys past their last day: those of Active sources first, then the newest end first."""
    may_change = reader.has_perm("cryptosources.change_cryptosource")
    ended = [(row, row.ends_on) for row in sources if row.ends_on is not None and row.ends_on < today]
    ended.sort(key=lambda pair: (pair[0].active, pair[1]), reverse=True)
    rows = [_ended_key(row, ends_on, may_change=may_change) for row, ends_on in ended]
    return _Kind(
        rows,
        "Key (client secret) ended",
        "Keys (client secrets) ended",
        links.listing(links.SOURCES, key_ends="ended"),
    )


def _ended_key(row: SourceRow, ends_on: date, *, may_change: bool) -> Fault:
    return Fault(
        title="The Key (client secret) ended",
        source=row.name,
        what=_ENDED_ACTIVE if row.active else _ENDED_INACTIVE,
        remedy="Make a new client secret and enter it here.",
        act="Enter a new Key" if may_change else "Look at the source",
        url=links.source_form(row.pk) if may_change else links.source_page(row.pk),
        icon="clock",
        since_day=ends_on,
    )


def _failed_tests(sources: Iterable[SourceRow], today: date) -> _Kind:
    """Active sources whose newest connection test failed, the newest first; an ended Key says why already."""
    failed = [
        (row, row.tested_at)
        for row in sources
        if row.active and row.last_test == LastTest.FAILED and row.tested_at and not row.ended(today)
    ]
    failed.sort(key=lambda pair: pair[1], reverse=True)
    steps = _failed_steps([(row.pk, at) for row, at in failed[:ALL_ROWS]])
    rows = [_failed_test(row, at, steps.get(row.pk, {})) for row, at in failed]
    url = links.listing(links.SOURCES, status__exact="active", last_test="failed")
    return _Kind(rows, "connection test failed", "connection tests failed", url)


def _failed_steps(tests: Sequence[tuple[UUID, datetime]]) -> dict[UUID, dict[str, Any]]:
    """The first failed step of each of these tests, by source; no query where there is none."""
    if not tests:
        return {}
    wanted = Q()
    for source, at in tests:
        wanted |= Q(source=source, finished_at=at)
    finished = ConnectionTest.objects.filter(wanted, state=ConnectionTest.State.FINISHED, healthy=False)
    return {
        source: next((step for step in steps if step["outcome"] == StepOutcome.FAILED), {})
        for source, steps in finished.values_list("source", "steps")
    }


def _failed_test(row: SourceRow, at: datetime, step: dict[str, Any]) -> Fault:
    label, detail = step.get("label", ""), step.get("detail", "")
    return Fault(
        title="The last connection test failed",
        source=row.name,
        what=f"{label}: {detail}" if detail else label,
        remedy=step.get("remedy", ""),
        act="See what to do",
        url=links.connection(row.pk),
        icon="source",
        since=at,
    )


def _left_throw_away_keys() -> _Kind:
    """Keys that connection tests made for themselves and could not remove."""
    rows = ThrowAwayKey.objects.filter(due_at__isnull=True).order_by("-created_at")
    columns = ("source", "name", "source__friendly_name", "problem", "remedy", "created_at")
    return _Kind(
        [
            Fault(
                title=f"Throw-away key {name}",
                source=where,
                what=problem or "A connection test made it and could not remove it.",
                remedy=remedy,
                act="See what to do",
                url=links.connection(source),
                icon="key",
                since=since,
            )
            for source, name, where, problem, remedy, since in rows.values_list(*columns)[: MOST + 1]
        ],
        "throw-away key",
        "throw-away keys",
        links.listing(links.SOURCES),
    )


# --- Keys and operations --------------------------------------------------------------------------


def _faulted_keys() -> _Kind:
    rows = ManagedKey.objects.filter(residency=Residency.FAULTED).order_by("-updated_at")
    found = rows.values_list("pk", "name", "source__friendly_name", "fault", "updated_at")[: MOST + 1]
    return _Kind(
        [
            Fault(
                title=f"Key {name}",
                source=source,
                what=fault,
                act="See the ways out",
                url=links.key_page(pk),
                icon="key",
                since=since,
            )
            for pk, name, source, fault, since in found
        ],
        "faulted key",
        "faulted keys",
        links.listing(links.KEYS, residency=Residency.FAULTED),
    )


def _failed_operations(reader: Reader, now: datetime) -> _Kind:
    """Recent failures that nothing later made good; those of one cause in one source share a row."""
    causes: dict[tuple[UUID, str, str], list[KeyOperation]] = {}
    for operation in not_made_good(now)[: MOST + 1]:
        cause = (operation.key.source_id, operation.kind, operation.error_code or operation.error)
        causes.setdefault(cause, []).append(operation)
    act = "Look and try again" if reader.has_perm("keys.operate_managedkey") else "See what happened"
    return _Kind(
        [_failure(operations, act) for operations in causes.values()],
        "failed operation",
        "failed operations",
        links.listing(links.OPERATIONS, state=OperationState.FAILED),
    )


def not_made_good(now: datetime) -> QuerySet[KeyOperation]:
    """Failed operations, the newest first, without those of keys that are told as faulted or are gone."""
    repeated = KeyOperation.objects.filter(
        key=OuterRef("key"),
        kind=OuterRef("kind"),
        state=OperationState.SUCCEEDED,
        requested_at__gt=OuterRef("requested_at"),
    )
    generated_anew = (
        ManagedKey.objects.alias(folded=Lower("name"))
        .filter(source=OuterRef("key__source"), folded=Lower(OuterRef("key__name")))
        .exclude(residency__in=[str(residency) for residency in NAME_FREE])
    )
    return (
        KeyOperation.objects.filter(state=OperationState.FAILED, finished_at__gte=now - RECENT)
        .exclude(key__residency__in=[Residency.FAULTED, Residency.PURGED])
        .exclude(Q(kind=OperationKind.GENERATE) & Exists(generated_anew))
        .exclude(Exists(repeated))
        .select_related("key__source")
        .only(
            "kind",
            "error",
            "error_code",
            "remedy",
            "finished_at",
            "key__name",
            "key__source__friendly_name",
        )
        .order_by("-finished_at")
    )


def _failure(operations: Sequence[KeyOperation], act: str) -> Fault:
    """One row for operations that failed of one cause; the newest speaks for all."""
    newest = operations[0]
    alone = len(operations) == 1
    filters = {
        "state": OperationState.FAILED.value,
        "kind": newest.kind,
        "source": str(newest.key.source_id),
    }
    return Fault(
        title=(
            f"{wording.title(newest)} failed"
            if alone
            else f"{wording.ACTS[newest.what].label}: {len(operations)} operations failed"
        ),
        source=newest.key.source.friendly_name,
        what=newest.error,
        remedy=newest.remedy,
        act=act if alone else "See all of them",
        url=links.operation_page(newest.pk) if alone else links.listing(links.OPERATIONS, **filters),
        icon="operations",
        since=newest.finished_at,
        covers=len(operations),
    )
