"""Leading a test with a throw-away key through its messages, one by one."""

from datetime import datetime, timedelta
from typing import Any

from audit.services import AuditRecord
from cryptosources.models import ConnectionTest, CryptoSource, CycleStep, ThrowAwayKey
from cryptosources.providers.memory import MemoryHsm, MemoryProvider
from cryptosources.services import connection_test, key_cycle, throw_away
from cryptosources.services.connections import provider_for
from tests.cryptosources.factories import ACTOR, NOW


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, **time: float) -> None:
        self.now += timedelta(**time)


def hsm_of(source: CryptoSource) -> MemoryHsm:
    provider = provider_for(source=source)
    assert isinstance(provider, MemoryProvider)
    return provider.hsm


def begin(source: CryptoSource, clock: Clock) -> ConnectionTest:
    """A test that has come to its cycle; the key is not made yet."""
    test = connection_test.request_test(source=source, actor=ACTOR, now=clock(), full_cycle=True)
    connection_test.run_test(test_id=test.pk, clock=clock)
    test.refresh_from_db()
    return test


def step_on(clock: Clock) -> None:
    key_cycle.perform(key_id=ThrowAwayKey.objects.get().pk, clock=clock)


def run(source: CryptoSource, clock: Clock) -> ConnectionTest:
    """The whole test, message by message, until nothing is due."""
    test = begin(source, clock)
    for _ in range(len(CycleStep) + 2):
        if not ThrowAwayKey.objects.filter(due_at__isnull=False).exists() or test.is_over:
            break
        step_on(clock)
        test.refresh_from_db()
    return test


def cycle_steps(test: ConnectionTest) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in test.steps if step["name"].startswith("cycle:")}


def records(action: str) -> list[str]:
    return list(AuditRecord.objects.filter(action=action).order_by("id").values_list("outcome", flat=True))


def upkeep(clock: Clock) -> None:
    """What beat and workers do: send what is due, carry it out."""
    for _ in range(4):
        throw_away.upkeep(now=clock())
        for row in ThrowAwayKey.objects.filter(due_at__isnull=False, remains_until__isnull=True):
            key_cycle.perform(key_id=row.pk, clock=clock)
