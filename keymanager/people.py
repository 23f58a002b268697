"""The forms of the People room. Nobody, not even they themselves, switches off the last administrator."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import (
    AdminPasswordChangeForm,
    PasswordChangeForm,
    UserChangeForm,
)
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Model, Q
from django.utils import timezone
from django.utils.html import format_html

from audit.services import Actor, record
from keymanager.roles import ADMINISTRATOR_ROLE, PURPOSES

if TYPE_CHECKING:
    _ModelMultipleChoiceField = forms.ModelMultipleChoiceField[Group]
    _AdminPasswordChangeForm = AdminPasswordChangeForm[User]
    _UserChangeForm = UserChangeForm[User]
else:  # Django's classes are generic in their stubs only.
    _ModelMultipleChoiceField = forms.ModelMultipleChoiceField
    _AdminPasswordChangeForm = AdminPasswordChangeForm
    _UserChangeForm = UserChangeForm

LAST_ADMINISTRATOR = (
    "This is the last administrator who may sign in. Give somebody else the role first, "
    "or nobody could manage people any more."
)


def is_administrator(person: User) -> bool:
    """May this stored person manage people now?"""
    return person.is_active and (
        person.is_superuser or person.groups.filter(name=ADMINISTRATOR_ROLE).exists()
    )


def others_administer(person: User) -> bool:
    """Is there another administrator who can sign in? Holds a lock until the transaction ends, so that two
    people who take the role from each other at the same time do not both succeed.
    """
    list(Group.objects.select_for_update().filter(name=ADMINISTRATOR_ROLE))
    administer = Q(is_superuser=True) | Q(groups__name=ADMINISTRATOR_ROLE)
    no_password = Q(password="") | Q(password__startswith=UNUSABLE_PASSWORD_PREFIX)
    enter = User.objects.filter(is_active=True, is_staff=True).exclude(no_password)
    return enter.filter(administer).exclude(pk=person.pk).exists()


class RolesField(_ModelMultipleChoiceField):
    """The roles of a person, as checkboxes that say what each role is for."""

    widget = forms.CheckboxSelectMultiple

    def label_from_instance(self, obj: Model) -> str:
        name = str(obj)
        return format_html(
            '<span>{}<br><span class="field-help">{}</span></span>', name.capitalize(), PURPOSES.get(name, "")
        )


class PersonForm(_UserChangeForm):
    """A person's names, roles, and whether they may sign in. ``acting`` is who fills it in.

    Must be validated in the transaction that saves it (the admin framework does).
    """

    acting: User

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        stays, person = bool(values.get("is_active")), self.instance
        if not stays and person.pk == self.acting.pk:
            self.add_error("is_active", "You cannot switch off your own account.")
        elif is_administrator(person) and not self._administers(values) and not others_administer(person):
            self.add_error("groups" if stays else "is_active", LAST_ADMINISTRATOR)
        return values

    def _administers(self, values: dict[str, Any]) -> bool:
        roles = {group.name for group in values.get("groups", ())}
        return bool(values.get("is_active")) and (self.instance.is_superuser or ADMINISTRATOR_ROLE in roles)


class PasswordForm(_AdminPasswordChangeForm):
    """A new password; accounts without one are not offered here, switching off is."""

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(user, *args, **kwargs)
        self.fields.pop("usable_password", None)
        for field in self.fields.values():
            field.required = True


class OwnPasswordForm(PasswordChangeForm):
    """One's own password; the change and its record stand or fall together."""

    def save(self, commit: bool = True) -> User:
        with transaction.atomic():
            person = super().save(commit)
            record_password(person=person, actor=Actor.person(person))
        return person


def record_password(*, person: User, actor: Actor) -> None:
    """Somebody's password was changed, by themselves or by an administrator."""
    record(
        action="person.password",
        actor=actor,
        subject_type="person",
        subject_id=str(person.pk),
        subject_name=person.username,
        now=timezone.now(),
    )
