"""An active in-memory source, its HSM, and a worker that runs in the test."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest

from audit.actors import Actor
from cryptosources.models import CryptoSource, SourceStatus
from cryptosources.providers.algorithms import KeyAlgorithm
from cryptosources.providers.memory import MemoryHsm, MemoryProvider, forget_memory_hsms
from cryptosources.services.connections import provider_for
from keys.lifecycle import OperationKind
from keys.models import KeyOperation, ManagedKey
from keys.services import dispatch, operations, requests
from tests.conftest import Clock

ALICE = Actor.command("alice")


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Messages go nowhere: the rows are the schedule, and tests run the worker by hand."""
    sent: list[UUID] = []
    monkeypatch.setattr(dispatch, "_publish", sent.append)
    return sent


@pytest.fixture
def source(db: None, sealing_keys: object) -> Iterator[CryptoSource]:
    """An Active in-memory source without backup & restore."""
    yield CryptoSource.objects.create(friendly_name="Vault A", kind="memory", status=SourceStatus.ACTIVE)
    forget_memory_hsms()


@pytest.fixture
def backed_up(source: CryptoSource) -> CryptoSource:
    """The same source with *Enable Key Backup & Restore*."""
    source.backup_restore = True
    source.revision += 1
    source.save()
    return source


@pytest.fixture
def hsm(source: CryptoSource) -> MemoryHsm:
    provider = provider_for(source=source)
    assert isinstance(provider, MemoryProvider)
    return provider.hsm


Run = Callable[..., KeyOperation]


@pytest.fixture
def run(clock: Clock) -> Run:
    """Run an operation to its end as workers would: step by step, over pauses and lost claims."""

    def run_operation(operation: KeyOperation, *, most: int = 60) -> KeyOperation:
        for _ in range(most):
            operations.perform(operation_id=operation.pk, clock=clock)
            operation = KeyOperation.objects.select_related("key__source").get(pk=operation.pk)
            if not operation.is_under_way:
                return operation
            clock.now = max(clock.now + timedelta(seconds=1), operation.not_before or clock.now)
        raise AssertionError(f"still {operation.state} after {most} steps")

    return run_operation


@pytest.fixture
def new_key(source: CryptoSource, clock: Clock, run: Run) -> Callable[..., ManagedKey]:
    """A key generated through the services."""

    def make(name: str = "seal-1", algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> ManagedKey:
        operation = requests.generate_key(
            source=source, name=name, algorithm=algorithm, actor=ALICE, now=clock()
        )
        return run(operation).key

    return make


@pytest.fixture
def do(clock: Clock, run: Run) -> Callable[[ManagedKey, OperationKind], KeyOperation]:
    """Ask for an operation and run it to its end."""

    def ask_and_run(key: ManagedKey, kind: OperationKind) -> KeyOperation:
        if kind is OperationKind.PURGE:
            asked = requests.request_purge(key=key, typed_name=key.name, actor=ALICE, now=clock())
        else:
            asked = requests.request_operation(key=key, kind=kind, actor=ALICE, now=clock())
        return run(asked)

    return ask_and_run
