"""The list of crypto sources, and where the pages of each are found."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString

from cryptosources import check_views, views
from cryptosources.filters import KeyEndsFilter, LastTestFilter
from cryptosources.models import CryptoSource
from cryptosources.web import allowed, page_url
from cryptosources.wording import (
    INACTIVE_STOPS,
    expiry_badge,
    last_test_badge,
    status_badge,
)

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[CryptoSource]
else:  # Django's class is generic in its stubs only.
    _ModelAdmin = admin.ModelAdmin

Cell = Callable[[Any], str]


@admin.display(description="Friendly Name", ordering=Lower("friendly_name"))
def _name(source: CryptoSource) -> str:
    return source.friendly_name


class SourceList(ChangeList):
    """Names lead to the page of the source."""

    def url_for_result(self, result: Model) -> str:
        return page_url(result.pk)


@admin.register(CryptoSource)
class CryptoSourceAdmin(_ModelAdmin):
    """Only the list is Django's; every other page, and every write, is ours."""

    change_list_template = "cryptosources/list.html"
    list_per_page = 50
    search_fields = ("friendly_name", "dns_name", "application_id")
    search_help_text = "Friendly Name, DNS Name or Application ID"
    list_filter = ("status", "kind", LastTestFilter, KeyEndsFilter)
    show_full_result_count = False
    actions = None
    ordering = (Lower("friendly_name"), "pk")

    def get_urls(self) -> list[URLPattern]:
        def at(route: str, view: Callable[..., Any], name: str) -> URLPattern:
            wrapped = self.admin_site.admin_view(view)
            return path(route, wrapped, name=f"cryptosources_cryptosource_{name}")

        return [
            at("", self.changelist_view, "changelist"),
            at("add/", views.new_source, "add"),
            at("<uuid:source_id>/", views.source_page, "page"),
            at("<uuid:source_id>/change/", views.edit_source, "change"),
            at("<uuid:source_id>/delete/", views.delete_source, "delete"),
            at("<uuid:source_id>/activate/", views.activate_source, "activate"),
            at("<uuid:source_id>/deactivate/", views.deactivate_source, "deactivate"),
            at("<uuid:source_id>/clone/", views.clone_source, "clone"),
            at("<uuid:source_id>/test/", check_views.start_test, "test"),
            at("<uuid:source_id>/test/<uuid:test_id>/", check_views.follow_test, "follow_test"),
            at("<uuid:source_id>/test-key/<uuid:key_id>/", check_views.try_removal_again, "test_key"),
            at("<uuid:source_id>/key-manager-role.json", check_views.role_file, "role_file"),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CryptoSource]:
        return CryptoSource.objects.with_keys().with_last_test()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SourceList

    def get_list_display(self, request: HttpRequest) -> tuple[str | Cell, ...]:
        return (
            _name,
            _address,
            _status_cell(request),
            _expiry,
            _keys,
            _resident,
            _last_test,
            *_acts_cells(request),
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"inactive_stops": INACTIVE_STOPS, **(extra_context or {})})


@admin.display(description="Address and type", ordering="dns_name")
def _address(source: CryptoSource) -> SafeString:
    host, _, domain = source.address.partition(".")
    context = {"source": source, "host": host, "domain": domain}
    return render_to_string("cryptosources/cell_address.html", context)


def _status_cell(request: HttpRequest) -> Cell:
    """The badge, and for administrators the button beside it, which comes back to this very list."""
    may_toggle = request.user.has_perm("cryptosources.toggle_cryptosource")
    here = request.get_full_path()

    @admin.display(description="Status", ordering="status")
    def cell(source: CryptoSource) -> SafeString:
        context = {"source": source, "badge": status_badge(source), "may_toggle": may_toggle, "next": here}
        return render_to_string("cryptosources/cell_status.html", context)

    return cell


@admin.display(description="Key (client secret)", ordering="secret_expires_on")
def _expiry(source: CryptoSource) -> SafeString:
    context = {"source": source, "badge": expiry_badge(source, timezone.localdate())}
    return render_to_string("cryptosources/cell_expiry.html", context)


@admin.display(description="Keys", ordering="keys_count")
def _keys(source: Any) -> str:
    return f"{source.keys_count:,}"


@admin.display(description="In the HSM", ordering="resident_keys")
def _resident(source: Any) -> str:
    return f"{source.resident_keys:,}"


@admin.display(description="Last test", ordering="last_test_at")
def _last_test(source: Any) -> SafeString:
    context = {"at": source.last_test_at, "badge": last_test_badge(source.last_test)}
    return render_to_string("cryptosources/cell_last_test.html", context)


def _acts_cells(request: HttpRequest) -> list[Cell]:
    """Links to what this person may do with a source; no column for somebody who may do nothing."""
    may = allowed(request)

    @admin.display(description="Actions")
    def cell(source: CryptoSource) -> SafeString:
        return render_to_string("cryptosources/cell_acts.html", {"source": source, "may": may})

    return [cell] if any(may[act] for act in ("test", "change", "add", "delete")) else []
