"""Celery's door to the keys services. A message carries an operation's id, nothing else."""

from uuid import UUID

from celery import shared_task
from django.utils import timezone

from keys.services import dispatch, operations


@shared_task(name="keys.tasks.run_operation")
def run_operation(operation_id: str) -> None:
    """Carry out the next step of one operation; a repeat or a stray message does nothing."""
    operations.perform(operation_id=UUID(operation_id), clock=timezone.now)


@shared_task(name="keys.tasks.upkeep_resend_operations")
def upkeep_resend_operations() -> None:
    """Send again every operation whose message was lost, whose worker died or whose pause is over."""
    dispatch.resend_due(now=timezone.now())
