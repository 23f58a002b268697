"""The page of one operation: its progress, its outcome, and a signature's result."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from keys import wording
from keys.lifecycle import OperationKind, OperationState, Residency, Step
from keys.models import KeyOperation
from keys.pages.key import download
from keys.pages.page import OPERATE_KEYS, REFUSALS, VIEW_OPERATIONS, actor, created, live, needs, render
from keys.pages.signatures import DER, RAW, SignatureView, signature_of
from keys.services import requests


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step as ``components/step.html`` shows it."""

    label: str
    outcome: str
    detail: str = ""
    code: str = ""
    remedy: str = ""
    duration_ms: int = 0


@needs(VIEW_OPERATIONS)
def page(request: HttpRequest, operation_id: UUID) -> HttpResponseBase:
    """The operation with its live part, which is rendered once here."""
    operation = _operation(operation_id)
    context = _context(request, operation, now=timezone.now())
    title = wording.title(operation)
    return render(request, "keys/operation.html", title=title, **context)


@needs(VIEW_OPERATIONS)
def live_part(request: HttpRequest, operation_id: UUID) -> HttpResponseBase:
    operation = _operation(operation_id)
    context = _context(request, operation, now=timezone.now())
    return live(request, "keys/operation_live.html", finished=not operation.is_under_way, **context)


@needs(VIEW_OPERATIONS)
def status(request: HttpRequest, operation_id: UUID) -> HttpResponseBase:
    """The operation for scripts. Times are ISO 8601; ``result.signature`` is base64 (ECDSA: DER)."""
    return JsonResponse(_status(_operation(operation_id)))


@needs(VIEW_OPERATIONS)
def signature_file(request: HttpRequest, operation_id: UUID) -> HttpResponseBase:
    """The signature's bytes; ``?form=raw`` for r‖s."""
    signature = signature_of(_operation(operation_id))
    form = request.GET.get("form", DER)
    if signature is None or form not in signature.forms:
        raise Http404
    suffix = "" if form == DER else f".{RAW}"
    return download(signature.value(form), "application/octet-stream", f"{signature.file_name}{suffix}.sig")


@require_POST
@needs(OPERATE_KEYS)
def retry(request: HttpRequest, operation_id: UUID) -> HttpResponseBase:
    """Take a failed operation up again where it failed."""
    operation = _operation(operation_id)
    try:
        requests.retry_operation(operation=operation, actor=actor(request), now=timezone.now())
    except REFUSALS as refusal:
        messages.error(request, str(refusal))
    return redirect("admin:keys_keyoperation_change", operation.pk)


def _operation(operation_id: UUID) -> KeyOperation:
    rows = KeyOperation.objects.select_related("key__source", "batch").defer("key__source__sealed_secret")
    return get_object_or_404(rows, pk=operation_id)


def _context(request: HttpRequest, operation: KeyOperation, *, now: datetime) -> dict[str, Any]:
    signature = signature_of(operation)
    form = request.GET.get("form", DER)
    encoding = "hex" if request.GET.get("encoding") == "hex" else "base64"
    if signature is None or form not in signature.forms:
        form = DER
    return {
        "operation": operation,
        "steps": step_lines(operation),
        "took": took(operation, now=now),
        "most_attempts": settings.MAX_ATTEMPTS,
        "done": _done(operation, now),
        "can_retry": can_retry(operation),
        "may_operate": request.user.has_perm(OPERATE_KEYS),
        "dates_left_behind": _dates_left_behind(operation),
        "signature": signature,
        "verify_url": _verify_url(operation, signature) if signature else "",
        "signature_text": signature.text(form, encoding) if signature else "",
        "form": form,
        "encoding": encoding,
    }


def _done(operation: KeyOperation, now: datetime) -> str:
    if operation.what is OperationKind.GENERATE:
        return created("The key is", operation.parameters, now=now)
    return wording.ACTS[operation.what].done


def _dates_left_behind(operation: KeyOperation) -> str:
    """What dates the key had before this rotation; empty once it has dates again."""
    key = operation.key
    rotated = operation.what is OperationKind.ROTATE and operation.state == OperationState.SUCCEEDED
    if not rotated or key.where is not Residency.RESIDENT or key.not_before or key.expires_at:
        return ""
    given = (operation.parameters.get(name) for name in ("not_before", "expires_at"))
    return wording.dates(*(datetime.fromisoformat(at) if at else None for at in given))


def _verify_url(operation: KeyOperation, signature: SignatureView) -> str:
    """The page that verifies, filled in with this signature."""
    query = {
        "what": "digest",
        "digest": signature.digest.hex(),
        "algorithm": signature.algorithm.value,
        "signature": signature.text(DER, "base64"),
    }
    return f"{reverse('admin:keys_managedkey_verify', args=[operation.key_id])}?{urlencode(query)}"


def can_retry(operation: KeyOperation) -> bool:
    """Whether the services would take it up again: it failed, and nothing else was done since."""
    if operation.what is OperationKind.PURGE:
        return False  # Whoever purges types the key's name.
    if operation.state != OperationState.FAILED or not operation.exclusive:
        return operation.state == OperationState.FAILED
    since = operation.key.operations.filter(exclusive=True, requested_at__gt=operation.requested_at)
    return not since.exists()


def step_lines(operation: KeyOperation) -> list[StepLine]:
    """The steps with how each stands: the finished ones passed, the present one, those to come."""
    current = operation.steps_done
    return [_step_line(operation, Step(name), index, current) for index, name in enumerate(operation.steps)]


def _step_line(operation: KeyOperation, step: Step, index: int, current: int) -> StepLine:
    label = wording.STEPS[step]
    if index < current:
        return StepLine(label, "passed")
    if index > current:
        return StepLine(label, "skipped" if operation.state == OperationState.FAILED else "waiting")
    outcome = {
        OperationState.PENDING: "warning" if operation.error else "waiting",
        OperationState.RUNNING: "running" if operation.claim_token else "waiting",
        OperationState.FAILED: "failed",
    }[OperationState(operation.state)]
    return StepLine(
        label, outcome, detail=operation.error, code=operation.error_code, remedy=operation.remedy
    )


def took(operation: KeyOperation, *, now: datetime) -> timedelta:
    """From the asking to the end, or until now; one of a batch counts from its own start."""
    start = operation.started_at if operation.batch_id else None
    return (operation.finished_at or now) - (start or operation.requested_at)


def _status(operation: KeyOperation) -> dict[str, Any]:
    return {
        "id": str(operation.pk),
        "kind": operation.kind,
        "key": {
            "id": str(operation.key_id),
            "name": operation.key.name,
            "residency": operation.key.residency,
        },
        "source": operation.key.source.friendly_name,
        "state": operation.state,
        "finished": not operation.is_under_way,
        "step": operation.step,
        "steps": operation.steps,
        "steps_done": operation.steps_done,
        "attempts": operation.attempts,
        "next_try_at": _iso(operation.not_before),
        "error": operation.error,
        "error_code": operation.error_code,
        "request_id": operation.request_id,
        "requested_by": operation.actor_name,
        "requested_at": _iso(operation.requested_at),
        "finished_at": _iso(operation.finished_at),
        "result": _result(operation),
    }


def _result(operation: KeyOperation) -> dict[str, str]:
    signature = signature_of(operation)
    if signature is None:
        return {}
    result = {
        "algorithm": signature.algorithm.value,
        "version": signature.version.version,
        "signature": base64.b64encode(signature.der).decode(),
    }
    if signature.algorithm.is_ecdsa:
        result["signature_raw"] = base64.b64encode(signature.value(RAW)).decode()
    return result


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
