"""The console's pages and one more that shows every component, for the browser tests."""

from datetime import timedelta
from pathlib import Path

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import RequestContext, Template
from django.urls import path
from django.utils import timezone

from keymanager.urls import urlpatterns as console_urls
from tests.ui.forms import EveryControl

OUTCOMES = ("passed", "warning", "failed", "skipped", "running", "waiting")
GALLERY = Path(__file__).with_name("gallery.html")


class LiveAnswers:
    """What the live part is told, one answer a request; the last one stays. An int is an error status."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[dict[str, object] | int] = []

    def next(self) -> dict[str, object] | int:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


live_answers = LiveAnswers()


def gallery(request: HttpRequest) -> HttpResponse:
    steps = [
        {"label": f"A step that {o}", "outcome": o, "detail": "What was found", "duration_ms": 12}
        for o in OUTCOMES
    ]
    steps[2] |= {"code": "AADSTS7000215", "remedy": "Copy the secret's value, not its id."}
    context = {
        **admin.site.each_context(request),
        "steps": steps,
        "moment": timezone.now() - timedelta(minutes=3, seconds=20),
        "form": EveryControl({"backup": "on", "revision": "1"} if "wrong" in request.GET else None),
    }
    return HttpResponse(Template(GALLERY.read_text()).render(RequestContext(request, context)))


def gallery_live(request: HttpRequest) -> HttpResponse:
    answer = live_answers.next()
    return HttpResponse(status=answer) if isinstance(answer, int) else JsonResponse(answer)


def gallery_sent(request: HttpRequest) -> HttpResponse:
    """What was in the file that came."""
    (document,) = request.FILES.getlist("document")
    return HttpResponse(document.read(), content_type="text/plain")


urlpatterns = [
    path("gallery/", gallery),
    path("gallery/live/", gallery_live),
    path("gallery/sent/", gallery_sent),
    *console_urls,
]
