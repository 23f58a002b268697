"""Asking for a signature over a file or a digest."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from keys.forms import DIGEST, FILE, SignForm
from keys.lifecycle import OperationKind
from keys.models import KeyOperation
from keys.pages.offers import offer
from keys.pages.page import OPERATE_KEYS, REFUSALS, actor, field_of, find_key, key_url, needs, render
from keys.services import requests


@needs(OPERATE_KEYS)
def sign(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """Ask for a signature; then on to its operation, whose page shows the result."""
    key = find_key(key_id)
    form = SignForm(request.POST or None, request.FILES or None, key=key)
    if request.method == "POST" and form.is_valid():
        try:
            operation = _ask(request, form)
        except REFUSALS as refusal:
            form = _refused(form, refusal)
        else:
            return redirect("admin:keys_keyoperation_change", operation.pk)
    offered = offer(key, OperationKind.SIGN, now=timezone.now())
    return render(
        request,
        "keys/sign.html",
        title=f"Sign with {key.name}",
        key=key,
        form=form,
        offer=offered,
        back_url=key_url(key),
    )


def _ask(request: HttpRequest, form: SignForm) -> KeyOperation:
    return requests.request_signature(
        key=form.key,
        algorithm=form.cleaned_data["algorithm"],
        digest=form.cleaned_data["digest_bytes"],
        label=form.label_or_file,
        actor=actor(request),
        now=timezone.now(),
    )


def _refused(form: SignForm, refusal: Exception) -> SignForm:
    """The form to show again, with the refusal at its field where it has that one."""
    form = _with_digest(form)
    field = field_of(refusal)
    form.add_error(field if field in form.fields else None, str(refusal))
    return form


def _with_digest(form: SignForm) -> SignForm:
    """The same form with a file's digest in its place: a browser would make the person choose it again."""
    if form.cleaned_data["what"] != FILE:
        return form
    entered = {
        "what": DIGEST,
        "digest": form.cleaned_data["digest_bytes"].hex(),
        "algorithm": form.cleaned_data["algorithm"].value,
        "label": form.label_or_file,
    }
    again = SignForm(entered, key=form.key)
    again.full_clean()
    return again
