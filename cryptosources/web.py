"""What the pages of crypto sources share: permissions, addresses, and who is asking."""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from audit.services import Actor
from cryptosources.errors import SourceGone

View = Callable[..., HttpResponse]
LIST_URL: Final = "admin:cryptosources_cryptosource_changelist"
PAGE_URL: Final = "admin:cryptosources_cryptosource_page"


def permission(codename: str) -> Callable[[View], View]:
    return permission_required(f"cryptosources.{codename}_cryptosource", raise_exception=True)


def gone_goes_to_the_list(view: View) -> View:
    """A source deleted meanwhile is told on the list, instead of a bare error page."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except SourceGone as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse(LIST_URL))

    return wrapped


def page_url(source_id: uuid.UUID) -> str:
    return reverse(PAGE_URL, args=(source_id,))


def context(request: HttpRequest, *, title: str) -> dict[str, Any]:
    """The console's frame, and in ``may`` what this person is allowed to do with sources."""
    return {**admin.site.each_context(request), "title": title, "may": allowed(request)}


def allowed(request: HttpRequest) -> dict[str, bool]:
    return {
        action: request.user.has_perm(f"cryptosources.{action}_cryptosource")
        for action in ("add", "change", "delete", "toggle", "test")
    }


def actor(request: HttpRequest) -> Actor:
    assert request.user.is_authenticated
    return Actor.person(request.user)


def wanted_page(request: HttpRequest) -> str:
    """The page of ours that the button was on, from ``?next=``; empty when it names none of ours."""
    wanted = request.GET.get("next", "")
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if ours else ""
