"""The Licence page: what is enabled and until when, the history, and the form to install a new one."""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from audit.actors import Actor
from licensing.forms import LicenceForm
from licensing.models import Licence
from licensing.outlook import changes, ending, lines
from licensing.services import current, install_licence
from licensing.tokens import Claims
from licensing.uses import uses

if TYPE_CHECKING:
    _LicenceAdmin = admin.ModelAdmin[Licence]
else:
    _LicenceAdmin = admin.ModelAdmin


@admin.register(Licence)
class LicenceAdmin(_LicenceAdmin):
    form = LicenceForm
    change_list_template = "licensing/list.html"
    change_form_template = add_form_template = "licensing/form.html"
    list_display_links = ("licence_id",)
    actions = None
    add_fields = ("file", "text")
    view_fields = (
        "licence_id",
        "customer",
        "enabled",
        "not_before",
        "not_after",
        "installed_at",
        "installed_by",
    )

    def get_fields(self, request: HttpRequest, obj: Licence | None = None) -> tuple[str, ...]:
        return self.view_fields if obj else self.add_fields

    def get_readonly_fields(self, request: HttpRequest, obj: Licence | None = None) -> tuple[str, ...]:
        return self.view_fields if obj else ()

    @admin.display(description="Enables")
    def enabled(self, licence: Licence) -> SafeString:
        return format_html_join(
            " ", '<span class="code-inline">{}</span>', ((name,) for name in licence.features)
        )

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        now = timezone.now()
        return ("licence_id", "customer", "starts", "ends", _state_cell(now), "installed", "installed_by")

    @admin.display(description="Starts", ordering="not_before")
    def starts(self, licence: Licence) -> str:
        return _day(licence.not_before)

    @admin.display(description="Ends", ordering="not_after")
    def ends(self, licence: Licence) -> str:
        return _day(licence.not_after)

    @admin.display(description="Installed", ordering="installed_at")
    def installed(self, licence: Licence) -> str:
        return _day(licence.installed_at)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A good licence is shown first, with what it would change; it is installed from there."""
        if request.method == "POST" and "_check" in request.POST and self.has_add_permission(request):
            form = LicenceForm(request.POST, request.FILES)
            if form.is_valid():
                return self._preview(request, form.cleaned_data["token"], form.cleaned_data["claims"])
        return super().add_view(request, form_url, extra_context)

    def _preview(self, request: HttpRequest, token: str, claims: Claims) -> HttpResponse:
        now = timezone.now()
        status = current(now=now)
        context = {
            **self.admin_site.each_context(request),
            "title": "Install this licence?",
            "token": token,
            "claims": claims,
            "ending": ending(claims.not_after, now),
            "status": status,
            "ends_earlier": bool(
                status.not_after and status.in_force and claims.not_after < status.not_after
            ),
            "lines": changes(status, claims, uses()),
        }
        return TemplateResponse(request, "licensing/preview.html", context)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        now = timezone.now()
        status = current(now=now)
        context = {
            "title": "Licence",
            "status": status,
            "ending": ending(status.not_after, now) if status.not_after else None,
            "lines": lines(status, uses()),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Licence, form: Any, change: bool) -> None:
        """The service makes the row; the page goes on with that one."""
        actor = Actor.person(cast(User, request.user))
        token = form.cleaned_data["token"]
        obj.pk = install_licence(token=token, actor=actor, now=timezone.now()).pk
        obj.refresh_from_db()

    def log_addition(self, request: HttpRequest, obj: Licence, message: Any) -> None:  # type: ignore[override]
        """The audit record, written with the row, stands for Django's own history entry."""


def _day(at: datetime) -> str:
    return date_format(timezone.localtime(at), "j M Y")


def _state_cell(now: datetime) -> Callable[[Licence], str]:
    """Only the licence installed last can be in force: asked once, when the first row is drawn."""

    @cache
    def newest() -> tuple[int | None, bool]:
        """Which one that is, and whether it can be verified."""
        number = Licence.objects.order_by("-pk").values_list("pk", flat=True).first()
        return number, current(now=now).claims is not None

    @admin.display(description="State")
    def state(licence: Licence) -> SafeString:
        number, verified = newest()
        if licence.pk != number:
            return format_html('<span class="badge badge-muted">{}</span>', "Replaced")
        if not verified:
            return format_html('<span class="badge badge-bad">{}</span>', "Cannot be verified")
        shown = ending(licence.not_after, now)
        return format_html('<span class="badge badge-{}">{}</span>', shown.badge, shown.words)

    return state
