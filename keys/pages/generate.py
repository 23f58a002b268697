"""The page that generates keys: one, or many with counted names."""

from datetime import datetime

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from cryptosources.models import CryptoSource
from cryptosources.services.gate import licence_refusal
from keys.forms import GenerateForm
from keys.pages.page import OPERATE_KEYS, REFUSALS, actor, field_of, needs, render
from keys.services import batches, requests


@needs(OPERATE_KEYS)
def generate(request: HttpRequest) -> HttpResponseBase:
    """Ask for new keys; then on to the operation, or the batch, that makes them.

    ``?source=`` chooses one beforehand.
    """
    now = timezone.now()
    sources = list(CryptoSource.objects.defer("sealed_secret"))
    initial = {"source": request.GET["source"]} if "source" in request.GET else {}
    form = GenerateForm(request.POST or None, initial=initial, sources=sources, now=now)
    if request.method == "POST" and form.is_valid():
        try:
            return _ask(request, form, now)
        except REFUSALS as refusal:
            form.add_error(field_of(refusal) or None, str(refusal))
    return render(
        request,
        "keys/generate.html",
        title="Generate keys",
        form=form,
        sources=_with_refusals(sources, now),
        back_url=reverse("admin:keys_managedkey_changelist"),
    )


def _ask(request: HttpRequest, form: GenerateForm, now: datetime) -> HttpResponseBase:
    data = form.cleaned_data
    source, algorithm, token, attributes = data["source"], data["algorithm"], data["token"], form.attributes
    if len(form.names) == 1:
        operation = requests.generate_key(
            source=source,
            name=form.names[0],
            algorithm=algorithm,
            attributes=attributes,
            token=token,
            actor=actor(request),
            now=now,
        )
        return redirect("admin:keys_keyoperation_change", operation.pk)
    batch = batches.generate_batch(
        token=token,
        source=source,
        names=form.names,
        algorithm=algorithm,
        attributes=attributes,
        actor=actor(request),
        now=now,
    )
    return redirect("admin:keys_keyoperation_batch", batch.pk)


def _with_refusals(sources: list[CryptoSource], now: datetime) -> list[tuple[CryptoSource, str]]:
    """Each source with the licence's reason against it; empty when it is licensed."""
    kinds = {source.provider_kind for source in sources}
    reasons = {kind: licence_refusal(kind=kind, now=now) for kind in kinds}
    return [(source, reasons[source.provider_kind]) for source in sources]
