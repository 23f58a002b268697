"""The connection test on the page of its source: asking for it, following it, repairing what it found."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from cryptosources.errors import CycleRefused
from cryptosources.models import ConnectionTest, CryptoSource, LastTest
from cryptosources.providers.api import MISSING_RIGHT
from cryptosources.services import connection_test, key_cycle, rights, throw_away
from cryptosources.web import actor, allowed, page_url, permission
from licensing.services import FeatureNotLicensed

SEE_RIGHTS: Final = "Run the commands under “Rights” below: they give the application what it lacks."


def _at(source_id: uuid.UUID, anchor: str) -> HttpResponse:
    return HttpResponseRedirect(f"{page_url(source_id)}#{anchor}")


@require_POST
@permission("test")
def start_test(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """``full_cycle`` in the form: also run a throw-away key through its whole life."""
    source = get_object_or_404(CryptoSource, pk=source_id)
    try:
        connection_test.request_test(
            source=source,
            actor=actor(request),
            now=timezone.now(),
            full_cycle=bool(request.POST.get("full_cycle")),
        )
    except FeatureNotLicensed as refused:
        messages.error(request, f"The connection cannot be tested. {refused.reason}")
    except CycleRefused as refused:
        messages.error(request, f"No throw-away key was made. {refused}")
    return _at(source_id, "connection")


@require_GET
@permission("view")
def follow_test(request: HttpRequest, source_id: uuid.UUID, test_id: uuid.UUID) -> JsonResponse:
    """What ``live.js`` asks for once a second; ``?part=rights`` for the table of rights."""
    test = get_object_or_404(ConnectionTest.objects.select_related("source"), pk=test_id, source=source_id)
    now = timezone.now()
    over = not is_live(test.source, test, now)
    if request.GET.get("part") == "rights":
        return JsonResponse({"finished": over, "html": rights_part(request, test.source)})
    return JsonResponse({"finished": over, "html": progress_part(request, test.source, test, now)})


@require_POST
@permission("test")
def try_removal_again(request: HttpRequest, source_id: uuid.UUID, key_id: uuid.UUID) -> HttpResponse:
    """The next attempt to remove a throw-away key, now."""
    if not throw_away.try_again(key_id=key_id, actor=actor(request), now=timezone.now()):
        messages.info(request, "The throw-away key is gone, or is being removed in this moment.")
    return _at(source_id, "connection")


@require_GET
@permission("view")
def role_file(request: HttpRequest, source_id: uuid.UUID) -> HttpResponse:
    """The custom role as a file, for ``az keyvault role definition create``."""
    source = get_object_or_404(CryptoSource, pk=source_id)
    text = rights.role_file(source=source, test=rights.last_carried_out(source))
    headers = {"Content-Disposition": f'attachment; filename="{rights.ROLE_FILE}"'}
    return HttpResponse(text + "\n", content_type="application/json", headers=headers)


# --- Parts of the source's page -----------------------------------------------------------------------


def is_live(source: CryptoSource, test: ConnectionTest | None, now: datetime) -> bool:
    """Something is still going to change by itself: the test, or the removal of its key."""
    under_way = test is not None and not connection_test.is_over(test=test, now=now)
    return under_way or throw_away.owed(source).filter(due_at__isnull=False).exists()


def progress_part(
    request: HttpRequest, source: CryptoSource, test: ConnectionTest | None, now: datetime
) -> str:
    """The test's steps, and throw-away keys that are still there."""
    values: dict[str, Any] = {"source": source, "may": allowed(request), "left": source.throw_away_keys.all()}
    if test is not None:
        values |= {
            "test": test,
            "steps": list(shown_steps(test)),
            "over": connection_test.is_over(test=test, now=now),
            "note": connection_test.progress_note(test=test, now=now),
            "refused": test.healthy and _refused_since(source),
            "failed": [step for step in test.steps if step["outcome"] == "failed"],
            "rights_missing": any(
                _misses_right(step) or MISSING_RIGHT in step.get("facts", {}) for step in test.steps
            ),
            "not_begun": next((s for s in test.steps if s["name"] == key_cycle.NOT_BEGUN), None),
        }
    return render_to_string("cryptosources/progress.html", values, request)


def _refused_since(source: CryptoSource) -> bool:
    """Has a sign-in or a right been refused to an operation since the last test?"""
    # The type checker does not see what a query set of our own annotates.
    sources: Any = CryptoSource.objects.with_last_test()
    return bool(sources.filter(pk=source.pk, last_test=LastTest.REFUSED).exists())


def shown_steps(test: ConnectionTest) -> Iterator[dict[str, Any]]:
    """The steps as they are shown: of missing rights only the first says what to do, once for all."""
    told = False
    for step in test.steps:
        if _misses_right(step):
            yield {**step, "remedy": "" if told else SEE_RIGHTS}
            told = True
        else:
            yield step


def _misses_right(step: dict[str, Any]) -> bool:
    return bool(step["name"].startswith("right:") and step["code"] == "AccessDenied")


def rights_part(request: HttpRequest, source: CryptoSource) -> str:
    """The table of rights, and what repairs the missing ones."""
    test = rights.last_carried_out(source)
    report = rights.rights_report(source=source, test=test)
    values = {"source": source, "test": test, "report": report, "file_name": rights.ROLE_FILE}
    return render_to_string("cryptosources/rights.html", values, request)
