"""Providers: one HSM protocol, one package per family. Pure Python: no Django, no Celery."""
