"""Celery's doors: a message carries the id of a row and nothing else."""

import uuid

from celery import shared_task
from celery.signals import worker_process_shutdown
from django.utils import timezone

from cryptosources.services import connection_test, key_cycle, throw_away
from cryptosources.services.connections import close_connections


@shared_task(name=connection_test.TASK)
def run_connection_test(test_id: str) -> None:
    connection_test.run_test(test_id=uuid.UUID(test_id), clock=timezone.now)


@shared_task(name=throw_away.TASK)
def run_key_cycle(key_id: str) -> None:
    key_cycle.perform(key_id=uuid.UUID(key_id), clock=timezone.now)


@shared_task(name="cryptosources.tasks.upkeep_connection_tests")
def upkeep_connection_tests() -> None:
    connection_test.upkeep(now=timezone.now())


@worker_process_shutdown.connect
def _close_connections(**_: object) -> None:
    close_connections()
