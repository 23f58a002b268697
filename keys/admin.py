"""The console's rooms for keys and operations. Lists are the admin framework's; pages are our own."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keys import wording
from keys.lifecycle import NAME_FREE, OperationState
from keys.models import KeyOperation, ManagedKey
from keys.pages import acts, batch, generate, key, operation, sign, update, verify
from keys.pages.filters import (
    ActorFilter,
    AskedFilter,
    BatchFilter,
    KeyBatchFilter,
    KeyFilter,
    KeyTypeFilter,
    KindFilter,
    ResidencyFilter,
    SourceFilter,
    StateFilter,
    ValidityFilter,
)
from keys.pages.impact import recent_start
from keys.pages.page import OPERATE_KEYS, live
from keys.uploads import hashing_uploads

if TYPE_CHECKING:
    KeyAdmin = admin.ModelAdmin[ManagedKey]
    OperationAdmin = admin.ModelAdmin[KeyOperation]
else:
    KeyAdmin = OperationAdmin = admin.ModelAdmin

#: Letters of a name that fit into a narrow window's line.
_WHOLE_NAME: Final = 20
View = Callable[..., HttpResponseBase]


class ReadOnlyRows:
    """Rows change through the services only: no stock form adds, edits or deletes one."""

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(ManagedKey)
class ManagedKeyAdmin(ReadOnlyRows, KeyAdmin):
    change_list_template = "keys/key_list.html"
    search_fields = ["name", "source__friendly_name"]
    search_help_text = "part of a key's or a source's name"
    list_display = ["key_name", "key_type", "source_name", "place", "validity", "last_used", "signatures"]
    list_filter = [SourceFilter, ResidencyFilter, KeyTypeFilter, ValidityFilter, KeyBatchFilter]
    list_per_page = 50
    show_full_result_count = False
    actions = None
    ordering = ["name", "pk"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(OPERATE_KEYS))

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        uploads = hashing_uploads
        pages: list[tuple[str, View, str]] = [
            ("", wrap(self.changelist_view), "changelist"),
            ("add/", wrap(generate.generate), "add"),
            ("<uuid:key_id>/", wrap(key.page), "change"),
            ("<uuid:key_id>/live/", wrap(key.live_part), "live"),
            ("<uuid:key_id>/public-key.pem", wrap(key.public_key_pem), "pem"),
            ("<uuid:key_id>/public-key.jwk", wrap(key.public_key_jwk), "jwk"),
            ("<uuid:key_id>/sign/", uploads(wrap(sign.sign)), "sign"),
            ("<uuid:key_id>/verify/", uploads(wrap(verify.verify)), "verify"),
            ("<uuid:key_id>/update/", wrap(update.update), "update"),
            ("<uuid:key_id>/<str:kind>/", wrap(acts.act), "act"),
        ]
        return [path(route, view, name=f"keys_managedkey_{name}") for route, view, name in pages]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ManagedKey]:
        rows = ManagedKey.objects.with_use(since=recent_start(timezone.now()))
        return rows.select_related("source").defer("source__sealed_secret", "source__trusted_roots")

    @admin.display(description="Name", ordering="name")
    def key_name(self, row: ManagedKey) -> SafeString:
        """A short name stays on its line; browsers would break it after any hyphen."""
        whole = " nowrap" if len(row.name) <= _WHOLE_NAME else ""
        return format_html('<span class="key-name{}">{}</span>', whole, row.name)

    @admin.display(description="Type", ordering="algorithm")
    def key_type(self, row: ManagedKey) -> SafeString:
        return format_html('<span class="nowrap">{}</span>', wording.key_type(row.algorithm))

    @admin.display(description="Source", ordering="source__friendly_name")
    def source_name(self, row: ManagedKey) -> SafeString:
        return format_html('<span class="source-name">{}</span>', row.source.friendly_name)

    @admin.display(description="Where", ordering="residency")
    def place(self, row: ManagedKey) -> SafeString:
        return wording.badge(wording.place(row))

    @admin.display(description="Validity", ordering="expires_at")
    def validity(self, row: ManagedKey) -> SafeString:
        if row.where in NAME_FREE:
            return wording.nothing("–")
        words = wording.validity(row, timezone.now())
        return wording.badge(words) if words.badge or row.expires_at else wording.nothing(words.text)

    @admin.display(description="Last used", ordering="last_used")
    def last_used(self, row: Any) -> SafeString:
        if row.last_used is None:
            return wording.nothing("never")
        return format_html('<span class="nowrap">{}</span>', wording.plain_day(row.last_used))

    @admin.display(description="Signatures, 30 days", ordering="recent_signatures")
    def signatures(self, row: Any) -> SafeString | str:
        return f"{row.recent_signatures:,}" if row.recent_signatures else wording.nothing("0")


@admin.register(KeyOperation)
class KeyOperationAdmin(ReadOnlyRows, OperationAdmin):
    change_list_template = "keys/operation_list.html"
    search_fields = ["key__name"]
    search_help_text = "part of a key's name, or the HSM's request id"
    list_display = ["what", "source_name", "state_badge", "asked", "asked_by", "took", "problem"]
    list_filter = [StateFilter, KindFilter, SourceFilter, ActorFilter, AskedFilter, BatchFilter, KeyFilter]
    list_per_page = 50
    show_full_result_count = False
    actions = None
    ordering = ["-requested_at", "pk"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        pages: list[tuple[str, View, str]] = [
            ("", wrap(self.changelist_view), "changelist"),
            ("<uuid:operation_id>/", wrap(operation.page), "change"),
            ("<uuid:operation_id>/live/", wrap(operation.live_part), "live"),
            ("<uuid:operation_id>/status.json", wrap(operation.status), "status"),
            ("<uuid:operation_id>/signature.sig", wrap(operation.signature_file), "signature"),
            ("<uuid:operation_id>/retry/", wrap(operation.retry), "retry"),
            ("batch/<uuid:batch_id>/", wrap(batch.page), "batch"),
            ("batch/<uuid:batch_id>/live/", wrap(batch.live_part), "batch_live"),
            ("batch/<uuid:batch_id>/retry/", wrap(batch.retry), "batch_retry"),
        ]
        return [path(route, view, name=f"keys_keyoperation_{name}") for route, view, name in pages]

    def get_queryset(self, request: HttpRequest) -> QuerySet[KeyOperation]:
        return KeyOperation.objects.select_related("key__source").defer(
            "key__source__sealed_secret", "key__source__trusted_roots"
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[KeyOperation], search_term: str
    ) -> tuple[QuerySet[KeyOperation], bool]:
        """Key names are searched in the table of keys, which is short; a request id is looked up whole."""
        term = search_term.strip()
        if not term:
            return queryset, False
        named = ManagedKey.objects.filter(name__icontains=term).values("pk")
        return queryset.filter(Q(key__in=named) | Q(request_id=term)), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; asked for as JSON, its rows alone, as ``static/js/live.js`` follows them."""
        response = super().changelist_view(request, extra_context)
        if not isinstance(response, TemplateResponse) or not response.context_data:
            return response
        rows = response.context_data["cl"].result_list if "cl" in response.context_data else []
        under_way = any(row.is_under_way for row in rows)
        if request.accepts("text/html"):
            response.context_data["under_way"] = under_way
            return response
        return live(request, "keys/operation_rows.html", finished=not under_way, **response.context_data)

    @admin.display(description="Operation", ordering="kind")
    def what(self, row: KeyOperation) -> SafeString | str:
        label = row.parameters.get("label")
        title = wording.title(row)
        return format_html('{}<br><span class="quiet">{}</span>', title, label) if label else title

    @admin.display(description="Source")
    def source_name(self, row: KeyOperation) -> SafeString:
        return format_html('<span class="source-name">{}</span>', row.key.source.friendly_name)

    @admin.display(description="State", ordering="state")
    def state_badge(self, row: KeyOperation) -> SafeString:
        return wording.badge(wording.state(row))

    @admin.display(description="Asked", ordering="requested_at")
    def asked(self, row: KeyOperation) -> SafeString:
        return wording.moment(row.requested_at)

    @admin.display(description="By", ordering="actor_name")
    def asked_by(self, row: KeyOperation) -> str:
        return row.actor_name

    @admin.display(description="Took")
    def took(self, row: KeyOperation) -> SafeString | str:
        """Nothing yet for what waits, and in the first second of what runs."""
        length = operation.took(row, now=timezone.now())
        begun = row.started_at is not None and length >= timedelta(seconds=1)
        return wording.span(length) if row.finished_at or begun else wording.nothing("–")

    @admin.display(description="What failed")
    def problem(self, row: KeyOperation) -> SafeString | str:
        shown = row.error if row.state != OperationState.SUCCEEDED else ""
        if not shown:
            return wording.nothing("–")
        return shown if len(shown) <= 120 else f"{shown[:119]}…"
