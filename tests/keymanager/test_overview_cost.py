"""The front page costs the same for a large installation as for a small one, and asks by index."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from keymanager.overview import faults, work
from keys.models import KeyOperation, KeyUse
from tests.keymanager.holdings import day_ago, make_keys, make_source, operation, person

pytestmark = pytest.mark.django_db

#: Session, person, their permissions (two), licence, sources, the steps of failed tests, throw-away keys,
#: faulted keys, failed operations, first steps, keys (three), signatures, and work under way (four).
MOST_QUERIES = 19
#: Session, person, their permissions (two), counts, keys asked for together, operations, failures.
MOST_QUERIES_OF_A_POLL = 8


@pytest.fixture
def console(client: Client) -> Client:
    client.force_login(person("administrator"))
    return client


def _fill(sources: int, keys: int, operations: int) -> None:
    """Sources with keys each, of which some have failed, and operations in every state."""
    made = []
    for number in range(sources):
        source = make_source(f"Source {number}", days=number * 9 - 20, healthy=number % 3 != 0)
        made += make_keys(source, keys)
        make_keys(source, 2, prefix="lost", residency="faulted", fault="Its tags differ.")
    states = ("succeeded", "succeeded", "succeeded", "failed", "pending", "running")
    KeyOperation.objects.bulk_create(
        operation(made[number % len(made)], "sign", states[number % len(states)])
        for number in range(operations)
    )
    KeyUse.objects.bulk_create(
        KeyUse(key=key, day=day_ago(ago), signatures=3) for key in made[::7] for ago in range(3)
    )


def test_the_page_costs_the_same_for_little_and_for_much(
    console: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    _fill(sources=4, keys=3, operations=6)
    with django_assert_max_num_queries(MOST_QUERIES) as little:
        console.get("/")
    _fill_more()
    with django_assert_max_num_queries(len(little)):
        html = console.get("/").content.decode()
    assert "All 44" in html
    assert html.count('class="fault"') <= faults.ALL_ROWS
    assert html.count('class="work"') <= 2 * work.ROWS


def _fill_more() -> None:
    for number in range(40):
        make_source(f"Further {number}", days=number * 17, healthy=number % 5 != 0)
    keys = make_keys(make_source("Busy", days=None), 400, prefix="busy")
    KeyOperation.objects.bulk_create(
        operation(key, "backup", state) for key in keys for state in ("failed", "succeeded", "pending")
    )


def test_a_poll_costs_little_whatever_is_under_way(
    console: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _fill(sources=3, keys=20, operations=120)
    with django_assert_num_queries(MOST_QUERIES_OF_A_POLL):
        console.get("/overview/work/")


def test_a_poll_costs_less_when_nothing_is_under_way(
    console: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(MOST_QUERIES_OF_A_POLL - 2):
        console.get("/overview/work/")


def test_a_poll_reads_nothing_of_keys_and_sources_that_it_does_not_show(console: Client) -> None:
    _fill(sources=1, keys=5, operations=30)
    with CaptureQueriesContext(connection) as queries:
        console.get("/overview/work/")
    sql = " ".join(query["sql"] for query in queries.captured_queries)
    assert "friendly_name" in sql
    for column in ("sealed_secret", "trusted_roots", '"memo"', '"parameters"', '"result"'):
        assert column not in sql


# --- By index -------------------------------------------------------------------------------------


@contextmanager
def _indexes_preferred() -> Iterator[None]:
    """PostgreSQL reads small tables from end to end unless told otherwise."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        yield


def _plan(queryset: QuerySet[Any, Any]) -> str:
    with _indexes_preferred():
        return queryset.explain()


def _found_by_state(plan: str) -> bool:
    """Does the plan enter the table of operations by an index that begins with the state?"""
    sqlite = r"SEARCH keys_keyoperation USING INDEX \w+ \(state="
    postgres = r"on keys_keyoperation\b[^\n]*\n\s*(Index|Recheck) Cond: [^\n]*state"
    return bool(re.search(f"{sqlite}|{postgres}", plan))


def test_the_check_sees_a_table_that_is_read_whole() -> None:
    assert not _found_by_state(_plan(KeyOperation.objects.filter(error__contains="x")))
    assert not _found_by_state(_plan(KeyOperation.objects.filter(actor_name="x")))


def test_operations_under_way_and_failed_ones_are_found_by_index() -> None:
    now = timezone.now()
    asked = [
        KeyOperation.objects.under_way().order_by("-state", "requested_at"),
        KeyOperation.objects.filter(
            state="failed",
            requested_at__gte=now - timedelta(days=1),
            finished_at__gte=now - work.JUST,
        ),
        faults.not_made_good(now),
    ]
    for queryset in asked:
        plan = _plan(queryset)
        assert _found_by_state(plan), plan


def test_a_reader_without_permission_costs_no_query_of_its_parts(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    _fill(sources=2, keys=3, operations=12)
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    with django_assert_max_num_queries(5):
        client.get("/")
