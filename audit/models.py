"""The record of who did what. Rows are added; the database refuses to change or remove them."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NoReturn

from django.db import models

from audit.actors import ActorKind


class AppendOnlyError(Exception):
    """An audit record was to be changed or removed."""

    def __init__(self) -> None:
        super().__init__("Audit records are only ever added.")


class Outcome(StrEnum):
    """How an act ended, or that it was asked for."""

    REQUESTED = "requested"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"


_UNHAPPY: Final = (Outcome.FAILED.value, Outcome.REFUSED.value)


class OperationOf(models.Func):
    """The operation that a record's details name, spelled the same in the index and in queries."""

    template = "(%(expressions)s ->> 'operation')"
    output_field = models.TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="json_extract(%(expressions)s, '$.operation')", **context
        )


class AuditQuerySet(models.QuerySet["AuditRecord"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError

    def delete(self) -> NoReturn:
        raise AppendOnlyError

    def bulk_update(
        self, objs: Iterable[Any], fields: Iterable[str], batch_size: int | None = None
    ) -> NoReturn:
        raise AppendOnlyError


def _choices(values: type[StrEnum]) -> list[tuple[str, str]]:
    return [(value.value, value.value.capitalize()) for value in values]


class AuditRecord(models.Model):
    """One act. Plain text throughout: no foreign key can make a record change or vanish."""

    at = models.DateTimeField("when", db_index=True)
    actor_kind = models.CharField("kind of actor", max_length=16, choices=_choices(ActorKind))
    actor_identifier = models.CharField("actor identifier", max_length=200)
    actor_name = models.CharField("who", max_length=200)
    action = models.CharField(max_length=100, db_index=True)
    subject_type = models.CharField(max_length=100)
    subject_id = models.CharField("subject identifier", max_length=200)
    subject_name = models.CharField("subject", max_length=300)
    outcome = models.CharField(max_length=16, choices=_choices(Outcome))
    details = models.JSONField(default=dict)

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ("-at", "-id")
        default_permissions = ("view",)
        verbose_name = "audit record"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(actor_kind__in=[kind.value for kind in ActorKind]), name="audit_actor_kind"
            ),
            models.CheckConstraint(
                condition=models.Q(outcome__in=[outcome.value for outcome in Outcome]), name="audit_outcome"
            ),
        ]
        # Newest first is the order of every page: the index on ``at`` gives it, for all and with these.
        indexes = [
            models.Index(fields=("subject_id", "at"), name="audit_subject_at"),
            models.Index(fields=("actor_identifier", "at"), name="audit_actor_at"),
            models.Index(fields=("action", "at"), name="audit_action_at"),
            models.Index(OperationOf("details"), "at", name="audit_operation_at"),
            # What went wrong is little among what went well, and is what people look for.
            models.Index(fields=("at",), name="audit_unhappy_at", condition=models.Q(outcome__in=_UNHAPPY)),
        ]

    def __str__(self) -> str:
        return f"{self.action}: {self.subject_name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert only: AppendOnlyError for a record that is stored already."""
        if not self._state.adding:
            raise AppendOnlyError
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError
