"""The page of one key, and its public key for machines."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.http import content_disposition_header

from keys.attributes import Validity
from keys.lifecycle import OperationState, Residency
from keys.models import KeyOperation, KeyVersion, ManagedKey
from keys.pages.offers import OVER, offers
from keys.pages.page import OPERATE_KEYS, VIEW_KEYS, find_key, live, needs, render
from keys.pages.signatures import public_key_name
from keys.pages.use import signatures_by_day
from keys.services.validity import why_not_valid

RECENT_OPERATIONS = 8


@needs(VIEW_KEYS)
def page(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """Everything about one key; what may be asked of it, for those who may ask."""
    key = find_key(key_id)
    now = timezone.now()
    under_way = _under_way(key)
    versions = list(key.versions.all())
    for version in versions:
        version.key = key
    may_operate = request.user.has_perm(OPERATE_KEYS)
    days = signatures_by_day(key.use.all(), now=now)
    return render(
        request,
        "keys/key.html",
        title=key.name,
        key=key,
        versions=versions,
        current=next((row for row in versions if row.version == key.current_version), None),
        backups=key.backups.defer("sealed_blob"),
        days=days,
        recent_signatures=sum(count for _day, count in days),
        operations=_operations(key),
        under_way=under_way,
        trouble=_trouble(key),
        offers=offers(key, under_way=under_way, now=now) if may_operate else [],
        over=key.where in OVER,
        **_validity(key, now),
    )


@needs(VIEW_KEYS)
def live_part(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """Where the key is and what is under way."""
    key = find_key(key_id)
    under_way = _under_way(key)
    return live(
        request,
        "keys/key_live.html",
        finished=not under_way,
        key=key,
        under_way=under_way,
        trouble=_trouble(key),
        **_validity(key, timezone.now()),
    )


def _validity(key: ManagedKey, now: datetime) -> dict[str, Any]:
    """What the page says where the key is out of use, or soon will be."""
    return {
        "warn_of_validity": key.validity(now) is not Validity.VALID,
        "not_valid": why_not_valid(key, now=now) if key.where is Residency.RESIDENT else "",
    }


@needs(VIEW_KEYS)
def public_key_pem(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """The public key as PEM; ``?version=`` names another than the current one."""
    version = _version(request, key_id)
    return download(version.pem.encode(), "application/x-pem-file", f"{public_key_name(version)}.pem")


@needs(VIEW_KEYS)
def public_key_jwk(request: HttpRequest, key_id: UUID) -> HttpResponseBase:
    """The public key as a JSON Web Key; ``?version=`` names another than the current one."""
    version = _version(request, key_id)
    return download(
        json.dumps(version.jwk, indent=2).encode(), "application/jwk+json", f"{public_key_name(version)}.jwk"
    )


def download(content: bytes, media_type: str, name: str) -> HttpResponse:
    """A file for the browser to save under ``name``; never shown, whatever it holds."""
    response = HttpResponse(content, content_type=media_type)
    response.headers["Content-Disposition"] = _attachment(name)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _attachment(name: str) -> str:
    return content_disposition_header(as_attachment=True, filename=name) or "attachment"


def _under_way(key: ManagedKey) -> list[KeyOperation]:
    return _with_key(list(key.operations.under_way()), key)


def _trouble(key: ManagedKey) -> KeyOperation | None:
    """The newest operation that changes the key, when it failed: what a person should look at."""
    newest = key.operations.filter(exclusive=True).first()
    return newest if newest is not None and newest.state == OperationState.FAILED else None


def _operations(key: ManagedKey) -> list[KeyOperation]:
    return _with_key(list(key.operations.all()[:RECENT_OPERATIONS]), key)


def _with_key(operations: list[KeyOperation], key: ManagedKey) -> list[KeyOperation]:
    for operation in operations:
        operation.key = key
    return operations


def _version(request: HttpRequest, key_id: UUID) -> KeyVersion:
    key = find_key(key_id)
    wanted = request.GET.get("version") or key.current_version
    version = key.versions.filter(version=wanted).first()
    if version is None:
        raise Http404("There is no public key on record.")
    return version
