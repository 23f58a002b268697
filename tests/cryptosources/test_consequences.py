"""What depends on a source: the registry, and what the keys tell."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from cryptosources import consequences
from cryptosources.consequences import Consequence, Severity
from cryptosources.models import CryptoSource
from keys.lifecycle import OperationKind, Residency
from keys.models import KeyOperation, KeyUse, ManagedKey
from tests.cryptosources.factories import NOW, make_source, memory_settings

pytestmark = pytest.mark.django_db


def add_key(source: CryptoSource, name: str, residency: Residency = Residency.RESIDENT) -> ManagedKey:
    fault = "A person must look." if residency is Residency.FAULTED else ""
    return ManagedKey.objects.create(
        source=source,
        name=name,
        algorithm="EC-P256",
        residency=residency,
        fault=fault,
        created_at=NOW,
        updated_at=NOW,
    )


def add_operation(key: ManagedKey, kind: OperationKind, state: str = "pending") -> None:
    KeyOperation.objects.create(
        key=key,
        kind=kind,
        exclusive=False,
        state=state,
        step="sign",
        steps=["sign"],
        due_at=NOW,
        requested_at=NOW,
        finished_at=NOW if state == "succeeded" else None,
    )


def told(source: CryptoSource) -> dict[str, Severity]:
    return {each.text: each.severity for each in consequences.of(source, NOW)}


@pytest.fixture
def source(db: None) -> CryptoSource:
    return make_source()


def test_nothing_depends_on_a_source_without_keys(source: CryptoSource) -> None:
    other = make_source(memory_settings("Other"))
    add_operation(add_key(other, "seal"), OperationKind.SIGN)
    assert told(source) == {}


def test_keys_their_use_and_what_is_under_way_are_told(source: CryptoSource) -> None:
    first, second = add_key(source, "one"), add_key(source, "two")
    add_key(source, "gone", Residency.PURGED)
    add_key(source, "faulted", Residency.FAULTED)
    for key, days, count in ((first, 0, 1_200), (second, 29, 34), (second, 31, 5_000)):
        KeyUse.objects.create(key=key, day=(NOW - timedelta(days=days)).date(), signatures=count)
    for kind in (OperationKind.SIGN, OperationKind.SIGN, OperationKind.ROTATE, OperationKind.PURGE):
        add_operation(first, kind)
    add_operation(second, OperationKind.SIGN, "succeeded")
    assert told(source) == {
        "2 keys that can sign": Severity.STOPS,
        "1,234 signatures in the last 30 days, the last one on 23 Nov 2026": Severity.NOTE,
        "3 operations under way (1 rotate, 2 sign)": Severity.STOPS,
        "1 operation under way (1 purge)": Severity.GOES_ON,
    }


def test_long_unused_keys_say_so(source: CryptoSource) -> None:
    key = add_key(source, "one")
    assert "no signature in the last 30 days" in told(source)
    KeyUse.objects.create(key=key, day=(NOW - timedelta(days=40)).date(), signatures=1)
    assert "no signature in the last 30 days; the last one was on 14 Oct 2026" in told(source)


def test_it_costs_three_queries(
    source: CryptoSource, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        add_operation(add_key(source, f"key-{number}"), OperationKind.SIGN)
    with django_assert_num_queries(3):
        consequences.of(source, NOW)


def test_another_room_may_tell_too(source: CryptoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consequences, "_tellers", {})

    def tell(asked: CryptoSource, now: datetime) -> Iterator[Consequence]:
        yield Consequence(f"1 client application of {asked}", 1, Severity.STOPS)

    consequences.register("applications", tell)
    consequences.register("applications", tell)
    assert told(source) == {"1 client application of Memory": Severity.STOPS}
    assert len(consequences.stopping(consequences.of(source, NOW))) == 1


def test_resident_keys_are_counted_for_each_source(source: CryptoSource) -> None:
    other = make_source(memory_settings("Other"))
    add_key(source, "one")
    add_key(source, "two", Residency.DELETED)
    add_key(other, "three")
    rows = {row.friendly_name: row for row in CryptoSource.objects.with_keys()}
    assert (rows["Memory"].keys_count, rows["Memory"].resident_keys) == (2, 1)  # type: ignore[attr-defined]
    assert (rows["Other"].keys_count, rows["Other"].resident_keys) == (1, 1)  # type: ignore[attr-defined]
