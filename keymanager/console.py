"""The console: Django's AdminSite with our name, our navigation and our front page.

``admin`` stays the URL namespace, so everything Django's admin framework offers keeps working.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.views import PasswordChangeView
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, URLPattern, URLResolver, path, reverse
from django.utils import timezone

from keymanager.overview import overview, work
from keymanager.people import OwnPasswordForm
from keymanager.session import SessionSite


@dataclass(frozen=True, slots=True)
class Room:
    """A place in the navigation: its label, its icon, the name of its URL, and who may see it.

    ``permission`` is ``app.codename``; empty means everybody who is signed in.
    """

    label: str
    icon: str
    url_name: str
    permission: str = ""


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """A room as one person sees it on one page."""

    label: str
    icon: str
    url: str
    active: bool


ROOMS = (
    Room("Overview", "overview", "admin:index"),
    Room(
        "Crypto sources",
        "source",
        "admin:cryptosources_cryptosource_changelist",
        "cryptosources.view_cryptosource",
    ),
    Room("Keys", "key", "admin:keys_managedkey_changelist", "keys.view_managedkey"),
    Room("Operations", "operations", "admin:keys_keyoperation_changelist", "keys.view_keyoperation"),
    Room("Audit", "audit", "admin:audit_auditrecord_changelist", "audit.view_auditrecord"),
    Room("Licence", "licence", "admin:licensing_licence_changelist", "licensing.view_licence"),
    Room("People", "people", "admin:auth_user_changelist", "auth.view_user"),
)


class ConsoleSite(SessionSite):
    """Every page gets ``navigation``: the rooms its reader may enter, the present one marked."""

    site_title = "Key Manager"
    site_header = "Key Manager"
    index_title = "Overview"
    site_url = None
    enable_nav_sidebar = False
    empty_value_display = "–"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # A bulk delete would go past the services that guard and record every delete.
        self.disable_action("delete_selected")

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "navigation": list(navigation(request))}

    def get_urls(self) -> list[URLPattern | URLResolver]:
        follow_work = path("overview/work/", self.admin_view(work.live_part), name="overview_work")
        return [follow_work, *super().get_urls()]

    def app_index(  # type: ignore[override]  # Django promises a page where a redirect does
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseRedirect:
        """The rooms are in the navigation; an app has no front page of its own."""
        return HttpResponseRedirect(reverse("admin:index"))

    def password_change(  # type: ignore[override]  # the stubs forget that it redirects
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """As Django's, whose form cannot be exchanged, with one that records the change."""
        view = PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            success_url=reverse("admin:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return view(request)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {"overview": overview(user=request.user, now=timezone.now()), **(extra_context or {})}
        return super().index(request, context)


def navigation(request: HttpRequest) -> Iterator[NavigationItem]:
    """The rooms that the reader of this page may enter."""
    if not request.user.is_authenticated:
        return
    for room in ROOMS:
        if room.permission and not request.user.has_perm(room.permission):
            continue
        try:
            url = reverse(room.url_name)
        except NoReverseMatch:
            continue  # The app that owns the room has no page in this installation.
        yield NavigationItem(room.label, room.icon, url, active=_is_inside(request.path, url))


def _is_inside(path: str, url: str) -> bool:
    """Is the page at ``path`` part of the room at ``url``? The front page contains only itself."""
    return path == url if url == reverse("admin:index") else path.startswith(url)
