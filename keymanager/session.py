"""What becomes of a form when its sender's session has ended meanwhile: expired, or signed out elsewhere.

``static/js/session.js`` asks ``/session/`` before it sends a form, and lets the person sign in again in
place; the form is sent as it stands, secrets and chosen files included. Without scripts the server cannot
keep what must never be stored or shown again, so it says that nothing was carried out and leads back to
the form.
"""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

#: In the address of the sign-in page: a form was on its way.
INTERRUPTED: Final = "interrupted"
NOTHING_DONE: Final = (
    "Your sign-in had ended before the form was sent, so nothing was carried out. Please fill it in again."
)

REFUSED: Final = (
    "This username and password do not go together, or the account is switched off. "
    "Capital letters make a difference."
)

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class SignInForm(AdminAuthenticationForm):
    """Says no more than it must: a stranger does not learn which of the two was wrong."""

    error_messages = {**AdminAuthenticationForm.error_messages, "invalid_login": REFUSED}


class SessionSite(AdminSite):
    """An admin site that tells its pages who is signed in, and whose forms survive the end of a session."""

    login_form = SignInForm

    def get_urls(self) -> list[URLResolver | URLPattern]:
        return [path("session/", never_cache(self.session), name="session"), *super().get_urls()]

    def session(self, request: HttpRequest) -> JsonResponse:
        """Who is signed in (empty: nobody) and the token of this session's forms. Prolongs nothing."""
        user = request.user.get_username() if self.has_permission(request) else ""
        return JsonResponse({"user": user, "token": get_token(request)})

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """As Django's, but a form that a stranger sends is answered with a word about what happened."""
        guarded = super().admin_view(view, cacheable)

        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method != "POST" or self.has_permission(request) or self._is_sign_out(request):
                return guarded(request, *args, **kwargs)
            sign_in = f"{reverse('admin:login', current_app=self.name)}?{INTERRUPTED}=1"
            return redirect_to_login(_form_of(request), sign_in)

        return cast(View, update_wrapper(inner, guarded))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        interrupted = INTERRUPTED in request.GET
        response = super().login(request, {"interrupted": interrupted, **(extra_context or {})})
        came_in = request.method == "POST" and isinstance(response, HttpResponseRedirect)
        if interrupted and came_in and self.has_permission(request):
            messages.warning(request, NOTHING_DONE)
        return response

    def _is_sign_out(self, request: HttpRequest) -> bool:
        return request.path == reverse("admin:logout", current_app=self.name)


def _form_of(request: HttpRequest) -> str:
    """The page that the form stands on: where it was sent from, when that is a page of ours."""
    sender = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(sender, {request.get_host()}, require_https=request.is_secure()):
        return reverse("admin:index")
    return urlunsplit(urlsplit(sender)._replace(scheme="", netloc="", fragment=""))
