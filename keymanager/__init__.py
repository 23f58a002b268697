"""The Django project: wiring only, no models."""

from keymanager.celery import app as celery_app

__all__ = ("celery_app",)
