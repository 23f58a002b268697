"""The connection test of a Managed HSM, step by step, on a fresh client and a fresh credential.

It changes nothing at the HSM. A right that the role lists do not prove is tried on a key name that
certainly does not exist: the service refuses the right before it misses the key.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import jwt
import requests

from cryptosources.providers.api import Clock, HealthStep, Right, StepOutcome
from cryptosources.providers.azure import wire
from cryptosources.providers.azure.auth import read_endpoint
from cryptosources.providers.azure.client import API_VERSION, Answer, Challenge, HsmClient, read_address
from cryptosources.providers.azure.deadline import current_call, provider_call
from cryptosources.providers.azure.errors import hsm_error, lost_answer, odd_answer, read_json
from cryptosources.providers.azure.network import Address, connect, resolve
from cryptosources.providers.azure.rights import (
    DATA_ACTIONS,
    LABELS,
    full_action,
    granted_actions,
    how_to_grant,
)
from cryptosources.providers.config import AzureConfig, Timeouts
from cryptosources.providers.errors import (
    AccessDenied,
    ForeignBackup,
    KeyNotFound,
    ProviderError,
    UnsupportedOperation,
)

_SKEW_SECONDS: Final = 60
_ROLES: Final = "keys/providers/Microsoft.Authorization"
Found = tuple[StepOutcome, str]


class ConnectionTest:
    """One run of the test. Each step has a deadline of its own."""

    def __init__(self, config: AzureConfig, clock: Clock, timeouts: Timeouts) -> None:
        self._config = config
        self._clock = clock
        self._timeouts = timeouts
        self._client: HsmClient | None = None
        self._addresses: list[Address] = []
        self._server_time: datetime | None = None
        self._principal = ""
        self._granted: frozenset[Right] | None = None
        self._recovery_level = ""

    def run(self, needed_rights: frozenset[str] | None) -> Iterator[HealthStep]:
        """Every step as soon as it is done; ends after one that the rest needs."""
        needed = [right for right in Right if needed_rights is None or right.value in needed_rights]
        try:
            for name, label, action in self._connection_steps():
                step = self._step(name, label, action)
                yield step
                if step.outcome is StepOutcome.FAILED:
                    return
            yield self._step("clock", "Clock", self._compare_clocks)
            yield from self._right_steps(needed)
            yield self._step("purge_protection", "Purge protection", self._purge_protection)
        finally:
            if self._client is not None:
                self._client.close()

    def _connection_steps(self) -> tuple[tuple[str, str, Callable[[], Found]], ...]:
        return (
            ("address", "Address", self._check_address),
            ("endpoint", "Token endpoint", self._check_endpoint),
            ("dns", "Name resolution", self._resolve),
            ("tcp", "Connection", self._connect),
            ("tls", "TLS certificate", self._handshake),
            ("challenge", "Tenant and audience", self._compare_challenge),
            ("token", "Sign-in", self._fetch_token),
            (f"right:{DATA_ACTIONS[Right.READ]}", f"Right: {LABELS[Right.READ]}", self._read),
        )

    def _step(self, name: str, label: str, action: Callable[[], Found]) -> HealthStep:
        started = time.monotonic()
        try:
            with provider_call("health", self._timeouts):
                outcome, detail = action()
                step = HealthStep(name, label, outcome, detail)
        except ProviderError as err:
            step = HealthStep(name, label, StepOutcome.FAILED, err.message, err.code, self._remedy(err))
        return replace(step, duration_ms=round((time.monotonic() - started) * 1000))

    def _remedy(self, error: ProviderError) -> str:
        if isinstance(error, AccessDenied) and error.missing_right:
            for right in Right:
                if error.missing_right.lower() == full_action(right).lower():
                    return self._grant(right)
        return error.remedy or "Run the test again; if it fails again, show the code to whoever runs the HSM."

    def _grant(self, right: Right) -> str:
        hsm_name = self._made_client().address.host.partition(".")[0]
        return how_to_grant(right, hsm_name, self._config.application_id)

    def _made_client(self) -> HsmClient:
        if self._client is None:
            self._client = HsmClient(self._config, self._timeouts)
        return self._client

    # --- Reaching the HSM -----------------------------------------------------------------------

    def _check_address(self) -> Found:
        address = read_address(self._config)
        return StepOutcome.PASSED, f"{address.base_url} is allowed; its tokens are for {address.audience}."

    def _check_endpoint(self) -> Found:
        endpoint = read_endpoint(self._config)
        return StepOutcome.PASSED, f"Sign-in at {endpoint.authority}, tenant {endpoint.tenant}."

    def _resolve(self) -> Found:
        address = read_address(self._config)
        self._addresses = resolve(address.host, address.port)
        shown = ", ".join(sorted({str(where[0]) for _, where in self._addresses}))
        return StepOutcome.PASSED, f"{address.host} is {shown}."

    def _connect(self) -> Found:
        address = read_address(self._config)
        with connect(address.host, self._addresses) as opened:
            peer = opened.getpeername()[0]
        return StepOutcome.PASSED, f"{peer} accepts connections on port {address.port}."

    def _handshake(self) -> Found:
        client = self._made_client()
        response = self._unauthenticated(client)
        self._server_time = _server_time(response)
        roots = "with the source's own root certificates" if self._config.trusted_roots_pem.strip() else ""
        return (
            StepOutcome.PASSED,
            f"The certificate is valid for {client.address.host} {roots}".rstrip() + ".",
        )

    def _unauthenticated(self, client: HsmClient) -> requests.Response:
        """A request without a token: the HSM answers 401 with its challenge."""
        call = current_call()
        url = f"{client.address.base_url}/keys?maxresults=1&api-version={API_VERSION}"
        try:
            return client.session.get(url, timeout=(call.to_connect(), call.to_read()), allow_redirects=False)
        except (requests.RequestException, TimeoutError) as err:
            raise lost_answer(call, err) from err

    def _compare_challenge(self) -> Found:
        client = self._made_client()
        response = self._unauthenticated(client)
        challenge = Challenge.parse(response.headers.get("WWW-Authenticate", ""))
        if response.status_code != 401 or challenge is None:
            if response.status_code >= 400 and response.status_code != 401:
                raise hsm_error(
                    current_call(), response.status_code, read_json(response.text), response.headers
                )
            raise odd_answer(current_call(), "a request without a token is not answered with a challenge")
        client.sign_in.require_expected(tenant=challenge.tenant, audience=challenge.audience)
        return StepOutcome.PASSED, f"Tenant {challenge.tenant}, audience {challenge.audience}, as configured."

    # --- Signing in -----------------------------------------------------------------------------

    def _fetch_token(self) -> Found:
        sign_in = self._made_client().sign_in
        scope = f"{self._made_client().address.audience}/.default"
        token = sign_in.get_token_info(
            scope, options={"tenant_id": sign_in.tenant(), "enable_cae": True}
        ).token
        self._principal = _object_id(token)
        return StepOutcome.PASSED, f"Entra accepts the application {self._config.application_id}."

    def _read(self) -> Found:
        answer = self._send("GET", "keys?maxresults=1")
        items = answer.body.get("value") or ()
        self._recovery_level = _recovery_level(items)
        return StepOutcome.PASSED, "The HSM accepts the token, and the application may read keys."

    def _compare_clocks(self) -> Found:
        if self._server_time is None:
            return StepOutcome.SKIPPED, "The HSM's answer carries no date."
        skew = (self._clock() - self._server_time).total_seconds()
        if abs(skew) <= _SKEW_SECONDS:
            return StepOutcome.PASSED, f"This machine's clock agrees with the HSM's within {_SKEW_SECONDS} s."
        direction = "ahead of" if skew > 0 else "behind"
        return (
            StepOutcome.WARNING,
            f"This machine's clock is {abs(skew):.0f} s {direction} the HSM's; tokens may be refused. "
            "Synchronise it (NTP).",
        )

    # --- Rights ---------------------------------------------------------------------------------

    def _right_steps(self, needed: list[Right]) -> Iterator[HealthStep]:
        yield self._roles_step()
        for right in needed:
            if right is not Right.READ:
                yield self._right_step(right)

    def _roles_step(self) -> HealthStep:
        step = self._step("roles", "Role assignments", self._list_roles)
        if step.outcome is not StepOutcome.FAILED:
            return step
        detail = f"Role assignments could not be listed; rights are tried one by one. {step.detail}"
        return replace(step, outcome=StepOutcome.WARNING, detail=detail)

    def _list_roles(self) -> Found:
        assignments = self._all(f"{_ROLES}/roleAssignments")
        definitions = self._all(f"{_ROLES}/roleDefinitions")
        try:
            self._granted = granted_actions(self._principal, assignments, definitions)
        except (KeyError, TypeError, AttributeError) as err:
            raise odd_answer(current_call(), "the role lists have another form") from err
        return StepOutcome.PASSED, f"Roles give the application {len(self._granted)} of {len(Right)} rights."

    def _all(self, path: str) -> list[dict[str, Any]]:
        value = self._send("GET", path).body.get("value")
        return list(value or ())

    def _right_step(self, right: Right) -> HealthStep:
        name, label = f"right:{DATA_ACTIONS[right]}", f"Right: {LABELS[right]}"
        if self._granted is not None and right in self._granted:
            return HealthStep(name, label, StepOutcome.PASSED, "A role of the application gives it.")
        step = self._step(name, label, lambda: self._try_right(right))
        if step.outcome is StepOutcome.FAILED and step.code == "AccessDenied":
            return replace(step, remedy=self._grant(right))
        return step

    def _try_right(self, right: Right) -> Found:
        """Prove a right by a call that cannot change anything; AccessDenied when it is missing."""
        try:
            self._harmless_call(right)
        except (KeyNotFound, ForeignBackup):
            pass
        except UnsupportedOperation:
            if right is not Right.CREATE:
                raise
            return (
                StepOutcome.WARNING,
                "Cannot be proven without creating a key; the HSM did not refuse the right.",
            )
        return StepOutcome.PASSED, "The HSM allows it."

    def _harmless_call(self, right: Right) -> None:
        """Ask for the operation on a name of 128 random bits, or with a body that cannot be carried out."""
        name = f"connection-test-{secrets.token_hex(16)}"
        digest = wire.encode(bytes(32))
        method, path, body = {
            Right.CREATE: ("POST", f"keys/{name}/create", {"kty": "none"}),
            Right.READ: ("GET", f"keys/{name}/", None),
            Right.SIGN: ("POST", f"keys/{name}//sign", {"alg": "RS256", "value": digest}),
            Right.BACKUP: ("POST", f"keys/{name}/backup", None),
            Right.RESTORE: ("POST", "keys/restore", {"value": wire.encode(b"connection test")}),
            Right.DELETE: ("DELETE", f"keys/{name}", None),
            Right.PURGE: ("DELETE", f"deletedkeys/{name}", None),
            Right.READ_DELETED: ("GET", f"deletedkeys/{name}", None),
            Right.RECOVER: ("POST", f"deletedkeys/{name}/recover", None),
            Right.ROTATE: ("POST", f"keys/{name}/rotate", None),
        }[right]
        self._send(method, path, body)

    # --- Purge protection -----------------------------------------------------------------------

    def _purge_protection(self) -> Found:
        if not self._recovery_level:
            return StepOutcome.SKIPPED, "No key tells yet; it shows with the first one."
        if "Purgeable" in self._recovery_level:
            return StepOutcome.PASSED, f"Deleted keys can be purged ({self._recovery_level})."
        return (
            StepOutcome.WARNING,
            f"The HSM keeps deleted keys until their retention ends ({self._recovery_level}); "
            "keys cannot be removed after signing.",
        )

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        return self._made_client().send(method, path, body)


def _server_time(response: requests.Response) -> datetime | None:
    try:
        found = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _object_id(token: str) -> str:
    """The service principal's object id in an access token; its signature is the HSM's to check."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get("oid") or "")


def _recovery_level(items: Any) -> str:
    for item in items:
        level = (item.get("attributes") or {}).get("recoveryLevel")
        if level:
            return str(level)
    return ""
