"""The console's words for keys and operations, in templates."""

import json
from datetime import timedelta

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from keys import wording
from keys.lifecycle import Step
from keys.models import KeyBackup, KeyOperation, KeyVersion, ManagedKey
from keys.services.batches import CREATION_PACE
from keys.services.validity import from_parameters

register = template.Library()


@register.filter
def key_type(key: ManagedKey) -> str:
    return wording.key_type(key.algorithm)


@register.filter
def place_badge(key: ManagedKey) -> SafeString:
    return wording.badge(wording.place(key))


@register.filter
def validity_badge(key: ManagedKey) -> SafeString:
    return wording.badge(wording.validity(key, timezone.now()))


@register.filter
def validity_in_full(key: ManagedKey) -> SafeString:
    return wording.validity_in_full(key, timezone.now())


@register.simple_tag
def names_in_words(names: list[str]) -> str:
    """What several counted names will be, and how long the HSM takes for them."""
    expected = wording.about(len(names) * CREATION_PACE)
    return f"{len(names)} keys: {wording.names(names)}. The HSM creates about one key a second: {expected}."


@register.filter
def state_badge(operation: KeyOperation) -> SafeString:
    return wording.badge(wording.state(operation))


@register.filter
def proof_badge(backup: KeyBackup) -> SafeString:
    return wording.badge(wording.proof(backup))


@register.filter
def operation_title(operation: KeyOperation) -> str:
    return wording.title(operation)


@register.filter
def operation_label(operation: KeyOperation) -> str:
    return wording.ACTS[operation.what].label


@register.filter
def attributes_in_words(operation: KeyOperation) -> str:
    return wording.attributes(from_parameters(operation.parameters))


@register.filter
def step_label(operation: KeyOperation) -> str:
    return wording.STEPS[Step(operation.step)]


@register.filter
def jwk_text(version: KeyVersion) -> str:
    return json.dumps(version.jwk, indent=2)


@register.filter
def span(length: timedelta) -> str:
    return wording.span(length)
