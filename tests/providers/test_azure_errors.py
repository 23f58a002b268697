"""Every refusal that the vendor documents or was recorded with, and what it becomes."""

from datetime import UTC, datetime

import pytest

from cryptosources.providers.azure.deadline import Call
from cryptosources.providers.azure.errors import hsm_error, retry_after_seconds, sign_in_error
from cryptosources.providers.azure.tables import ENTRA_ROWS, HSM_ROWS, TLS_ROWS, Conflict, Row
from cryptosources.providers.config import Timeouts
from cryptosources.providers.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConfigurationError,
    CredentialExpired,
    CredentialLocked,
    ForeignBackup,
    KeyNameReserved,
    KeyNotFound,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    Throttled,
    UnsupportedOperation,
)

ACTIVITY = "3520452c-47ef-11ec-bf7c-000d3a5f7959"
PURGE = "Microsoft.KeyVault/managedHsm/keys/deletedKeys/delete"


def make_call(operation: str = "create", *, changes: bool = True) -> Call:
    return Call(operation, "invoices", Timeouts(), ends_at=0.0, changes=changes)


# status, code, inner code, message → error. Recorded ones first, then documented, then the sister
# service's forms (Key Vault), then what only a proxy or a load balancer says.
HSM_CASES: list[tuple[int, str, str, str, type[ProviderError]]] = [
    (400, "BadParameter", "", "Invalid key identifier or name", UnsupportedOperation),
    (400, "BadParameter", "", "JSON Web Key: kty is missing", UnsupportedOperation),
    (400, "NotSupported", "", "action 'rotationpolicy' not supported", UnsupportedOperation),
    (
        400,
        "MalformedBackupBlob",
        "",
        "Backup blob belongs to a different crypto domain and cannot be used with this instance.",
        ForeignBackup,
    ),
    (400, "Malformed backup blob", "", "Backup blob is corrupt.", ForeignBackup),
    (401, "", "", "", AuthenticationFailed),
    (401, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.", AuthenticationFailed),
    (403, "AccessDenied", "", f"Not authorized to access {PURGE} on /keys/invoices", AccessDenied),
    (403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized", AccessDenied),
    (403, "Forbidden", "ForbiddenByConnection", "Connection is not an approved private link", AccessDenied),
    (403, "Forbidden", "", "Public network access is disabled.", AccessDenied),
    (403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action", AccessDenied),
    (403, "Forbidden", "ForbiddenByPolicy", "The policy requires something", AccessDenied),
    (
        403,
        "Forbidden",
        "KeyDisabled",
        "Operation sign is not allowed on a disabled key.",
        UnsupportedOperation,
    ),
    (403, "Forbidden", "KeyExpired", "no", UnsupportedOperation),
    (403, "Forbidden", "", "Operation sign is not allowed on an expired key.", UnsupportedOperation),
    (403, "Forbidden", "", "Operation sign is not allowed on a not-yet-valid key.", UnsupportedOperation),
    (403, "Forbidden", "", "Operation sign is not permitted on this key.", UnsupportedOperation),
    (403, "Forbidden", "", "The maximum number of keys is reached", UnsupportedOperation),
    (404, "KeyNotFound", "", "Key not found: https://x.managedhsm.azure.net/keys/invoices", KeyNotFound),
    (404, "KeyNotFound", "", "Key not found: https://x.managedhsm.azure.net/deletedkeys/x", KeyNotFound),
    (404, "VaultNotFound", "", "Azure Key Vault 'x' does not exist.", ConfigurationError),
    (404, "", "", "", ConfigurationError),
    (408, "", "", "", ProviderUnavailable),
    (
        409,
        "Conflict",
        "",
        "User triggered Restore operation is in progress. Retry after the restore operation",
        ProviderUnavailable,
    ),
    (409, "Conflict", "", "There was a conflict restoring the key", Conflict),
    (409, "Conflict", "ObjectIsBeingDeleted", "Key x is gone", ProviderUnavailable),
    (409, "Conflict", "", "Key x is currently being deleted and cannot be re-created", ProviderUnavailable),
    (409, "Conflict", "ObjectIsDeletedButRecoverable", "Key x is taken", KeyNameReserved),
    (409, "Conflict", "", "Key x is currently in a deleted but recoverable state", KeyNameReserved),
    (421, "UnknownHsm", "", "no HSM of that name", ConfigurationError),
    (429, "Throttled", "", "Too many requests", Throttled),
    (302, "", "", "", ConfigurationError),
    (405, "MethodNotAllowed", "", "", UnsupportedOperation),
]


@pytest.mark.parametrize(("status", "code", "inner", "text", "error"), HSM_CASES)
def test_the_hsms_refusals(status: int, code: str, inner: str, text: str, error: type[ProviderError]) -> None:
    body = {"error": {"code": code, "message": f"{text} (Activity ID: {ACTIVITY})"}} if code else None
    if body and inner:
        body["error"]["innererror"] = {"code": inner}  # type: ignore[assignment]  # a nested body
    found = hsm_error(make_call(), status, body, {})
    assert type(found) is error
    assert found.operation == "create"
    assert found.key == "invoices"
    assert found.code == (inner or code or f"HTTP {status}")
    assert ACTIVITY not in found.message
    assert found.request_id == (ACTIVITY if code else "")
    assert found.outcome_known
    if text:
        assert text in found.message


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(("changes", "error"), [(True, OutcomeUnknown), (False, ProviderUnavailable)])
def test_the_hsms_own_failures(status: int, changes: bool, error: type[ProviderError]) -> None:
    found = hsm_error(make_call(changes=changes), status, "<html>Bad Gateway</html>", {})
    assert type(found) is error
    assert found.retryable
    assert found.code == f"HTTP {status}"


def test_a_missing_right_is_named() -> None:
    body = {"error": {"code": "AccessDenied", "message": f"Not authorized to access {PURGE} on /keys/x"}}
    found = hsm_error(make_call("purge"), 403, body, {"x-ms-request-id": "r-1"})
    assert isinstance(found, AccessDenied)
    assert found.missing_right == PURGE
    assert found.request_id == "r-1"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "nonsense"}, None),
        ({"Retry-After": "Mon, 23 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"Retry-After": "Mon, 23 Nov 2026 09:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_in_both_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(("headers", "seconds"), [({}, None), ({"Retry-After": "12"}, 12.0)])
def test_throttling_with_and_without_a_time(headers: dict[str, str], seconds: float | None) -> None:
    found = hsm_error(make_call(), 429, {"error": {"code": "Throttled", "message": "slow"}}, headers)
    assert isinstance(found, Throttled)
    assert found.retry_after == seconds


ENTRA_CASES: list[tuple[int | None, int | None, type[ProviderError]]] = [
    (401, 7000215, AuthenticationFailed),
    (401, 7000218, AuthenticationFailed),
    (401, 7000222, CredentialExpired),
    (400, 700016, AuthenticationFailed),
    (400, 7000112, CredentialLocked),
    (401, 700027, AuthenticationFailed),
    (400, 53003, AuthenticationFailed),
    (400, 90002, ConfigurationError),
    (400, 900023, ConfigurationError),
    (400, 500011, ConfigurationError),
    (400, 1002012, ConfigurationError),
    (400, 90033, ProviderUnavailable),
    (429, None, Throttled),
    (503, None, ProviderUnavailable),
    (400, 123456, AuthenticationFailed),
    (None, 7000215, AuthenticationFailed),
]


@pytest.mark.parametrize(("status", "number", "error"), ENTRA_CASES)
def test_entras_refusals(status: int | None, number: int | None, error: type[ProviderError]) -> None:
    text = f"AADSTS{number}: Some words. Trace ID: 1 Correlation ID: 2" if number else "unexpected"
    found = sign_in_error(make_call(), status=status, text=text)
    assert type(found) is error
    assert "Trace ID" not in found.message
    if number:
        assert found.code == f"AADSTS{number}"


def test_an_unknown_tenant_is_known_by_the_sdks_words() -> None:
    text = "Authentication failed: Unable to get authority configuration for https://login.example/T."
    assert type(sign_in_error(make_call(), status=None, text=text)) is ConfigurationError


def deciding_row(status: int, code: str, inner: str, text: str) -> Row | None:
    for row in HSM_ROWS:
        if row.status == status and (row.fits(status, inner or code, text) or row.fits(status, code, text)):
            return row
    return None


def test_every_row_decides_a_case() -> None:
    """A row that an earlier one always hides, or that nobody tried, is a mistake."""
    used = {deciding_row(*case[:4]) for case in HSM_CASES}
    assert [row for row in HSM_ROWS if row not in used] == []
    used_entra = {
        next(
            (row for row in ENTRA_ROWS if row.fits(status or 0, f"AADSTS{number}" if number else "", "")),
            None,
        )
        for status, number, _ in ENTRA_CASES
    }
    assert [row.words for row in ENTRA_ROWS if row not in used_entra and not row.text] == []


def test_every_certificate_problem_has_words_and_a_remedy() -> None:
    assert all(words and remedy for words, remedy in TLS_ROWS.values())
