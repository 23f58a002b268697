"""Throw-away keys of connection tests: who holds one, and removing it whatever happened.

Removing goes on, with growing pauses, until it succeeds. It needs neither an Active source nor a licence,
because it is owed, and it touches nothing but a key that has exactly the row's name and tags (why that is
enough: docs/adr/0007).
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Final

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.db import models, transaction

from audit.services import Actor, Outcome, record
from cryptosources.models import ConnectionTest, CryptoSource, CycleStep, ThrowAwayKey
from cryptosources.providers.api import FullProvider, HealthStep, KeyInfo, KeyRef, KeyState, StepOutcome
from cryptosources.providers.errors import (
    AccessDenied,
    AuthenticationFailed,
    KeyNotFound,
    ProviderError,
    PurgeProtected,
)
from cryptosources.services import test_rows
from cryptosources.services.connections import provider_for
from cryptosources.services.publish import publish
from cryptosources.services.test_rows import WORKER, TestLost, claim_end
from secretstore.services import SecretStoreError

log = structlog.get_logger(__name__)

TASK: Final = "cryptosources.tasks.run_key_cycle"
RESENT_AFTER: Final = timedelta(seconds=30)
# What nobody reads for a while must not pile up; minutes, because the reader's clock counts.
MESSAGE_LIFE: Final = timedelta(minutes=10)
# A write takes up to six minutes to reach every region of an HSM; "not found" proves nothing before.
SETTLED: Final = timedelta(minutes=10)
PURPOSE_TAG: Final = "keymanager-purpose"
PURPOSE: Final = "connection-test"
ROW_TAG: Final = "keymanager-test-key"
SOURCE_TAG: Final = "keymanager-source"
CLEAN_UP: Final = "cycle:remove"
BROKEN_OFF: Final = (
    "The cycle was broken off: the worker with the throw-away key stopped or failed, and its log says more. "
    "Start the test again."
)
MAKE_IT_APPEAR: Final = frozenset({CycleStep.CREATE, CycleStep.RESTORE})
_FIRST_PAUSE: Final = timedelta(seconds=5)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_BY_ITSELF: Final = "The console tries again by itself, with growing pauses."


class ClaimLost(Exception):
    """Another worker took the key over: stop without touching anything."""


def owed(source: CryptoSource) -> models.QuerySet[ThrowAwayKey]:
    """Keys that are still to be removed; those that only the HSM itself can remove are not among them."""
    return source.throw_away_keys.filter(remains_until__isnull=True)


def tags_of(row: ThrowAwayKey) -> dict[str, str]:
    """What marks a key as this very row's; no personal data, the HSM may copy tags anywhere."""
    return {PURPOSE_TAG: PURPOSE, ROW_TAG: str(row.pk), SOURCE_TAG: str(row.source_id)}


