"""The console's pages of one crypto source. Each checks a permission and calls one service."""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit.services import Actor
from cryptosources import trusted_roots
from cryptosources.errors import EditConflict, InvalidSource, SourceGone, SourceInUse
from cryptosources.forms import SourceForm
from cryptosources.models import ConnectionTest, CryptoSource
from cryptosources.services import connection_test, sources
from cryptosources.wording import INACTIVE_STOPS, expiry_badge, health_badge, status_badge
from licensing.services import FeatureNotLicensed

View = Callable[..., HttpResponse]
LIST_URL = "admin:cryptosources_cryptosource_changelist"
PAGE_URL = "admin:cryptosources_cryptosource_page"
EARLIER_TESTS = 10


def _permission(codename: str) -> Callable[[View], View]:
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


# --- The page of a source -----------------------------------------------------------------------


@require_GET
@_permission("view")
def source_page(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """Settings, connection test and keys of one source."""
    now = timezone.now()
    source = get_object_or_404(CryptoSource.objects.with_keys(), pk=source_id)
    tests = list(source.tests.all()[: EARLIER_TESTS + 1])
    context = _context(request, title=source.friendly_name) | {
        "source": source,
        "status": status_badge(source),
        "expiry": expiry_badge(source, timezone.localdate(now)),
        "roots": trusted_roots.parse(source.trusted_roots),
        "keys_url": _keys_url(request, source),
        "inactive_stops": INACTIVE_STOPS,
        "test": tests[0] if tests else None,
        "progress": _progress(tests[0]) if tests else "",
        "test_over": not tests or connection_test.is_over(test=tests[0], now=now),
        "earlier_tests": [(test, health_badge(test.healthy)) for test in tests[1:]],
    }
    return TemplateResponse(request, "cryptosources/page.html", context)


def _context(request: HttpRequest, *, title: str) -> dict[str, Any]:
    allowed = {
        action: request.user.has_perm(f"cryptosources.{action}_cryptosource")
        for action in ("add", "change", "delete", "toggle", "test")
    }
    return {**admin.site.each_context(request), "title": title, "may": allowed}


def _keys_url(request: HttpRequest, source: CryptoSource) -> str:
    """The list of the source's keys; empty for those who may not see keys."""
    if not request.user.has_perm("keys.view_managedkey"):
        return ""
    try:
        return f"{reverse('admin:keys_managedkey_changelist')}?source__id__exact={source.pk}"
    except NoReverseMatch:
        return ""


# --- New, Edit, Delete --------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@_permission("add")
def new_source(request: HttpRequest) -> HttpResponse:
    form = _form(request, None)
    if request.method == "POST" and form.is_valid():
        source = _create(request, form)
        if source is not None:
            return _saved(request, source, f"“{source}” was created. Test its connection next.")
    return _form_page(request, form, title="New crypto source", back_url=reverse(LIST_URL))


@require_http_methods(["GET", "POST"])
@_permission("change")
@gone_goes_to_the_list
def edit_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    source = get_object_or_404(CryptoSource, pk=source_id)
    form = _form(request, source)
    if request.method == "POST" and form.is_valid():
        changed = _update(request, source, form)
        if changed is not None:
            unchanged = changed.revision == form.cleaned_data["revision"]
            text = f"“{changed}” was saved." if not unchanged else f"Nothing was changed in “{changed}”."
            return _saved(request, changed, text)
    return _form_page(request, form, title=f"Edit {source}", back_url=page_url(source.pk))


def _form(request: HttpRequest, source: CryptoSource | None) -> SourceForm:
    return SourceForm(
        request.POST if request.method == "POST" else None,
        source=source,
        may_toggle=request.user.has_perm("cryptosources.toggle_cryptosource"),
        now=timezone.now(),
    )


def _form_page(request: HttpRequest, form: SourceForm, *, title: str, back_url: str) -> HttpResponse:
    context = _context(request, title=title) | {
        "form": form,
        "source": form.source,
        "back_url": back_url,
    }
    return TemplateResponse(request, "cryptosources/form.html", context)


def _create(request: HttpRequest, form: SourceForm) -> CryptoSource | None:
    try:
        return sources.create_source(
            entered=form.settings(), active=form.active, actor=_actor(request), now=form.now
        )
    except InvalidSource as refused:
        form.add_problems(refused)
    except FeatureNotLicensed as refused:
        form.add_error("kind", refused.reason)
    return None


def _update(request: HttpRequest, source: CryptoSource, form: SourceForm) -> CryptoSource | None:
    try:
        return sources.update_source(
            source_id=source.pk,
            based_on=form.cleaned_data["revision"] or 0,
            entered=form.settings(),
            active=form.active,
            actor=_actor(request),
            now=form.now,
        )
    except InvalidSource as refused:
        form.add_problems(refused)
    except FeatureNotLicensed as refused:
        form.add_error("kind", refused.reason)
    except EditConflict as conflict:
        form.show_conflict(conflict)
    return None


def _saved(request: HttpRequest, source: CryptoSource, text: str) -> HttpResponse:
    messages.success(request, text)
    for advice in sources.advice(source=source, now=timezone.now()):
        messages.warning(request, advice)
    return HttpResponseRedirect(page_url(source.pk))


@require_http_methods(["GET", "POST"])
@_permission("delete")
@gone_goes_to_the_list
def delete_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    source = get_object_or_404(CryptoSource, pk=source_id)
    if request.method == "POST":
        try:
            name = sources.delete_source(source_id=source_id, actor=_actor(request), now=timezone.now())
        except SourceInUse as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(page_url(source_id))
        messages.success(request, f"“{name}” was deleted, with its Key.")
        return HttpResponseRedirect(reverse(LIST_URL))
    keys = sources.keys_of(source_id=source_id)
    context = _context(request, title=f"Delete {source}?") | {
        "source": source,
        "refusal": str(SourceInUse(source.friendly_name, keys)) if keys else "",
        "back_url": page_url(source.pk),
    }
    return TemplateResponse(request, "cryptosources/delete.html", context)


# --- Active, Inactive ---------------------------------------------------------------------------


@require_POST
@_permission("toggle")
@gone_goes_to_the_list
def activate_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    try:
        changed = sources.activate(source_id=source_id, actor=_actor(request), now=timezone.now())
    except FeatureNotLicensed as refused:
        messages.error(request, f"It stays Inactive. {refused.reason}")
        return _back(request, source_id)
    _tell(request, source_id, "is Active now." if changed else "was Active already.")
    return _back(request, source_id)


@require_POST
@_permission("toggle")
@gone_goes_to_the_list
def deactivate_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    changed = sources.deactivate(source_id=source_id, actor=_actor(request), now=timezone.now())
    _tell(request, source_id, f"is Inactive now. {INACTIVE_STOPS}" if changed else "was Inactive already.")
    return _back(request, source_id)


def _tell(request: HttpRequest, source_id: uuid.UUID, text: str) -> None:
    source = CryptoSource.objects.filter(pk=source_id).first()
    messages.success(request, f"“{source or 'The crypto source'}” {text}")


def _back(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """To the page that the button was on, when it is one of ours."""
    wanted = request.GET.get("next", "")
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(wanted if ours else page_url(source_id))


# --- Test connection ------------------------------------------------------------------------------


@require_POST
@_permission("test")
def start_test(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    source = get_object_or_404(CryptoSource, pk=source_id)
    try:
        connection_test.request_test(source=source, actor=_actor(request), now=timezone.now())
    except FeatureNotLicensed as refused:
        messages.error(request, f"The connection cannot be tested. {refused.reason}")
    return HttpResponseRedirect(f"{page_url(source_id)}#connection")


@require_GET
@_permission("view")
def follow_test(request: HttpRequest, source_id: uuid.UUID, test_id: uuid.UUID) -> JsonResponse:
    """What ``live.js`` asks for once a second."""
    test = get_object_or_404(ConnectionTest.objects.select_related("source"), pk=test_id, source=source_id)
    over = connection_test.is_over(test=test, now=timezone.now())
    return JsonResponse({"finished": over, "html": _progress(test)})


def _progress(test: ConnectionTest) -> str:
    now = timezone.now()
    context = {
        "test": test,
        "over": connection_test.is_over(test=test, now=now),
        "note": connection_test.progress_note(test=test, now=now),
        "failed": [step for step in test.steps if step["outcome"] == "failed"],
    }
    return render_to_string("cryptosources/progress.html", context)


def _actor(request: HttpRequest) -> Actor:
    assert request.user.is_authenticated
    return Actor.person(request.user)
