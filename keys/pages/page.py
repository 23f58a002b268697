"""What all pages about keys share: the frame, the permission, the actor, and refusals in words."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import update_wrapper
from typing import Any, Concatenate, Final, ParamSpec
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse

from audit.actors import Actor
from cryptosources.errors import SourceError
from keys import wording
from keys.models import ManagedKey
from keys.services.refusals import OperationRefused
from licensing.services import FeatureNotLicensed

VIEW_KEYS: Final = "keys.view_managedkey"
OPERATE_KEYS: Final = "keys.operate_managedkey"
VIEW_OPERATIONS: Final = "keys.view_keyoperation"

#: What the services raise when they refuse; every text is for people.
REFUSALS: Final = (OperationRefused, SourceError, FeatureNotLicensed)

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def needs(permission: str) -> Callable[[View[P]], View[P]]:
    """403 for people without the permission (the site has checked already that they are signed in)."""

    def decorate(view: View[P]) -> View[P]:
        def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return update_wrapper(checked, view)

    return decorate


def actor(request: HttpRequest) -> Actor:
    assert isinstance(request.user, AbstractBaseUser)
    return Actor.person(request.user)


def render(
    request: HttpRequest, template: str, *, title: str, status: int = 200, **context: Any
) -> TemplateResponse:
    """A page in the console's frame."""
    frame = admin.site.each_context(request)
    return TemplateResponse(request, template, {**frame, "title": title, **context}, status=status)


def live(request: HttpRequest, template: str, *, finished: bool, **context: Any) -> JsonResponse:
    """A part of a page that follows work under way, as ``static/js/live.js`` wants it."""
    html = render_to_string(template, context, request=request)
    return JsonResponse({"finished": finished, "html": html})


def find_key(key_id: UUID) -> ManagedKey:
    """The key with its source and backup, what is sealed left in the database; 404 for none."""
    rows = ManagedKey.objects.select_related("source", "verified_backup")
    return get_object_or_404(rows.defer("source__sealed_secret", "verified_backup__sealed_blob"), pk=key_id)


def key_url(key: ManagedKey) -> str:
    return reverse("admin:keys_managedkey_change", args=[key.pk])


def created(what: str, parameters: Mapping[str, Any], *, now: datetime) -> str:
    """``The key is in the HSM, ready to sign.``, or from when on it signs; ``what`` is ``The key is``."""
    start = datetime.fromisoformat(parameters.get("not_before") or now.isoformat())
    if start <= now:
        return f"{what} in the HSM, ready to sign."
    return f"{what} in the HSM, and may sign from {wording.clock_time(start)} on."


def field_of(refusal: Exception) -> str:
    """The form field that a refusal is about; empty for none."""
    if isinstance(refusal, OperationRefused):
        return refusal.field
    return "source"
