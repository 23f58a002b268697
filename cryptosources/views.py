"""The console's pages of one crypto source. Each checks a permission and calls one service."""

import uuid
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from cryptosources import consequences, trusted_roots
from cryptosources.check_views import is_live, progress_part, rights_part
from cryptosources.consequences import Consequence
from cryptosources.errors import EditConflict, InvalidSource, SourceGone, SourceInUse, TestKeyOwed
from cryptosources.forms import SourceForm
from cryptosources.models import CryptoSource
from cryptosources.services import key_cycle, sources
from cryptosources.web import (
    LIST_URL,
    actor,
    context,
    gone_goes_to_the_list,
    page_url,
    permission,
    wanted_page,
)
from cryptosources.wording import INACTIVE_STOPS, expiry_badge, health_badge, status_badge
from licensing.services import FeatureNotLicensed

EARLIER_TESTS: Final = 10
TEST_NEXT: Final = "Test its connection next."


# --- The page of a source -----------------------------------------------------------------------


@require_GET
@permission("view")
def source_page(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """Status and what depends on it, connection test, rights, keys and settings of one source."""
    now = timezone.now()
    source = get_object_or_404(CryptoSource.objects.with_keys(), pk=source_id)
    values = context(request, title=source.friendly_name) | {
        "source": source,
        "status": status_badge(source),
        "expiry": expiry_badge(source, timezone.localdate(now)),
        "roots": trusted_roots.parse(source.trusted_roots),
        "keys_url": _keys_url(request, source),
        "inactive_stops": INACTIVE_STOPS,
        "depends": _depends(request, source),
        **_connection(request, source),
    }
    return TemplateResponse(request, "cryptosources/page.html", values)


def _depends(request: HttpRequest, source: CryptoSource) -> list[tuple[Consequence, str]]:
    """What depends on the source, each with its link for those who may follow it."""
    return [
        (each, each.url if not each.permission or request.user.has_perm(each.permission) else "")
        for each in consequences.of(source, timezone.now())
    ]


def _connection(request: HttpRequest, source: CryptoSource) -> dict[str, Any]:
    """The newest test and its live parts, and the tests before it."""
    now = timezone.now()
    tests = list(source.tests.all()[: EARLIER_TESTS + 1])
    newest = tests[0] if tests else None
    return {
        "test": newest,
        "progress": progress_part(request, source, newest, now),
        "live": newest is not None and is_live(source, newest, now),
        "rights": rights_part(request, source),
        "cycle_refusal": key_cycle.refusal(source=source),
        "earlier_tests": [(test, health_badge(test.healthy)) for test in tests[1:]],
    }


def _keys_url(request: HttpRequest, source: CryptoSource) -> str:
    """The list of the source's keys; empty for those who may not see keys."""
    if not request.user.has_perm("keys.view_managedkey"):
        return ""
    try:
        return f"{reverse('admin:keys_managedkey_changelist')}?source={source.pk}"
    except NoReverseMatch:
        return ""


# --- New, Edit, Delete --------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@permission("add")
def new_source(request: HttpRequest) -> HttpResponse:
    return _new(request, cloned_from=None)


@require_http_methods(["GET", "POST"])
@permission("add")
def clone_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """The form of a new source, filled in with everything of another one but the Key."""
    return _new(request, cloned_from=get_object_or_404(CryptoSource, pk=source_id))


def _new(request: HttpRequest, *, cloned_from: CryptoSource | None) -> HttpResponse:
    form = _form(request, None, cloned_from)
    if request.method == "POST" and form.is_valid():
        source = _create(request, form)
        if source is not None:
            return _saved(request, source, f"“{source}” was created. {TEST_NEXT}")
    title = f"Clone {cloned_from}" if cloned_from else "New crypto source"
    back_url = page_url(cloned_from.pk) if cloned_from else reverse(LIST_URL)
    return _form_page(request, form, title=title, back_url=back_url)


@require_http_methods(["GET", "POST"])
@permission("change")
@gone_goes_to_the_list
def edit_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    source = get_object_or_404(CryptoSource, pk=source_id)
    form = _form(request, source)
    if request.method == "POST" and form.is_valid():
        changed = _update(request, source, form)
        if changed is not None:
            unchanged = changed.revision == form.cleaned_data["revision"]
            text = f"Nothing was changed in “{changed}”." if unchanged else f"“{changed}” was saved."
            if not sources.is_tested(changed):
                text += f" {TEST_NEXT}"
            return _saved(request, changed, text, before=source)
    return _form_page(request, form, title=f"Edit {source}", back_url=page_url(source.pk))


def _form(
    request: HttpRequest, source: CryptoSource | None, cloned_from: CryptoSource | None = None
) -> SourceForm:
    return SourceForm(
        request.POST if request.method == "POST" else None,
        source=source,
        cloned_from=cloned_from,
        may_toggle=request.user.has_perm("cryptosources.toggle_cryptosource"),
        now=timezone.now(),
    )


def _form_page(request: HttpRequest, form: SourceForm, *, title: str, back_url: str) -> HttpResponse:
    values = context(request, title=title) | {
        "form": form,
        "source": form.source,
        "cloned_from": form.cloned_from,
        "back_url": back_url,
    }
    return TemplateResponse(request, "cryptosources/form.html", values)


def _create(request: HttpRequest, form: SourceForm) -> CryptoSource | None:
    try:
        return sources.create_source(
            entered=form.settings(),
            active=form.active,
            cloned_from=form.cloned_from,
            actor=actor(request),
            now=form.now,
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
            actor=actor(request),
            now=form.now,
        )
    except InvalidSource as refused:
        form.add_problems(refused)
    except FeatureNotLicensed as refused:
        form.add_error("kind", refused.reason)
    except EditConflict as conflict:
        form.show_conflict(conflict)
    return None


def _saved(
    request: HttpRequest, source: CryptoSource, text: str, *, before: CryptoSource | None = None
) -> HttpResponse:
    messages.success(request, text)
    for advice in sources.advice(source=source, before=before, now=timezone.now()):
        messages.warning(request, advice)
    return HttpResponseRedirect(page_url(source.pk))


@require_http_methods(["GET", "POST"])
@permission("delete")
@gone_goes_to_the_list
def delete_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    source = get_object_or_404(CryptoSource, pk=source_id)
    if request.method == "POST":
        try:
            name = sources.delete_source(source_id=source_id, actor=actor(request), now=timezone.now())
        except (SourceInUse, TestKeyOwed) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(page_url(source_id))
        messages.success(request, f"“{name}” was deleted, with its Key.")
        return HttpResponseRedirect(reverse(LIST_URL))
    keys = sources.keys_of(source_id=source_id)
    values = context(request, title=f"Delete {source}?") | {
        "source": source,
        "refusal": str(SourceInUse(source.friendly_name, keys)) if keys else "",
        "back_url": page_url(source.pk),
    }
    return TemplateResponse(request, "cryptosources/delete.html", values)


# --- Active, Inactive ---------------------------------------------------------------------------


@require_POST
@permission("toggle")
@gone_goes_to_the_list
def activate_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    try:
        changed = sources.activate(source_id=source_id, actor=actor(request), now=timezone.now())
    except FeatureNotLicensed as refused:
        messages.error(request, f"It stays Inactive. {refused.reason}")
        return _back(request, source_id)
    _tell(request, source_id, "is Active now." if changed else "was Active already.")
    return _back(request, source_id)


@require_http_methods(["GET", "POST"])
@permission("toggle")
@gone_goes_to_the_list
def deactivate_source(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """At once where nothing stops with it; else first a page that lists what stops."""
    source = CryptoSource.objects.filter(pk=source_id).first()
    if source is None:
        raise SourceGone("The crypto source")
    depends = _depends(request, source)
    asks = source.is_active and bool(consequences.stopping(each for each, _url in depends))
    if request.method == "GET":
        return _deactivation_page(request, source, depends)
    if asks and not request.POST.get("confirmed"):
        query = urlencode({"next": wanted_page(request)})
        return HttpResponseRedirect(f"{request.path}?{query}")
    changed = sources.deactivate(source_id=source_id, actor=actor(request), now=timezone.now())
    _tell(request, source_id, f"is Inactive now. {INACTIVE_STOPS}" if changed else "was Inactive already.")
    return _back(request, source_id)


def _deactivation_page(
    request: HttpRequest, source: CryptoSource, depends: list[tuple[Consequence, str]]
) -> HttpResponse:
    values = context(request, title=f"Make {source} Inactive?") | {
        "source": source,
        "depends": depends,
        "inactive_stops": INACTIVE_STOPS,
        "back_url": wanted_page(request) or page_url(source.pk),
    }
    return TemplateResponse(request, "cryptosources/deactivate.html", values)


def _tell(request: HttpRequest, source_id: uuid.UUID, text: str) -> None:
    source = CryptoSource.objects.filter(pk=source_id).first()
    messages.success(request, f"“{source or 'The crypto source'}” {text}")


def _back(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """To the page that the button was on, when it is one of ours."""
    return HttpResponseRedirect(wanted_page(request) or page_url(source_id))
