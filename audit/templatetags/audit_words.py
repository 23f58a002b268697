"""The record in words, for templates."""

from datetime import UTC, datetime

from django import template

from audit.actors import ActorKind
from audit.models import AuditRecord, Outcome
from audit.wording import ACTOR_KINDS, OUTCOMES, OutcomeWords, SubjectKind, action_words, subject_kind

register = template.Library()


@register.filter
def action(record: AuditRecord) -> str:
    return action_words(record.action)


@register.filter
def outcome(record: AuditRecord) -> OutcomeWords:
    return OUTCOMES[Outcome(record.outcome)]


@register.filter
def about(record: AuditRecord) -> SubjectKind:
    return subject_kind(record.subject_type)


@register.filter
def actor_kind(record: AuditRecord) -> str:
    return ACTOR_KINDS[ActorKind(record.actor_kind)]


@register.filter
def utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
