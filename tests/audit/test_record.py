"""The audit record: what it takes, and that nothing takes it back."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from audit.actors import Actor, ActorKind
from audit.models import AppendOnlyError, AuditRecord, Outcome
from audit.services import UnfitDetails, record
from secretstore.secret import Secret
from tests.audit.flushing import without_triggers

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
CANARY = "canary-8f1b2c"


def write(**changes: Any) -> AuditRecord:
    values: dict[str, Any] = {
        "action": "source.created",
        "actor": Actor.command("tests"),
        "subject_type": "crypto source",
        "subject_id": "42",
        "subject_name": "Contoso",
        "now": NOW,
    }
    return record(**{**values, **changes})


@pytest.mark.django_db
def test_a_record_keeps_everything_it_was_given() -> None:
    user = User.objects.create_user("anna")
    written = write(
        actor=Actor.person(user),
        outcome=Outcome.REFUSED,
        details={
            "fields": ["dns_name", "token_endpoint"],
            "count": 2,
            "ratio": 0.5,
            "all": False,
            "why": None,
        },
    )
    stored = AuditRecord.objects.get(pk=written.pk)
    assert (stored.actor_kind, stored.actor_identifier, stored.actor_name) == ("person", str(user.pk), "anna")
    assert (stored.action, stored.outcome, stored.at) == ("source.created", "refused", NOW)
    assert (stored.subject_type, stored.subject_id, stored.subject_name) == ("crypto source", "42", "Contoso")
    assert stored.details == {
        "fields": ["dns_name", "token_endpoint"],
        "count": 2,
        "ratio": 0.5,
        "all": False,
        "why": None,
    }


def test_actors_of_the_three_kinds() -> None:
    assert Actor.system("beat") == Actor(ActorKind.SYSTEM, "beat", "beat")
    assert Actor.command("check_source") == Actor(ActorKind.COMMAND, "check_source", "check_source")
    with pytest.raises(ValueError, match="stored user"):
        Actor.person(User(username="nobody"))


@pytest.mark.django_db
def test_a_record_outlives_the_account_of_its_actor() -> None:
    user = User.objects.create_user("anna")
    write(actor=Actor.person(user))
    user.delete()
    assert AuditRecord.objects.get().actor_name == "anna"


@pytest.mark.django_db(transaction=True)
def test_act_and_record_are_undone_together() -> None:
    with suppress(RuntimeError), transaction.atomic():
        write()
        raise RuntimeError
    assert not AuditRecord.objects.exists()


@pytest.mark.parametrize(
    "value",
    [
        Secret(CANARY),
        CANARY.encode(),
        {"inner": [Secret(CANARY)]},
        [{"deep": Secret(CANARY)}],
        {1: "key"},
        {Secret(CANARY): 1},
        float("nan"),
        float("inf"),
        SimpleNamespace(secret=CANARY),
        NOW,
        {CANARY},
    ],
)
def test_details_take_plain_values_only_and_the_refusal_does_not_quote_them(value: object) -> None:
    with pytest.raises(UnfitDetails) as caught:
        write(details={"field": value})
    assert CANARY not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("action", ["created", "Source.created", "source created", "source.", ".created", ""])
def test_an_action_has_a_dotted_name(action: str) -> None:
    with pytest.raises(ValueError, match="dotted"):
        write(action=action)


@pytest.mark.django_db
def test_long_names_and_nul_characters_do_not_stop_a_record() -> None:
    written = write(subject_name="n" * 1000, actor=Actor.system("a" * 1000), details={"text": "a\x00b"})
    written.refresh_from_db()
    assert (len(written.subject_name), len(written.actor_name)) == (300, 200)
    assert written.details == {"text": "a\N{REPLACEMENT CHARACTER}b"}


def _save(stored: AuditRecord) -> None:
    stored.subject_name = "another"
    stored.save()


MODEL_WAYS: list[Callable[[AuditRecord], object]] = [
    _save,
    lambda stored: stored.save(update_fields=["subject_name"]),
    lambda stored: stored.delete(),
    lambda stored: AuditRecord.objects.update(action="other.thing"),
    lambda stored: AuditRecord.objects.filter(pk=stored.pk).delete(),
    lambda stored: AuditRecord.objects.all().delete(),
    lambda stored: AuditRecord.objects.bulk_update([stored], ["action"]),
    lambda stored: AuditRecord.objects.update_or_create({"action": "other.thing"}, pk=stored.pk),
]


@pytest.mark.django_db
@pytest.mark.parametrize("change", MODEL_WAYS)
def test_the_model_refuses_to_change_or_remove(change: Callable[[AuditRecord], object]) -> None:
    stored = AuditRecord.objects.get(pk=write().pk)
    with pytest.raises(AppendOnlyError):
        change(stored)


STATEMENTS = [
    "UPDATE audit_auditrecord SET action = 'other.thing'",
    "UPDATE audit_auditrecord SET details = '{}' WHERE id = (SELECT max(id) FROM audit_auditrecord)",
    "DELETE FROM audit_auditrecord",
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_database_refuses_to_change_or_remove(statement: str) -> None:
    write()
    with pytest.raises(DatabaseError, match="only ever added"), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditRecord.objects.get().action == "source.created"


@pytest.mark.django_db(transaction=True)
def test_the_database_refuses_to_replace_or_empty() -> None:
    stored = write()
    statement = "TRUNCATE audit_auditrecord"
    if connection.vendor == "sqlite":
        statement = (
            f"INSERT OR REPLACE INTO audit_auditrecord SELECT * FROM audit_auditrecord WHERE id = {stored.pk}"
        )
    with pytest.raises(DatabaseError, match="only ever added"), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_flush_is_refused_outside_the_tests_own_cleaning() -> None:
    write()
    with pytest.raises(Exception, match="flush"):
        call_command("flush", interactive=False, verbosity=0)
    assert AuditRecord.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("values", [{"outcome": "maybe"}, {"actor_kind": "ghost"}])
def test_the_database_knows_the_outcomes_and_kinds(values: dict[str, str]) -> None:
    fields = {"actor_kind": "system", "outcome": "failed", **values}
    with pytest.raises(DatabaseError), transaction.atomic():
        AuditRecord.objects.create(at=NOW, action="a.b", **fields)


@pytest.mark.django_db(transaction=True)
def test_the_triggers_come_back_after_cleaning() -> None:
    write()
    with without_triggers(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_auditrecord")
    assert not AuditRecord.objects.exists()
    write()
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_auditrecord")


@pytest.mark.django_db(transaction=True)
def test_the_migration_of_the_triggers_can_be_undone_and_done_again() -> None:
    write()
    MigrationExecutor(connection).migrate([("audit", "0001_initial")])
    try:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE audit_auditrecord SET action = 'other.thing'")
    finally:
        MigrationExecutor(connection).migrate([("audit", "0002_append_only")])
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditrecord SET action = 'source.created'")
