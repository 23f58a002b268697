"""The page that changes a key's validity dates, its enabled state and its tags."""

from uuid import UUID

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from keys.forms import UpdateForm
from keys.lifecycle import OperationKind
from keys.pages.offers import offer
from keys.pages.page import OPERATE_KEYS, REFUSALS, actor, field_of, find_key, key_url, needs, render
from keys.services import requests


@needs(OPERATE_KEYS)
def update(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """The form with what the key has; then on to the operation that changes it."""
    key = find_key(key_id)
    form = UpdateForm(request.POST or None, key=key)
    if request.method == "POST" and form.is_valid():
        try:
            operation = requests.request_update(
                key=key, attributes=form.attributes, actor=actor(request), now=timezone.now()
            )
        except REFUSALS as refusal:
            field = field_of(refusal)
            form.add_error(field if field in form.fields else None, str(refusal))
        else:
            return redirect("admin:keys_keyoperation_change", operation.pk)
    return render(
        request,
        "keys/update.html",
        title=f"Change validity and tags of {key.name}",
        key=key,
        form=form,
        offer=offer(key, OperationKind.UPDATE, now=timezone.now()),
        back_url=key_url(key),
    )
