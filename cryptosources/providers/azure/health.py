"""The connection test of a Managed HSM, step by step, on a fresh client and a fresh credential.

It changes nothing at the HSM. A right that the role lists do not prove is tried on a key name that
certainly does not exist: the service refuses the right before it misses the key.
"""

import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import jwt
import requests

from cryptosources.providers.advice import next_thing
from cryptosources.providers.api import OBJECT_ID, Clock, HealthStep, KeyAttributes, Right, StepOutcome
from cryptosources.providers.azure import wire
from cryptosources.providers.azure.auth import Challenge, read_endpoint
from cryptosources.providers.azure.client import API_VERSION, Answer, HsmClient, read_address
from cryptosources.providers.azure.deadline import current_call, provider_call
from cryptosources.providers.azure.errors import hsm_error, lost_answer, odd_answer, read_json
from cryptosources.providers.azure.network import Address, connect, handshake, resolve, tls_context
from cryptosources.providers.azure.rights import (
    DATA_ACTIONS,
    LABELS,
    granted_rights,
    how_to_grant,
    object_id_or_nothing,
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


class _Found(NamedTuple):
    """What a step found. A failure is raised instead."""

    detail: str
    outcome: StepOutcome = StepOutcome.PASSED
    remedy: str = ""
    facts: dict[str, str] = {}


class ConnectionTest:
    """One run of the test. Each step has a deadline of its own."""

    def __init__(self, config: AzureConfig, clock: Clock, timeouts: Timeouts) -> None:
        self._config = config
        self._clock = clock
        self._timeouts = timeouts
        self._client: HsmClient | None = None
        self._addresses: list[Address] = []
        self._skew: float | None = None
        self._principal = ""
        self._granted: frozenset[Right] = frozenset()
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

    def _connection_steps(self) -> tuple[tuple[str, str, Callable[[], _Found]], ...]:
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

    def _step(self, name: str, label: str, action: Callable[[], _Found]) -> HealthStep:
        started = time.monotonic()
        try:
            with provider_call("health", self._timeouts):
                found = action()
                step = HealthStep(
                    name, label, found.outcome, found.detail, remedy=found.remedy, facts=found.facts
                )
        except ProviderError as err:
            step = self._failed(name, label, err)
        return replace(step, duration_ms=round((time.monotonic() - started) * 1000))

    def _failed(self, name: str, label: str, error: ProviderError) -> HealthStep:
        detail, remedy = error.message, next_thing(error)
        if isinstance(error, AccessDenied) and error.missing_right:
            detail = f"The application lacks the right {error.missing_right}."
            remedy = how_to_grant(error.missing_right, self._config.application_id)
        return HealthStep(name, label, StepOutcome.FAILED, detail, error.code, remedy)

    def _made_client(self) -> HsmClient:
        if self._client is None:
            self._client = HsmClient(self._config, self._timeouts)
        return self._client

    # --- Reaching the HSM -----------------------------------------------------------------------

    def _check_address(self) -> _Found:
        address = read_address(self._config)
        return _Found(f"{address.base_url} is allowed; its tokens are for {address.audience}.")

    def _check_endpoint(self) -> _Found:
        endpoint = read_endpoint(self._config)
        return _Found(f"Sign-in at {endpoint.authority}, tenant {endpoint.tenant}.")

    def _resolve(self) -> _Found:
        address = read_address(self._config)
        self._addresses = resolve(address.host, address.port)
        shown = ", ".join(sorted({str(where[0]) for _, where in self._addresses}))
        return _Found(f"{address.host} is {shown}.")

    def _connect(self) -> _Found:
        address = read_address(self._config)
        with connect(address.host, self._addresses) as opened:
            peer = opened.getpeername()[0]
        return _Found(f"{peer} accepts connections on port {address.port}.")

    def _handshake(self) -> _Found:
        address = read_address(self._config)
        context = tls_context(self._config.trusted_roots_pem)
        with handshake(connect(address.host, self._addresses), address.host, context) as secured:
            until = _day((secured.getpeercert() or {}).get("notAfter"))
            return _Found(f"{secured.version()}; the certificate for {address.host} is good until {until}.")

    def _compare_challenge(self) -> _Found:
        """A request without a token: the HSM answers 401 with what it wants."""
        client, call = self._made_client(), current_call()
        url = f"{client.address.base_url}/keys?maxresults=1&api-version={API_VERSION}"
        try:
            response = client.session.get(
                url, timeout=(call.to_connect(), call.to_read()), allow_redirects=False
            )
        except (requests.RequestException, TimeoutError) as err:
            raise lost_answer(call, err) from err
        self._skew = self._measure_skew(response)
        challenge = Challenge.parse(response.headers.get("WWW-Authenticate", ""))
        if response.status_code != 401 or challenge is None:
            raise self._no_challenge(response)
        client.sign_in.require_expected(tenant=challenge.tenant, audience=challenge.audience)
        return _Found(f"Tenant {challenge.tenant}, audience {challenge.audience}, as configured.")

    def _no_challenge(self, response: requests.Response) -> ProviderError:
        if response.status_code >= 300 and response.status_code != 401:
            return hsm_error(current_call(), response.status_code, read_json(response.text), response.headers)
        return odd_answer(current_call(), "a request without a token is not answered with a challenge")

    # --- Signing in -----------------------------------------------------------------------------

    def _fetch_token(self) -> _Found:
        client = self._made_client()
        token = client.sign_in.get_token_info(
            f"{client.address.audience}/.default",
            options={"tenant_id": client.sign_in.tenant(), "enable_cae": True},
        )
        self._principal = object_id_in(token.token)
        facts = {OBJECT_ID: self._principal} if self._principal else {}
        return _Found(f"Entra accepts the application {self._config.application_id}.", facts=facts)

    def _read(self) -> _Found:
        self._recovery_level = _recovery_level(self._send("GET", "keys?maxresults=1"))
        return _Found("The HSM accepts the token, and the application may read keys.")

    def _measure_skew(self, response: requests.Response) -> float | None:
        """Seconds by which this machine's clock is ahead of the answer's Date; None without one."""
        try:
            there = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return None
        return (self._clock() - there).total_seconds() if there.tzinfo else None

    def _compare_clocks(self) -> _Found:
        if self._skew is None:
            return _Found("The HSM's answer carries no date.", StepOutcome.SKIPPED)
        if abs(self._skew) <= _SKEW_SECONDS:
            return _Found(f"This machine's clock agrees with the HSM's within {_SKEW_SECONDS} s.")
        direction = "ahead of" if self._skew > 0 else "behind"
        return _Found(
            f"This machine's clock is {abs(self._skew):.0f} s {direction} the HSM's; tokens may be refused.",
            StepOutcome.WARNING,
            "Synchronise this machine's clock (NTP).",
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

    def _list_roles(self) -> _Found:
        assignments = self._send("GET", f"{_ROLES}/roleAssignments").body.get("value") or ()
        definitions = self._send("GET", f"{_ROLES}/roleDefinitions").body.get("value") or ()
        try:
            self._granted = granted_rights(self._principal, assignments, definitions)
        except (KeyError, TypeError, AttributeError) as err:
            raise odd_answer(current_call(), "the role lists have another form") from err
        return _Found(f"Roles give the application {len(self._granted)} of {len(Right)} rights.")

    def _right_step(self, right: Right) -> HealthStep:
        return self._step(
            f"right:{DATA_ACTIONS[right]}", f"Right: {LABELS[right]}", lambda: self._prove_right(right)
        )

    def _prove_right(self, right: Right) -> _Found:
        """By the roles, else by a call that cannot change anything. AccessDenied when it is missing."""
        if right in self._granted:
            return _Found("A role of the application gives it.")
        try:
            self._harmless_call(right)
        except (KeyNotFound, ForeignBackup):
            pass
        except UnsupportedOperation:
            if right is not Right.CREATE:
                raise
            return _Found(
                "Cannot be proven without creating a key; the HSM did not refuse the right.",
                StepOutcome.WARNING,
                "Generate a key to be sure.",
            )
        return _Found("The HSM allows it.")

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
            Right.UPDATE: ("PATCH", f"keys/{name}/", wire.update_body(KeyAttributes())),
        }[right]
        self._send(method, path, body)

    # --- Purge protection -----------------------------------------------------------------------

    def _purge_protection(self) -> _Found:
        level = self._recovery_level or self._level_of_deleted_keys()
        if not level:
            return _Found("No key tells yet; it shows with the first one.", StepOutcome.SKIPPED)
        if "Purgeable" in level:
            return _Found(f"Deleted keys can be purged ({level}).")
        return _Found(
            f"The HSM keeps deleted keys until their retention ends ({level}).",
            StepOutcome.WARNING,
            "Nobody can switch this off; keys of this HSM cannot be removed after signing.",
        )

    def _level_of_deleted_keys(self) -> str:
        try:
            return _recovery_level(self._send("GET", "deletedkeys?maxresults=1"))
        except AccessDenied:
            return ""

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        return self._made_client().send(method, path, body)


def object_id_in(token: str) -> str:
    """The service principal's object id in an access token, empty without one.

    The token's signature is the HSM's to check, so the claim may be anything and is shown in a shell line.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return object_id_or_nothing(claims.get("oid"))


def _day(told: object) -> str:
    """The day (UTC) of a time as OpenSSL writes it, such as ``Nov 23 21:37:26 2027 GMT``."""
    try:
        at = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(told)), UTC)
    except ValueError:
        return "an unknown date"
    return f"{at.day} {at:%b %Y}"


def _recovery_level(page: Answer) -> str:
    """The first recoveryLevel on a page of keys; empty when there is none."""
    try:
        levels = [item["attributes"].get("recoveryLevel") for item in page.body.get("value") or ()]
    except (KeyError, TypeError, AttributeError) as err:
        raise odd_answer(current_call(), "the list of keys has another form") from err
    return next((str(level) for level in levels if level), "")
