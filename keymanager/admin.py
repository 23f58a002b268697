"""People: the accounts of this console and their roles. What each role may do is fixed (keymanager.roles)."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from audit.actors import Actor
from audit.services import record
from keymanager.people import PasswordForm, PersonForm, RolesField, record_password
from keymanager.roles import ROLES, rights_by_role
from keymanager.sign_in import locked_until, locks, unlock

if TYPE_CHECKING:
    _UserAdmin = UserAdmin[User]
else:  # Django's class is generic in its stubs only.
    _UserAdmin = UserAdmin

Cell = Callable[[User], str]

admin.site.unregister([User, Group])


class RoleFilter(admin.RelatedFieldListFilter):
    """People by role."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "role"


class SignInFilter(admin.BooleanFieldListFilter):
    """People who may sign in, or may not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "may sign in"


@admin.register(User)
class PersonAdmin(_UserAdmin):
    """Accounts are switched off, never deleted: records name them. Only a superuser edits a superuser."""

    form = PersonForm
    add_form = UserCreationForm
    change_password_form = PasswordForm
    change_list_template = "people/list.html"
    change_form_template = add_form_template = "people/form.html"
    change_user_password_template = "people/password.html"
    fieldsets = (
        (None, {"fields": ("username", ("first_name", "last_name"), "email")}),
        ("Access", {"fields": ("groups", "is_active")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", ("first_name", "last_name"), "email")}),
        ("Access", {"fields": ("groups",)}),
        ("First password", {"fields": ("password1", "password2")}),
    )
    list_filter = (("groups", RoleFilter), ("is_active", SignInFilter))
    counted_as = "people"
    filter_horizontal = ()
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.unlock_view))
        return [path("<int:person_id>/unlock/", view, name="auth_user_unlock"), *super().get_urls()]

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        return ("username", "full_name", "roles", _status_cell(timezone.now()), "last_sign_in")

    @admin.display(description="Name", ordering="last_name")
    def full_name(self, person: User) -> str:
        return person.get_full_name()

    @admin.display(description="Roles")
    def roles(self, person: User) -> str:
        return ", ".join(sorted(group.name.capitalize() for group in person.groups.all()))

    @admin.display(description="Last sign-in", ordering="last_login")
    def last_sign_in(self, person: User) -> SafeString:
        return _moment(person.last_login)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"roles": [name.capitalize() for name in ROLES], "rights": list(rights_by_role())}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        person = self.get_object(request, object_id)
        until = locked_until(person=person, now=timezone.now()) if person else None
        context = {"locked_until": until, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """The new password and its record stand or fall together."""
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)

    def unlock_view(self, request: HttpRequest, person_id: int) -> HttpResponse:
        """Let a person try again who is locked out after failed sign-ins."""
        person = get_object_or_404(User, pk=person_id)
        if not self.has_change_permission(request, person):
            raise PermissionDenied
        actor = Actor.person(cast(User, request.user))
        if unlock(person=person, actor=actor, now=timezone.now()):
            messages.success(request, f"{person.username} can sign in again.")
        return HttpResponseRedirect(reverse("admin:auth_user_change", args=[person.pk]))

    def get_form(
        self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """The class is made anew for each request, so it may know who is asking."""
        form = super().get_form(request, obj, change=change, **kwargs)
        form.acting = request.user  # type: ignore[attr-defined]
        return form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            return RolesField(queryset=Group.objects.order_by("name"), required=False, label="Roles")
        if db_field.name == "is_active":
            kwargs["label"] = "May sign in"
            kwargs["help_text"] = "Switch off instead of deleting: records name this account."
        if db_field.name == "username":
            kwargs["help_text"] = "Letters, digits and . _ - + @, at most 150."
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        above = obj is not None and obj.is_superuser and not _is_superuser(request)
        return not above and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        obj.is_staff = True
        super().save_model(request, obj, form, change)

    # Django asks for its own history entry here; the audit record takes its place.
    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record(request, obj, "person.created", [])

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        changed = [field for part in message for field in part.get("changed", {}).get("fields", [])]
        if changed == ["password"]:  # The page that sets a password; the form of the person has none.
            record_password(person=cast(User, obj), actor=Actor.person(cast(User, request.user)))
        else:
            _record(request, obj, "person.changed", changed)


def _status_cell(now: datetime) -> Cell:
    locked = locks(now=now)

    @admin.display(description="Status", ordering="is_active")
    def status(person: User) -> SafeString:
        if not person.is_active:
            return _badge("muted", "Switched off")
        return _badge("bad", "Locked out") if locked(person) else _badge("ok", "May sign in")

    return status


def _badge(kind: str, text: str) -> SafeString:
    return format_html('<span class="badge badge-{}">{}</span>', kind, text)


def _moment(at: datetime | None) -> SafeString:
    if at is None:
        return format_html('<span class="quiet">{}</span>', "never")
    local = timezone.localtime(at)
    shown = f"{local.day} {local:%b %Y, %H:%M}"
    return format_html('<time datetime="{}" data-relative>{}</time>', at.isoformat(), shown)


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_authenticated and request.user.is_superuser


def _record(request: HttpRequest, person: Model, action: str, changed: list[str]) -> None:
    """Write the audit record that stands for Django's own history entry, in the same transaction."""
    assert isinstance(person, User)
    assert request.user.is_authenticated
    record(
        action=action,
        actor=Actor.person(request.user),
        subject_type="person",
        subject_id=str(person.pk),
        subject_name=person.username,
        details={
            **({"changes": changed} if changed else {}),
            "roles": sorted(person.groups.values_list("name", flat=True)),
            "may_sign_in": person.is_active,
        },
        now=timezone.now(),
    )