# --- Holding a key ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """A throw-away key that this worker holds. Every write is conditional on the claim."""

    row: ThrowAwayKey
    token: uuid.UUID
    clock: Callable[[], datetime]

    @property
    def ref(self) -> KeyRef:
        return KeyRef(self.row.name)

    @cached_property
    def provider(self) -> FullProvider:
        return provider_for(source=self.row.source)

    def write(self, **changes: object) -> None:
        """Raises ``ClaimLost`` when somebody else holds the key."""
        mine = ThrowAwayKey.objects.filter(pk=self.row.pk, claim_token=self.token)
        if not mine.update(**changes):
            raise ClaimLost
        for name, value in changes.items():
            setattr(self.row, name, value)

    def guard(self) -> None:
        """Directly before an HSM call: hold the key for longer than any call takes."""
        end = claim_end(self.clock())
        self.write(claim_expires_at=end, due_at=end)

    def may_appear(self) -> None:
        """Directly before a request that makes the key appear: it may arrive as late as the claim ends."""
        end = claim_end(self.clock())
        self.write(claim_expires_at=end, due_at=end, in_doubt_until=end + SETTLED)

    def appeared(self, **changes: object) -> None:
        """The request was answered; another region may go on not knowing the key for a while."""
        self.write(in_doubt_until=self.clock() + SETTLED, **changes)

    def created(self, info: KeyInfo) -> None:
        """The key is known to be there, or to have been: on record with its public key."""
        with transaction.atomic():
            self.appeared(public_key_der=info.public_key_der or b"")
            record_about(self, "source.test_key.created", Outcome.SUCCEEDED)

    def purge(self) -> None:
        """Purge the deleted key. The HSM had it, so nothing that makes it is still on its way."""
        self.guard()
        self.provider.purge_key(self.ref)
        self.write(in_doubt_until=None)

    def release(self, *, due_at: datetime | None, **changes: object) -> None:
        """Give the claim up; the row is looked at again at ``due_at`` (None: when a person asks)."""
        self.write(claim_token=None, claim_expires_at=None, due_at=due_at, **changes)

    def rest(self, *, until: datetime | None, **changes: object) -> None:
        """Give the claim up; no message, however many there are, is carried out before ``until``."""
        self.release(due_at=until, not_before=until, **changes)

    def pass_on(self, **changes: object) -> None:
        """Give the claim up and send the next message, in the caller's transaction."""
        self.release(due_at=self.clock() + RESENT_AFTER, not_before=None, **changes)
        send_on_commit(self.row.pk)

    def forget(self) -> None:
        """The key is gone, or never was: so is what is owed. Raises ``ClaimLost``."""
        gone, _ = ThrowAwayKey.objects.filter(pk=self.row.pk, claim_token=self.token).delete()
        if not gone:
            raise ClaimLost
        if self.row.public_key_der is not None:
            record_about(self, "source.test_key.removed", Outcome.SUCCEEDED)


def claim(key_id: uuid.UUID, clock: Callable[[], datetime]) -> Held | None:
    """Hold a key for one step; None when it is gone, rests, waits for a person, or somebody holds it."""
    now = clock()
    token, end = uuid.uuid4(), claim_end(now)
    rested = models.Q(not_before__isnull=True) | models.Q(not_before__lte=now)
    free = ThrowAwayKey.objects.filter(rested, pk=key_id, claim_token__isnull=True, due_at__isnull=False)
    if not free.update(claim_token=token, claim_expires_at=end, due_at=end):
        return None
    row = ThrowAwayKey.objects.select_related("source", "test__source").get(pk=key_id)
    return Held(row, token, clock)


def send_on_commit(key_id: uuid.UUID) -> None:
    transaction.on_commit(partial(_publish, key_id))


def _publish(key_id: uuid.UUID) -> None:
    problem = publish(TASK, str(key_id), expires=MESSAGE_LIFE)
    if problem:  # Nothing is lost: upkeep sends every due row again.
        log.warning("throw_away_key.not_sent", key=str(key_id), problem=problem)


def record_about(held: Held, action: str, outcome: Outcome, **details: object) -> None:
    record(
        action=action,
        actor=WORKER,
        outcome=outcome,
        details={"test_key": held.row.name, "test": str(held.row.test_id or ""), **details},
        now=held.clock(),
        **test_rows.subject(held.row.source),
    )


# --- Removing -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Left:
    """What an attempt to remove left behind, and when the next one is due (None: a person decides).

    ``gone``: nothing is left, and nothing can come any more. ``problem``: why not, for the key's own note.
    """

    step: HealthStep
    problem: str = ""
    gone: bool = False
    due_at: datetime | None = None
    remains_until: datetime | None = None


def remove(held: Held) -> None:
    """Try to remove a key. The first attempt is the last step of its test; later ones tell the row only."""
    started = time.monotonic()
    left = _attempt(held)
    step = replace(left.step, duration_ms=round((time.monotonic() - started) * 1000))
    with transaction.atomic():
        if left.gone:
            held.forget()
        else:
            _keep(held, left)
    _end_test(held.row.test, step, held.clock())


def leave(held: Held, refused: AuthenticationFailed) -> None:
    """Without an attempt: the sign-in was refused a moment ago, and is not repeated by itself."""
    _keep(held, _not_removed(held, refused))


