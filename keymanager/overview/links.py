"""Addresses of the console's lists and pages, as the front page links to them."""

from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse

SOURCES: Final = "admin:cryptosources_cryptosource_changelist"
NEW_SOURCE: Final = "admin:cryptosources_cryptosource_add"
KEYS: Final = "admin:keys_managedkey_changelist"
NEW_KEY: Final = "admin:keys_managedkey_add"
OPERATIONS: Final = "admin:keys_keyoperation_changelist"
LICENCES: Final = "admin:licensing_licence_changelist"
NEW_LICENCE: Final = "admin:licensing_licence_add"


def listing(name: str, **filters: str) -> str:
    """A list, filtered."""
    return f"{reverse(name)}?{urlencode(filters)}" if filters else reverse(name)


def source_page(pk: UUID) -> str:
    return reverse("admin:cryptosources_cryptosource_page", args=[pk])


def source_form(pk: UUID) -> str:
    return reverse("admin:cryptosources_cryptosource_change", args=[pk])


def connection(pk: UUID) -> str:
    """The connection test on the page of a source."""
    return f"{source_page(pk)}#connection"


def key_page(pk: UUID) -> str:
    return reverse("admin:keys_managedkey_change", args=[pk])


def sign_page(pk: UUID) -> str:
    return reverse("admin:keys_managedkey_sign", args=[pk])


def batch_page(pk: UUID) -> str:
    return reverse("admin:keys_keyoperation_batch", args=[pk])


def operation_page(pk: UUID) -> str:
    return reverse("admin:keys_keyoperation_change", args=[pk])
