"""Asking for a signature over a file or a digest."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from keys.forms import DIGEST, FILE, SignForm
from keys.lifecycle import OperationKind
from keys.pages.offers import offer
from keys.pages.page import OPERATE_KEYS, REFUSALS, actor, field_of, find_key, key_url, needs, render
from keys.services import requests


@needs(OPERATE_KEYS)
def sign(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """Ask for a signature; then on to its operation, whose page shows the result."""
    key = find_key(key_id)
    now = timezone.now()
    form = SignForm(request.POST or None, request.FILES or None, key=key)
    if request.method == "POST" and form.is_valid():
        entered = form.cleaned_data
        try:
            operation = requests.request_signature(
                key=key,
                algorithm=entered["algorithm"],
                digest=entered["digest_bytes"],
                label=form.label_or_file,
                actor=actor(request),
                now=now,
            )
        except REFUSALS as refusal:
            form = _with_digest(form)
            form.add_error(_own_field(form, refusal), str(refusal))
        else:
            return redirect("admin:keys_keyoperation_change", operation.pk)
    offered = offer(key, OperationKind.SIGN, now=now)
    return render(
        request,
        "keys/sign.html",
        title=f"Sign with {key.name}",
        key=key,
        form=form,
        offer=offered,
        back_url=key_url(key),
    )


def _own_field(form: SignForm, refusal: Exception) -> str | None:
    field = field_of(refusal)
    return field if field in form.fields else None


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