def _attempt(held: Held) -> _Left:
    try:
        return _remove_from_hsm(held)
    except ProviderError as error:
        return _not_removed(held, error)
    except SoftTimeLimitExceeded:
        return _left_for_later(held, "Removing it took longer than a task may.", "time limit", _BY_ITSELF)
    except SecretStoreError as error:
        return _left_for_later(held, str(error), type(error).__name__, "Enter the source's Key again.")


def _remove_from_hsm(held: Held) -> _Left:
    """Look, delete, purge, look again. Every part may be done already."""
    info = _look(held)
    if info is None:
        return _nothing_found(held)
    if any(info.tags.get(tag) != value for tag, value in tags_of(held.row).items()):
        return _left_for_later(
            held,
            f"The HSM's key {held.row.name} does not carry this test's tags, so it is not touched.",
            "tags",
            "Look at that key. When it is not needed, remove it at the HSM; this note then goes by itself.",
        )
    if held.row.public_key_der is None:
        held.created(info)
    if info.state is KeyState.ACTIVE:
        held.guard()
        held.provider.delete_key(held.ref)
    if not info.purgeable:
        return _protected(held)
    try:
        held.purge()
    except PurgeProtected:
        return _protected(held)
    return _nothing_found(held) if _look(held) is None else _left_for_later(held, "It is still there.")


def _look(held: Held) -> KeyInfo | None:
    held.guard()
    try:
        return held.provider.describe_key(held.ref)
    except KeyNotFound:
        return None


def _nothing_found(held: Held) -> _Left:
    """Gone, unless it was asked for so recently that it may still appear."""
    until = held.row.in_doubt_until
    if until is None or until <= held.clock():
        detail = "Nothing is left of the throw-away key; its name is free again."
        return _Left(_step(StepOutcome.PASSED, detail), gone=True)
    detail = (
        "Nothing is found of the throw-away key. The HSM was asked for it a moment ago, and may take some "
        f"minutes to know it everywhere, so the console looks once more at {until:%H:%M:%S} UTC."
    )
    return _Left(_step(StepOutcome.WARNING, detail), problem=detail, due_at=until)


def _protected(held: Held) -> _Left:
    """Deleted; nobody can do more before the retention ends."""
    info = _look(held)
    until = info.scheduled_purge_at if info else None
    if info is None or until is None:
        return _left_for_later(held, "Its remains cannot be purged, and the HSM names no date.")
    detail = (
        f"The throw-away key is deleted. Purge protection keeps its remains until {until:%d %B %Y}; then the "
        "HSM drops them by itself."
    )
    step = _step(StepOutcome.WARNING, detail)
    due_at = max(until, held.clock() + _pause(held))  # the HSM may take its time about it
    return _Left(step, problem=detail, due_at=due_at, remains_until=until)


def _not_removed(held: Held, error: ProviderError) -> _Left:
    if isinstance(error, AuthenticationFailed):  # never repeated by itself: accounts lock
        remedy = f"{error.remedy} Then test the connection again; the key is removed after that.".strip()
        left = _left_for_later(held, error.message, error.code, remedy)
        return replace(left, due_at=None)
    if isinstance(error, AccessDenied) and error.missing_right:
        denied = test_rows.denied_step(CLEAN_UP, "", error)
        remedy = f"Grant {error.missing_right} to the application on this HSM. {_BY_ITSELF}"
        left = _left_for_later(held, denied.detail, denied.code, remedy)
        return replace(left, step=replace(left.step, facts=denied.facts))
    return _left_for_later(held, error.message, error.code, f"{error.remedy} {_BY_ITSELF}".strip())


def _left_for_later(held: Held, detail: str, code: str = "", remedy: str = _BY_ITSELF) -> _Left:
    said = f"The throw-away key {held.row.name} is not removed yet. {detail}"
    step = _step(StepOutcome.FAILED, said, code, remedy)
    return _Left(step, problem=detail, due_at=held.clock() + _pause(held))


