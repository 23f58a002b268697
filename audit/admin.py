"""Reading the record. Nobody adds, changes or removes anything here."""

import json
from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.models import AuditRecord, Outcome

if TYPE_CHECKING:
    _RecordAdmin = admin.ModelAdmin[AuditRecord]
else:
    _RecordAdmin = admin.ModelAdmin

_BADGES = {
    Outcome.REQUESTED.value: "info",
    Outcome.SUCCEEDED.value: "ok",
    Outcome.FAILED.value: "bad",
    Outcome.REFUSED.value: "warn",
}


@admin.register(AuditRecord)
class AuditRecordAdmin(_RecordAdmin):
    list_display = ("at", "actor_name", "action", "subject", "outcome_badge")
    list_display_links = ("at",)
    list_filter = ("at", "action", "outcome", "actor_kind")
    search_fields = ("actor_name", "action", "subject_name", "subject_id")
    search_help_text = "Search by person, action, or subject"
    list_per_page = 50
    show_full_result_count = False
    actions = None
    fields = ("at", "who", "action", "subject", "subject_id", "outcome_badge", "particulars")
    readonly_fields = fields

    @admin.display(description="Subject", ordering="subject_name")
    def subject(self, record: AuditRecord) -> str:
        return f"{record.subject_type}: {record.subject_name}"

    @admin.display(description="Who")
    def who(self, record: AuditRecord) -> str:
        return f"{record.actor_name} ({record.actor_kind}, {record.actor_identifier})"

    @admin.display(description="Outcome", ordering="outcome")
    def outcome_badge(self, record: AuditRecord) -> SafeString:
        return format_html(
            '<span class="badge badge-{}">{}</span>',
            _BADGES.get(record.outcome, "muted"),
            record.get_outcome_display(),
        )

    @admin.display(description="Details")
    def particulars(self, record: AuditRecord) -> SafeString | str:
        if not record.details:
            return "–"
        text = json.dumps(record.details, indent=2, ensure_ascii=False)
        return format_html('<pre class="code">{}</pre>', text)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
