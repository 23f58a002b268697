"""The Licence page: what is enabled and until when, the history, and the form to install a new one."""

from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from audit.actors import Actor
from licensing.forms import LicenceForm
from licensing.models import Licence
from licensing.services import current, install_licence

if TYPE_CHECKING:
    _LicenceAdmin = admin.ModelAdmin[Licence]
else:
    _LicenceAdmin = admin.ModelAdmin


@admin.register(Licence)
class LicenceAdmin(_LicenceAdmin):
    form = LicenceForm
    list_display = ("licence_id", "customer", "not_before", "not_after", "installed_at", "installed_by")
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

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        status = current(now=timezone.now())
        context = {"title": "Licence", "status": status, "features": sorted(status.features)}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Licence, form: Any, change: bool) -> None:
        """The service makes the row; the page goes on with that one."""
        actor = Actor.person(cast(User, request.user))
        token = form.cleaned_data["token"]
        obj.pk = install_licence(token=token, actor=actor, now=timezone.now()).pk
        obj.refresh_from_db()

    def log_addition(self, request: HttpRequest, obj: Licence, message: Any) -> None:  # type: ignore[override]
        """The audit record, written with the row, stands for Django's own history entry."""
