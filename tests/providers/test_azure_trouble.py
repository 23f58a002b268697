"""The provider while a real sandbox makes trouble: which error, is the outcome known, no second effect.

``effects`` are what the HSM carried out, ``requests`` what came in: a request that is repeated, or an
operation that takes effect twice, shows in one of them.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from cryptosources.providers.algorithms import KeyAlgorithm, SignatureAlgorithm
from cryptosources.providers.api import KeyBackup, KeyRef, KeySpec, KeyState
from cryptosources.providers.azure.managed_hsm import AzureManagedHsm
from cryptosources.providers.config import Timeouts
from cryptosources.providers.errors import (
    AccessDenied,
    KeyAlreadyExists,
    KeyNameReserved,
    KeyNotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    Throttled,
)
from demo.processes import wait_until
from tests.providers.azure_support import open_azure, sandbox_config
from tests.sandbox_server import SandboxServer

DIGEST = bytes(32)
#: Long enough for an answer on a busy machine, short enough to wait for none.
IMPATIENT = Timeouts(connect=2.0, read=1.5, total=4.0)
_numbers = itertools.count(1)


@dataclass
class Bench:
    """A sandbox, a provider that has signed in, and one key with its backup."""

    server: SandboxServer
    provider: AzureManagedHsm
    key: KeyRef
    backup: KeyBackup

    @property
    def name(self) -> str:
        return self.key.name

    def sign(self) -> object:
        return self.provider.sign_digest(self.key, DIGEST, SignatureAlgorithm.ES256)

    def create(self) -> object:
        return self.provider.create_key(KeySpec(f"{self.name}-new", KeyAlgorithm.EC_P256))

    def delete(self) -> None:
        self.provider.delete_key(self.key)

    def purge(self) -> None:
        self.provider.purge_key(self.key)

    def restore(self) -> object:
        return self.provider.restore_key(self.backup)

    def recover(self) -> object:
        return self.provider.recover_key(self.key)

    def state(self, name: str = "") -> KeyState | None:
        """What a look finds when all trouble is over."""
        self.server.end_trouble()
        try:
            return self.provider.describe_key(KeyRef(name or self.name)).state
        except KeyNotFound:
            return None

    def effects(self, op: str) -> int:
        return self.server.effects().get(op, 0)

    def received(self, op: str) -> int:
        """Requests of this operation that came in, however they ended."""
        counts = self.server.requests().items()
        return sum(count for name, count in counts if name.rpartition(" ")[0] == op)


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer() as running:
        yield running


@pytest.fixture
def bench(server: SandboxServer) -> Iterator[Bench]:
    with open_azure(sandbox_config(server), IMPATIENT) as provider:
        made = provider.create_key(KeySpec(f"trouble-{next(_numbers)}", KeyAlgorithm.EC_P256))
        bench = Bench(server, provider, made.ref, provider.backup_key(made.ref))
        server.reset_requests()
        yield bench
        server.end_trouble()


def failure(act: Callable[[], object], error: type[ProviderError]) -> ProviderError:
    with pytest.raises(error) as caught:
        act()
    assert type(caught.value) is error
    return caught.value


@dataclass(frozen=True)
class Write:
    """A call that changes the HSM: what goes before it, and what is there when it took effect or not."""

    op: str
    before: tuple[str, ...]
    unchanged: KeyState | None
    changed: KeyState | None

    def prepare(self, bench: Bench) -> Callable[[], object]:
        for step in self.before:
            getattr(bench, step)()
        bench.server.reset_requests()
        act: Callable[[], object] = getattr(bench, self.op)
        return act

    def state(self, bench: Bench) -> KeyState | None:
        return bench.state(f"{bench.name}-new" if self.op == "create" else "")


LIVE, DELETED = KeyState.ACTIVE, KeyState.SOFT_DELETED
WRITES = (
    Write("create", (), None, LIVE),
    Write("delete", (), LIVE, DELETED),
    Write("purge", ("delete",), DELETED, None),
    Write("restore", ("delete", "purge"), None, LIVE),
    Write("recover", ("delete",), DELETED, LIVE),
)
every_write = pytest.mark.parametrize("write", WRITES, ids=lambda write: write.op)
READS = ("sign", "backup", "get")


def read(bench: Bench, op: str) -> Callable[[], object]:
    acts: dict[str, Callable[[], object]] = {
        "sign": bench.sign,
        "backup": lambda: bench.provider.backup_key(bench.key),
        "get": lambda: bench.provider.describe_key(bench.key),
    }
    return acts[op]


# --- An answer that does not come ---------------------------------------------------------------


@every_write
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("effect", "code"), [("reset", "CONNECTION"), ("hang", "TIMEOUT")])
def test_a_lost_answer_leaves_the_outcome_of_a_write_open(
    bench: Bench, write: Write, moment: str, effect: str, code: str
) -> None:
    act = write.prepare(bench)
    bench.server.trouble(effect, operations=[write.op], moment=moment)
    error = failure(act, OutcomeUnknown)
    assert (error.code, error.retryable, error.outcome_known) == (code, True, False)
    assert bench.received(write.op) == 1, "nothing is sent twice"
    assert bench.effects(write.op) == (moment == "after")
    assert write.state(bench) == (write.changed if moment == "after" else write.unchanged)


@pytest.mark.parametrize("op", READS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("effect", "code"), [("reset", "CONNECTION"), ("hang", "TIMEOUT")])
def test_a_lost_answer_of_what_changes_nothing_may_be_asked_for_again(
    bench: Bench, op: str, moment: str, effect: str, code: str
) -> None:
    bench.server.trouble(effect, operations=[op], moment=moment, next=1)
    error = failure(read(bench, op), ProviderUnavailable)
    assert (error.code, error.retryable, error.outcome_known) == (code, True, True)
    assert bench.received(op) == 1, "nothing is sent twice"
    assert bench.effects(op) == (moment == "after")
    read(bench, op)()


def test_a_slow_answer_within_the_time_is_waited_for(bench: Bench) -> None:
    bench.server.trouble("latency", operations=["sign"], seconds=[0.2, 0.4])
    bench.sign()
    assert bench.server.effects() == {"sign": 1}


def test_a_write_that_is_too_slow_may_still_take_effect(bench: Bench) -> None:
    bench.server.trouble("latency", operations=["create"], seconds=2.0, next=1)
    error = failure(bench.create, OutcomeUnknown)
    assert error.code == "TIMEOUT"
    assert bench.effects("create") == 0, "not yet"
    wait_until(lambda: bench.effects("create") == 1, what="it took effect", seconds=10)
    assert bench.received("create") == 1, "nothing is sent twice"
    assert bench.state(f"{bench.name}-new") is LIVE


# --- An answer that says no ---------------------------------------------------------------------


@every_write
@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_throttled_write_did_nothing(bench: Bench, write: Write, retry_after: int | None) -> None:
    act = write.prepare(bench)
    named = {} if retry_after is None else {"retry_after": retry_after}
    bench.server.trouble("throttle", operations=[write.op], next=1, **named)
    error = failure(act, Throttled)
    assert (error.code, error.retryable, error.outcome_known) == ("Throttled", True, True)
    assert error.retry_after == retry_after
    assert error.request_id
    assert bench.server.requests()[f"{write.op} 429"] == bench.received(write.op) == 1
    assert bench.effects(write.op) == 0
    act()
    assert bench.effects(write.op) == 1
    assert write.state(bench) == write.changed


@pytest.mark.parametrize("op", READS)
@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_throttled_read(bench: Bench, op: str, retry_after: int | None) -> None:
    named = {} if retry_after is None else {"retry_after": retry_after}
    bench.server.trouble("throttle", operations=[op], **named)
    error = failure(read(bench, op), Throttled)
    assert error.retry_after == retry_after
    assert bench.received(op) == 1


@every_write
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("status", [500, 503])
def test_a_failing_hsm_leaves_the_outcome_of_a_write_open(
    bench: Bench, write: Write, moment: str, status: int
) -> None:
    act = write.prepare(bench)
    bench.server.trouble("error", operations=[write.op], status=status, moment=moment)
    error = failure(act, OutcomeUnknown)
    assert error.request_id
    assert bench.received(write.op) == 1
    assert bench.effects(write.op) == (moment == "after")
    assert write.state(bench) == (write.changed if moment == "after" else write.unchanged)


@pytest.mark.parametrize("op", READS)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_hsm_and_what_changes_nothing(bench: Bench, op: str, status: int) -> None:
    bench.server.trouble("error", operations=[op], status=status, retry_after=3)
    error = failure(read(bench, op), ProviderUnavailable)
    assert (error.retryable, error.outcome_known, error.retry_after) == (True, True, 3)
    assert bench.received(op) == 1


@pytest.mark.parametrize("act", ["restore", "create"])
def test_a_purge_takes_its_time(bench: Bench, act: str) -> None:
    """409 for a while after a purge: known, and worth trying again."""
    bench.server.trouble("purge-window", seconds=30)
    bench.delete()
    bench.purge()
    acts: dict[str, Callable[[], object]] = {
        "restore": bench.restore,
        "create": lambda: bench.provider.create_key(KeySpec(bench.name, KeyAlgorithm.EC_P256)),
    }
    error = failure(acts[act], ProviderUnavailable)
    assert (error.code, error.retryable, error.outcome_known) == ("Conflict", True, True)
    assert (bench.received(act), bench.effects(act)) == (1, 0)
    bench.server.advance_clock(31)
    acts[act]()
    assert bench.effects(act) == 1


# --- Another region -----------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["sign", "get"])
def test_a_restored_key_is_not_there_yet_in_another_region(bench: Bench, op: str) -> None:
    bench.delete()
    bench.purge()
    bench.server.trouble("lag", operations=[op, "get-deleted"], seconds=60)
    bench.restore()
    error = failure(read(bench, op), KeyNotFound)
    assert error.outcome_known
    bench.server.advance_clock(61)
    read(bench, op)()
    assert bench.effects("restore") == 1


def test_a_purged_key_still_holds_its_name_in_another_region(bench: Bench) -> None:
    bench.delete()
    bench.server.trouble("lag", operations=["restore"], seconds=60)
    bench.purge()
    failure(bench.restore, KeyNameReserved)
    assert (bench.received("restore"), bench.effects("restore")) == (1, 0)
    bench.server.advance_clock(61)
    bench.restore()
    assert bench.state() is LIVE


def test_a_region_that_does_not_know_a_key_yet_makes_no_second_one(bench: Bench) -> None:
    """Of two restores, the second through a region that hears of the first one late."""
    bench.delete()
    bench.purge()
    bench.server.trouble("lag", operations=["restore"], seconds=60)
    bench.restore()
    failure(bench.restore, KeyAlreadyExists)
    assert bench.effects("restore") == 1


# --- Rights -------------------------------------------------------------------------------------


def test_a_role_that_vanishes_for_a_while(bench: Bench) -> None:
    bench.delete()
    bench.server.trouble("lose-role", role="Crypto Officer", for_=60)
    error = failure(bench.purge, AccessDenied)
    assert isinstance(error, AccessDenied)
    assert error.missing_right.endswith("/keys/deletedKeys/delete")
    assert (error.retryable, error.outcome_known) == (False, True)
    assert (bench.received("purge"), bench.effects("purge")) == (1, 0)
    bench.server.advance_clock(61)
    bench.purge()
    assert bench.effects("purge") == 1


@every_write
def test_a_single_refusal(bench: Bench, write: Write) -> None:
    act = write.prepare(bench)
    bench.server.trouble("deny", operations=[write.op], next=1)
    error = failure(act, AccessDenied)
    assert isinstance(error, AccessDenied)
    assert error.missing_right
    assert (bench.received(write.op), bench.effects(write.op)) == (1, 0)
    act()
    assert write.state(bench) == write.changed


# --- The pace -----------------------------------------------------------------------------------


def _create_until_throttled(bench: Bench) -> tuple[int, Throttled]:
    for number in range(10):
        try:
            bench.provider.create_key(KeySpec(f"{bench.name}-{number}", KeyAlgorithm.EC_P256))
        except Throttled as err:
            return number, err
    pytest.fail("never throttled")


def test_the_pace_of_the_service(bench: Bench) -> None:
    bench.server.pace("azure")
    try:
        made, error = _create_until_throttled(bench)
    finally:
        bench.server.pace("off")
    assert error.retry_after is None
    assert bench.effects("create") == made
    assert bench.server.requests()["create 429"] == 1
