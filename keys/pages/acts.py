"""Asking for an operation on a key: backup, rotation, restore, recovery, deletion and purge."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from keys.lifecycle import OperationKind
from keys.models import KeyOperation, ManagedKey
from keys.pages.impact import impact_of
from keys.pages.offers import ORDER, offer
from keys.pages.page import OPERATE_KEYS, REFUSALS, actor, find_key, needs, render
from keys.services import requests


@needs(OPERATE_KEYS)
def act(request: HttpRequest, key_id: UUID, kind: str) -> HttpResponseBase:
    """GET shows what the operation would touch; POST asks for it and goes on to its page."""
    key = find_key(key_id)
    what = _kind(kind)
    if request.method != "POST":
        return _page(request, key, what)
    try:
        operation = _ask(request, key, what)
    except REFUSALS as refusal:
        return _refused(request, key, what, refusal)
    return redirect("admin:keys_keyoperation_change", operation.pk)


def _kind(name: str) -> OperationKind:
    """The kinds that this door serves; signatures and generation have doors of their own."""
    try:
        kind = OperationKind(name)
    except ValueError as error:
        raise Http404 from error
    if kind not in ORDER or kind in (OperationKind.SIGN, OperationKind.UPDATE):
        raise Http404
    return kind


def _ask(request: HttpRequest, key: ManagedKey, kind: OperationKind) -> KeyOperation:
    now = timezone.now()
    if kind is OperationKind.PURGE:
        typed = request.POST.get("typed_name", "").strip()
        return requests.request_purge(key=key, typed_name=typed, actor=actor(request), now=now)
    return requests.request_operation(key=key, kind=kind, actor=actor(request), now=now)


def _refused(
    request: HttpRequest, key: ManagedKey, kind: OperationKind, refusal: Exception
) -> HttpResponseBase:
    if getattr(refusal, "field", "") == "typed_name":
        return _page(request, key, kind, name_error=str(refusal))
    messages.error(request, str(refusal))
    return redirect("admin:keys_managedkey_change", key.pk)


def _page(request: HttpRequest, key: ManagedKey, kind: OperationKind, **context: Any) -> HttpResponseBase:
    now = timezone.now()
    offered = offer(key, kind, now=now)
    return render(
        request,
        "keys/act.html",
        title=f"{offered.words.label} {key.name}?",
        key=key,
        offer=offered,
        impact=impact_of(key, kind, now=now),
        **context,
    )