def _pause(held: Held) -> timedelta:
    return min(_FIRST_PAUSE * (1 << min(held.row.attempts, 20)), _LONGEST_PAUSE)


def _step(outcome: StepOutcome, detail: str, code: str = "", remedy: str = "") -> HealthStep:
    return HealthStep(CLEAN_UP, str(CycleStep.REMOVE.label), outcome, detail, code, remedy)


def _keep(held: Held, left: _Left) -> None:
    first = not held.row.problem
    held.rest(
        until=left.due_at,
        step=CycleStep.REMOVE,
        remains_until=left.remains_until,
        attempts=held.row.attempts + 1,
        problem=left.problem,
        problem_code=left.step.code[:100],
        remedy=left.step.remedy,
        sealed_backup=None,
    )
    if first:
        record_about(held, "source.test_key.left", Outcome.FAILED, reason=left.step.detail)
    log.warning("throw_away_key.left", key=held.row.name, code=left.step.code, attempts=held.row.attempts)


def _end_test(test: ConnectionTest | None, step: HealthStep, now: datetime) -> None:
    """The removal is a test's last step; a test that was cut short without a failed step has no result."""
    if test is None or test.is_over:
        return
    try:
        test_rows.store_step(test, step)
        if test_rows.failed_steps(test):
            test_rows.finish(test, now)
        else:
            test_rows.close(test, BROKEN_OFF, now)
    except TestLost:
        log.warning("connection_test.lost", test=str(test.pk))


def break_off(held: Held) -> None:
    """After an error of ours: whatever the step was, the key is removed next, after a pause."""
    try:
        until = held.clock() + _pause(held)
        held.rest(until=until, step=CycleStep.REMOVE, attempts=held.row.attempts + 1)
    except ClaimLost:
        claim_lost(held)


def claim_lost(held: Held) -> None:
    """Nothing to do, unless the key was just being made: it may be there, so its removal is owed.

    Whoever holds the row meanwhile may have found nothing and stops; when it did so already, the row is
    made again.
    """
    row, now = held.row, held.clock()
    log.warning("throw_away_key.claim_lost", key=row.name, step=row.step)
    if row.step not in MAKE_IT_APPEAR:
        return
    owed = {
        "step": CycleStep.REMOVE,
        "due_at": now,
        "not_before": None,
        "in_doubt_until": now + SETTLED,
        "claim_token": None,
        "claim_expires_at": None,
    }
    known = {name: getattr(row, name) for name in ("source_id", "name", "created_at", "public_key_der")}
    ThrowAwayKey.objects.update_or_create(pk=row.pk, defaults=owed, create_defaults=owed | known)


# --- What nobody does ---------------------------------------------------------------------------------


def upkeep(*, now: datetime) -> None:
    """Let dead workers' keys be removed, and send what is due: lost messages, ends of pauses."""
    dead = ThrowAwayKey.objects.filter(claim_expires_at__lt=now)
    dead.update(step=CycleStep.REMOVE, claim_token=None, claim_expires_at=None, due_at=now)
    due = ThrowAwayKey.objects.filter(claim_token__isnull=True, due_at__lte=now)
    for key_id, due_at in due.values_list("pk", "due_at"):
        if due.filter(pk=key_id, due_at=due_at).update(due_at=now + RESENT_AFTER):
            _publish(key_id)


def try_again(*, key_id: uuid.UUID, actor: Actor, now: datetime) -> bool:
    """A person asks for the next attempt at once. False when the key is gone or somebody holds it."""
    row = ThrowAwayKey.objects.select_related("source").filter(pk=key_id).first()
    waiting = ThrowAwayKey.objects.filter(pk=key_id, step=CycleStep.REMOVE, claim_token__isnull=True)
    with transaction.atomic():
        if row is None or not waiting.update(due_at=now + RESENT_AFTER, not_before=None):
            return False
        record(
            action="source.test_key.removal_requested",
            actor=actor,
            outcome=Outcome.REQUESTED,
            details={"test_key": row.name},
            now=now,
            **test_rows.subject(row.source),
        )
        send_on_commit(key_id)
    return True
