"""People: the accounts of this console and their roles. What each role may do is fixed (keymanager.roles)."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, UserCreationForm
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from audit.actors import Actor
from audit.services import record

if TYPE_CHECKING:
    _UserAdmin = UserAdmin[User]
    _ModelMultipleChoiceField = forms.ModelMultipleChoiceField[Group]
    _AdminPasswordChangeForm = AdminPasswordChangeForm[User]
else:  # Django's classes are generic in their stubs only.
    _UserAdmin = UserAdmin
    _ModelMultipleChoiceField = forms.ModelMultipleChoiceField
    _AdminPasswordChangeForm = AdminPasswordChangeForm

admin.site.unregister([User, Group])


class RolesField(_ModelMultipleChoiceField):
    """The roles of a person, as checkboxes."""

    widget = forms.CheckboxSelectMultiple

    def label_from_instance(self, obj: Model) -> str:
        return str(obj).capitalize()


class PasswordForm(_AdminPasswordChangeForm):
    """A new password; accounts without one are not offered here, switching off is."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.fields.pop("usable_password", None)
        for field in self.fields.values():
            field.required = True


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

    add_form = UserCreationForm
    change_password_form = PasswordForm
    fieldsets = (
        (None, {"fields": ("username", ("first_name", "last_name"), "email")}),
        ("Access", {"fields": ("groups", "is_active")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", ("first_name", "last_name"), "email")}),
        ("Access", {"fields": ("groups",)}),
        ("First password", {"fields": ("password1", "password2")}),
    )
    list_display = ("username", "full_name", "roles", "status", "last_login")
    list_filter = (("groups", RoleFilter), ("is_active", SignInFilter))
    counted_as = "people"
    filter_horizontal = ()
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="Name", ordering="last_name")
    def full_name(self, person: User) -> str:
        return person.get_full_name()

    @admin.display(description="Roles")
    def roles(self, person: User) -> str:
        return ", ".join(group.name.capitalize() for group in person.groups.all())

    @admin.display(description="Status", ordering="is_active")
    def status(self, person: User) -> str:
        kind, text = ("ok", "May sign in") if person.is_active else ("muted", "Switched off")
        return format_html('<span class="badge badge-{}">{}</span>', kind, text)

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
        _record(request, obj, "person.created", message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        _record(request, obj, "person.changed", message)


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_authenticated and request.user.is_superuser


def _record(request: HttpRequest, person: Model, action: str, changes: Any) -> None:
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
            "changes": changes,
            "roles": sorted(person.groups.values_list("name", flat=True)),
            "may_sign_in": person.is_active,
        },
        now=timezone.now(),
    )
