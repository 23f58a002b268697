"""From an answer, a refused sign-in, a lost connection or a failed handshake to one of our errors."""

import json
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from cryptosources.providers.azure.deadline import Call
from cryptosources.providers.azure.tables import (
    ENTRA_DOWN,
    ENTRA_OTHER,
    ENTRA_ROWS,
    HSM_ROWS,
    MISSING_RIGHT,
    OTHER_ROW,
    REDIRECT_ROW,
    ROOT_REMEDY,
    SERVER_ROW,
    TLS_ROWS,
    Row,
)
from cryptosources.providers.errors import AccessDenied, ConfigurationError, OutcomeUnknown, ProviderError

_LONGEST_TEXT: Final = 400
_AADSTS: Final = re.compile(r"AADSTS(\d+)")
_ACTIVITY: Final = re.compile(r"\s*\(Activity ID: ([0-9a-fA-F-]+)\)")
_ENTRA_TRACE: Final = re.compile(r"\s*(Trace ID|Correlation ID|Timestamp): .*", re.DOTALL)


def hsm_error(call: Call, status: int, body: Any, headers: Mapping[str, str]) -> ProviderError:
    """The error for an answer of the HSM with a status that is not a success."""
    code, inner, text, activity = _read_error(body)
    row = _hsm_row(call, status, inner or code, code, text)
    error = row.error
    if status >= 500 and call.changes:
        error = OutcomeUnknown
    extra: dict[str, Any] = {}
    if issubclass(error, AccessDenied):
        right = MISSING_RIGHT.search(text)
        extra["missing_right"] = right.group(1) if right else ""
    return error(
        _sentence(row.words, text, "The HSM says"),
        operation=call.operation,
        key=call.key,
        code=inner or code or f"HTTP {status}",
        request_id=headers.get("x-ms-request-id", "") or activity,
        retry_after=retry_after_seconds(headers),
        remedy=row.remedy,
        **extra,
    )


def _hsm_row(call: Call, status: int, *details: str) -> Row:
    specific, code, text = details
    if status >= 500:
        return SERVER_ROW
    if 300 <= status < 400:
        return REDIRECT_ROW
    for row in HSM_ROWS:
        if row.status == status and (row.fits(status, specific, text) or row.fits(status, code, text)):
            return row
    return OTHER_ROW


def sign_in_error(
    call: Call, *, status: int | None, text: str, retry_after: float | None = None, request_id: str = ""
) -> ProviderError:
    """The error for a refused or failed sign-in. ``status`` is None when no answer is at hand."""
    found = _AADSTS.search(text)
    code = f"AADSTS{found.group(1)}" if found else ""
    row = _sign_in_row(status, code, text)
    return row.error(
        _sentence(row.words, _ENTRA_TRACE.sub("", text), "Entra says"),
        operation=call.operation,
        key=call.key,
        code=code or (f"HTTP {status}" if status else ""),
        request_id=request_id,
        retry_after=retry_after,
        remedy=row.remedy,
    )


def _sign_in_row(status: int | None, code: str, text: str) -> Row:
    for row in ENTRA_ROWS:
        if row.fits(status or 0, code, text):
            return row
    return ENTRA_DOWN if status is not None and status >= 500 else ENTRA_OTHER


def lost_answer(call: Call, cause: BaseException) -> ProviderError:
    """The error for a request that got no usable answer, after its connection stood."""
    late = "timed out" in str(cause) or "TimeoutError" in repr(cause)
    what = "did not answer in time" if late else "broke the connection off"
    if call.in_doubt:
        return OutcomeUnknown(
            f"The HSM {what}; it may have carried the request out.",
            operation=call.operation,
            key=call.key,
            code="TIMEOUT" if late else "CONNECTION",
        )
    return call.unavailable(
        f"The HSM or its sign-in service {what}.", code="TIMEOUT" if late else "CONNECTION"
    )


def odd_answer(call: Call, detail: str) -> ProviderError:
    """The error for a success that cannot be read: not a Managed HSM, or something between."""
    message = f"The answer is not that of a Managed HSM: {detail}."
    if call.changes:
        return OutcomeUnknown(message, operation=call.operation, key=call.key, code="ANSWER")
    return call.unavailable(message, code="ANSWER")


def tls_failure(error: OSError, host: str, call: Call) -> ProviderError:
    """The error for a TLS handshake that failed: ConfigurationError where waiting cannot help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words, remedy = TLS_ROWS.get(
            error.verify_code, (f"its certificate was not accepted ({error.verify_message})", ROOT_REMEDY)
        )
        return ConfigurationError(
            f"{host} cannot be trusted: {words}.",
            operation=call.operation,
            key=call.key,
            code=f"X509 {error.verify_code}",
            remedy=remedy,
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return ConfigurationError(
            f"{host} does not speak TLS as needed here ({error.reason or 'handshake failed'}).",
            operation=call.operation,
            key=call.key,
            code="TLS",
            remedy="Check the port, and that the server offers TLS 1.2 or newer.",
        )
    words = "did not answer in time" if isinstance(error, TimeoutError) else "broke the connection off"
    return call.unavailable(f"{host} {words} while TLS was being set up.", code="TLS")


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds from a Retry-After header (RFC 9110, 10.2.3), as a number or a date; None without one."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (then - (now or datetime.now(UTC))).total_seconds())


def _read_error(body: Any) -> tuple[str, str, str, str]:
    """Code, inner code, message and activity id of an error body; empty where the body has another form."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", "", "", ""
    inner = error.get("innererror")
    text = str(error.get("message") or "")
    activity = _ACTIVITY.search(text)
    return (
        str(error.get("code") or ""),
        str(inner.get("code") or "") if isinstance(inner, dict) else "",
        _ACTIVITY.sub("", text),
        activity.group(1) if activity else "",
    )


def _sentence(words: str, text: str, speaker: str) -> str:
    shown = " ".join(text.split())[:_LONGEST_TEXT]
    return f"{words} {speaker}: {shown}" if shown else words


def read_json(text: str) -> Any:
    """The parsed body; None when it is not JSON (a proxy's page, an empty 401)."""
    try:
        return json.loads(text)
    except ValueError:
        return None
