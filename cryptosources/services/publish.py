"""Handing a task to the broker without making anybody wait for a broker that is away."""

from datetime import timedelta
from typing import Final

from celery import current_app
from django.conf import settings
from kombu.exceptions import OperationalError

# Two of these, connecting and answering, are the longest that a page waits: 3 seconds.
PATIENCE_SECONDS: Final = 1.5


def publish(task_name: str, *arguments: str, expires: timedelta | None = None) -> str:
    """Send a task with ids as arguments; empty when the broker has it, else why not, as a sentence.

    A worker that meets the message later than ``expires``, by its own clock, throws it away.

    Celery's own connection tries again for six seconds and more, whatever its retry switch says, so this
    one is opened for the message alone.
    """
    options = {
        **settings.CELERY_BROKER_TRANSPORT_OPTIONS,
        "max_retries": 0,
        "socket_connect_timeout": PATIENCE_SECONDS,
        "socket_timeout": PATIENCE_SECONDS,
    }
    seconds = None if expires is None else expires.total_seconds()
    try:
        with current_app.connection_for_write(transport_options=options) as connection:
            current_app.send_task(task_name, arguments, retry=False, connection=connection, expires=seconds)
    except (OperationalError, OSError) as error:
        return f"The message broker does not answer ({type(error).__name__})."
    return ""
