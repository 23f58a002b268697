"""The audit room's place in the console. Nobody adds, changes or removes anything here."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import URLPattern, path

from audit import pages
from audit.models import AuditRecord

if TYPE_CHECKING:
    _RecordAdmin = admin.ModelAdmin[AuditRecord]
else:
    _RecordAdmin = admin.ModelAdmin


@admin.register(AuditRecord)
class AuditRecordAdmin(_RecordAdmin):
    """Three pages of our own in place of the stock ones."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(pages.records), name="audit_auditrecord_changelist"),
            path("export/", wrap(pages.export_records), name="audit_auditrecord_export"),
            path("<int:record_id>/change/", wrap(pages.one_record), name="audit_auditrecord_change"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
