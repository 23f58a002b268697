"""Signing in: what is recorded of it, and the lock after repeated failures (kept by django-axes).

People type passwords into the field for the user name. So what is typed there is stored nowhere: django-axes
counts under a keyed hash of it, and the record of a failure names the account if there is one, and nothing if
there is none. A lock holds for one name at one address: nobody is locked out by a stranger elsewhere. An IPv6
network of 64 bits counts as one address, for whoever has one address of it has them all.

The record can never be cleaned, so strangers add little to it: a name that is locked adds nothing, and names
that are nobody's add one record a minute for each address (ADR 0014).
"""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.crypto import salted_hmac

from audit.services import Actor, AuditRecord, Outcome, record

DOOR: Final = Actor.system("sign-in")
#: How often failures of unknown accounts are recorded, for each address.
UNKNOWN_EVERY: Final = timedelta(minutes=1)


# --- What django-axes asks (its settings name these) ----------------------------------------------


def veiled_name(request: HttpRequest | None, credentials: Mapping[str, Any] | None) -> str:
    """What failures are counted under instead of the typed name."""
    posted = request.POST if request else {}
    typed = (credentials or {}).get("username") or posted.get("username", "")
    return _veil(str(typed))


def counted_address(request: HttpRequest) -> str | None:
    """The address that failures are counted under."""
    return _counted(client_address(request))


def locked_page(
    request: HttpRequest, _answer: HttpResponse | None = None, _credentials: Mapping[str, Any] | None = None
) -> HttpResponse:
    """The answer to a sign-in that is locked; it tells nobody whether there is such an account."""
    minutes = math.ceil(settings.AXES_COOLOFF_TIME / timedelta(minutes=1))
    context = {"minutes": minutes, "failures": settings.AXES_FAILURE_LIMIT}
    return render(request, "people/locked.html", context, status=429)


# --- Addresses ------------------------------------------------------------------------------------


def client_address(request: HttpRequest) -> str | None:
    """Where the request comes from: what the TLS proxy saw, if there is one; None when nobody knows."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "") if settings.BEHIND_TLS_PROXY else ""
    # Proxies append, so only the last entry is our own proxy's word.
    for text in (forwarded.rpartition(",")[2], request.META.get("REMOTE_ADDR", "")):
        try:
            return str(_parsed(text.strip()))
        except ValueError:
            continue
    return None


def _parsed(text: str) -> IPv4Address | IPv6Address:
    """Of ``address``, ``address:port`` (IPv4), ``[address]`` or ``[address]:port``; ValueError."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _counted(address: str | None) -> str | None:
    """An IPv4 address itself, the first address of an IPv6 address's network."""
    parsed = ip_address(address) if address else None
    return str(IPv6Address(int(parsed) >> 64 << 64)) if isinstance(parsed, IPv6Address) else address


# --- Locks ----------------------------------------------------------------------------------------


def locked_until(*, person: User, now: datetime) -> datetime | None:
    """When the last of the person's locks ends; None when there is none."""
    ends = [
        lock["last"] + settings.AXES_COOLOFF_TIME
        for lock in _locked(now).filter(username=_veil(person.username))
    ]
    return max(ends, default=None)


def locks(*, now: datetime) -> Callable[[User], bool]:
    """Who is locked out, for a whole list: one query, made when the first one is asked about."""

    @cache
    def veils() -> frozenset[str]:
        return frozenset(_locked(now).values_list("username", flat=True))

    return lambda person: _veil(person.username) in veils()


def _locked(now: datetime) -> QuerySet[Any, dict[str, Any]]:
    """Name (veiled), address and last failure of every lock."""
    failures = AccessAttempt.objects.filter(attempt_time__gt=now - settings.AXES_COOLOFF_TIME)
    # An order would be part of the grouping.
    grouped = failures.order_by().values("username", "ip_address")
    counted = grouped.annotate(failures=Sum("failures_since_start"), last=Max("attempt_time"))
    found: QuerySet[Any, dict[str, Any]] = counted.filter(failures__gte=settings.AXES_FAILURE_LIMIT)
    return found


def unlock(*, person: User, actor: Actor, now: datetime) -> bool:
    """Forget the person's failed sign-ins, at every address, and record it. False when there were none."""
    with transaction.atomic():
        forgotten, _ = AccessAttempt.objects.filter(username=_veil(person.username)).delete()
        if forgotten:
            _record("person.unlock", actor, person, now=now)
    return bool(forgotten)


# --- The record -----------------------------------------------------------------------------------


def connect() -> None:
    """Record every sign-in, failed sign-in, lock and sign-out. After django-axes has connected its own."""
    import_module("axes.signals")
    user_logged_in.connect(_signed_in, dispatch_uid="record sign-in")
    user_logged_out.connect(_signed_out, dispatch_uid="record sign-out")
    user_login_failed.connect(_failed, dispatch_uid="record failed sign-in")


def _signed_in(request: HttpRequest | None, user: User, **_: Any) -> None:
    """A session that a program makes without a request (tests do) is nobody's sign-in."""
    if request is not None and request.method is not None:
        _record("person.sign_in", Actor.person(user), user, request=request, now=timezone.now())


def _signed_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        _record("person.sign_out", Actor.person(user), user, request=request, now=timezone.now())


def _failed(credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Runs after django-axes has counted. While a name is locked it looks at no attempt and counts none:
    these are not recorded either; the lock says it once.
    """
    locked = getattr(request, "axes_locked_out", False)
    if locked and getattr(request, "axes_failures_since_start", None) is None:
        return
    now, person = timezone.now(), _account(credentials)
    _record_failure("person.sign_in", person, Outcome.FAILED, request=request, details={}, now=now)
    if locked:
        until = {"until": (now + settings.AXES_COOLOFF_TIME).isoformat()}
        _record_failure("person.lock", person, Outcome.SUCCEEDED, request=request, details=until, now=now)


def _record_failure(
    action: str,
    person: User | None,
    outcome: Outcome,
    *,
    request: HttpRequest | None,
    details: Mapping[str, object],
    now: datetime,
) -> None:
    """Whoever tries unknown names has any number of them: their first one in a minute stands for all."""
    if person is None:
        if _said_lately(action, client_address(request) if request else None, now):
            return
        details = {**details, "repeats": "not recorded for one minute"}
    _record(action, DOOR, person, outcome, request=request, details=details, now=now)


def _said_lately(action: str, address: str | None, now: datetime) -> bool:
    """Was this recorded of an unknown account there within the minute?"""
    lately = AuditRecord.objects.filter(action=action, subject_id="", at__gt=now - UNKNOWN_EVERY).order_by()
    seen = lately.values_list("details__address", flat=True)
    return _counted(address) in map(_counted, seen)


def _account(credentials: Mapping[str, Any]) -> User | None:
    return User.objects.filter(username=credentials.get("username", "")).first()


def _record(
    action: str,
    actor: Actor,
    person: User | None,
    outcome: Outcome = Outcome.SUCCEEDED,
    *,
    request: HttpRequest | None = None,
    details: Mapping[str, object] | None = None,
    now: datetime,
) -> None:
    address = client_address(request) if request else None
    record(
        action=action,
        actor=actor,
        subject_type="person",
        subject_id=str(person.pk) if person else "",
        subject_name=person.username if person else "unknown account",
        outcome=outcome,
        details={
            **({"address": address} if address else {}),
            **({"account": "switched off"} if person and not person.is_active else {}),
            **(details or {}),
        },
        now=now,
    )


def _veil(name: str) -> str:
    return salted_hmac("keymanager.sign_in", name, algorithm="sha256").hexdigest()
