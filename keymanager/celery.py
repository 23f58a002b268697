"""The Celery application. Tasks live in the apps' ``tasks.py`` and are found there."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keymanager.settings")

app = Celery("keymanager")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
