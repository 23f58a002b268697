"""The pages of the audit room: search, one record, and the export of what was found."""

from dataclasses import dataclass
from datetime import date, timedelta
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from audit.actors import Actor, ActorKind
from audit.export import CONTENT_TYPES, Format, export
from audit.facts import facts, subject_url
from audit.forms import SearchForm, told
from audit.models import AuditRecord
from audit.search import COUNTED, BadCursor, Cursor, Page, Search, count, find, settled
from audit.wording import WHO, subject_kind, subject_of_slug

VIEW_RECORDS = "audit.view_auditrecord"
#: Quick choices: their words, and how many days, today included.
PERIODS = (("Today", 1), ("7 days", 7), ("30 days", 30))


@dataclass(frozen=True, slots=True)
class Choice:
    """A quick choice: its words, the query that makes it, and whether it is made."""

    text: str
    query: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Focus:
    """The one subject or person that the search is narrowed to, and the query that lets go of it."""

    kind: str
    name: str
    query: str


@require_safe
def records(request: HttpRequest) -> HttpResponse:
    """Search, filters and one page of what they find."""
    _require_reader(request)
    form = SearchForm(request.GET)
    context: dict[str, Any] = {"title": "Audit", "form": form, "exists": True}
    if form.is_valid():
        context |= _found(request, form.search())
    return _page(request, "audit/list.html", context, HTTPStatus.OK)


@require_safe
def one_record(request: HttpRequest, record_id: int) -> HttpResponse:
    """Everything that one record holds."""
    _require_reader(request)
    stored = get_object_or_404(AuditRecord, pk=record_id)
    kind = subject_kind(stored.subject_type)
    context = {
        "title": "Audit record",
        "record": stored,
        "kind": kind,
        "facts": facts(stored, request.user),
        "subject_url": subject_url(stored, request.user),
        "by_person": stored.actor_kind == ActorKind.PERSON,
    }
    return _page(request, "audit/record.html", context, HTTPStatus.OK)


@require_POST
def export_records(request: HttpRequest) -> HttpResponseBase:
    """A file with everything that the search finds; 400 for a search that cannot be."""
    _require_reader(request)
    form = SearchForm(request.POST)
    if not form.is_valid():
        return _page(request, "audit/list.html", {"title": "Audit", "form": form}, HTTPStatus.BAD_REQUEST)
    try:
        written_as = Format(request.POST.get("format", ""))
    except ValueError as error:
        raise Http404("There is no such format.") from error
    search, now = form.search(), timezone.now()
    actor = Actor.person(cast(User, request.user))
    text = export(search=search, told=told(search), form=written_as, actor=actor, now=now)
    name = f"audit-{timezone.localtime(now):%Y-%m-%d-%H%M%S}.{written_as.value}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(text, content_type=CONTENT_TYPES[written_as], headers=headers)


def _found(request: HttpRequest, search: Search) -> dict[str, Any]:
    wanted = settled(search)
    page = find(wanted, before=_cursor(request))
    first = "before" not in request.GET
    total = count(wanted) if first else None
    return {
        "records": page.records,
        "search": search,
        "total": min(total, COUNTED) if total is not None else None,
        "more_than_counted": total is not None and total > COUNTED,
        "searched_to": page.searched_to,
        "older": _query(request, before=str(page.older)) if page.older else "",
        "newest": "" if first else _query(request),
        "periods": _periods(request, search),
        "focus": _focus(request, search, page),
        "exists": bool(page.records) or search.narrows or not first or AuditRecord.objects.exists(),
    }


def _cursor(request: HttpRequest) -> Cursor | None:
    text = request.GET.get("before")
    try:
        return Cursor.parse(text) if text is not None else None
    except BadCursor as error:
        raise Http404("There is no such page.") from error


def _periods(request: HttpRequest, search: Search) -> list[Choice]:
    today = timezone.localdate()
    starts = [(text, today - timedelta(days=days - 1)) for text, days in PERIODS]
    chosen = [Choice(text, _query(request, since=str(day)), _runs_from(search, day)) for text, day in starts]
    return [*chosen, Choice("All", _query(request, since=""), not search.since and not search.until)]


def _runs_from(search: Search, day: date) -> bool:
    return search.since == day and search.until is None


def _focus(request: HttpRequest, search: Search, page: Page) -> Focus | None:
    newest = page.records[0] if page.records else None
    if search.identifier:
        kind = subject_of_slug(search.subject)
        name = newest.subject_name if newest else search.identifier
        return Focus(kind.label if kind else "", name, _query(request, id="", subject=""))
    if search.by:
        name = newest.actor_name if newest else search.by
        return Focus(WHO[search.who] if search.who else "Done by", name, _query(request, by="", who=""))
    return None


def _query(request: HttpRequest, **changes: str) -> str:
    """The address's query with these fields changed; without ``before`` it starts at the newest record."""
    values = {name: str(value) for name, value in request.GET.items() if name != "before"}
    if "since" in changes:
        values.pop("until", None)
    return "?" + urlencode({name: value for name, value in (values | changes).items() if value})


def _require_reader(request: HttpRequest) -> None:
    if not request.user.has_perm(VIEW_RECORDS):
        raise PermissionDenied


def _page(
    request: HttpRequest, template: str, context: dict[str, Any], status: HTTPStatus
) -> TemplateResponse:
    frame = admin.site.each_context(request)
    return TemplateResponse(request, template, {**frame, **context}, status=status)
