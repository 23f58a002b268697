"""The Celery application. Tasks live in the apps' ``tasks.py`` and are found there."""

import os

from celery import Celery
from celery.signals import beat_init, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keymanager.settings")

app = Celery("keymanager")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
@beat_init.connect
def _refuse_unfit_settings(**_: object) -> None:
    from keymanager.startup import refuse_unfit_settings

    refuse_unfit_settings()
