"""A running sandbox: all parts wired together, and the way of one request to an HSM."""

import hmac
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sandbox import data_plane, errors, rbac, routes
from sandbox.audience import is_loopback_name, resource_for, split_host
from sandbox.clock import Clock
from sandbox.data_plane import Call, Reply
from sandbox.entra import Entra
from sandbox.estate import DEFAULT_HOSTNAME, Estate, Options
from sandbox.hsm import HsmSettings, ManagedHsm
from sandbox.keystore import KeyStore
from sandbox.pace import AZURE, OFF, Pace
from sandbox.tokens import DEFAULT_LIFETIME, InvalidTokenError, Principal, TokenService
from sandbox.trouble import Trouble
from sandbox.trouble_rights import TroubledDirectory

API_VERSIONS = frozenset(("7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"))
_SINCE_7_3 = frozenset(("rotate", "rotationpolicy", "rng"))


class Unauthorized(Exception):
    """No token, or not a good one: to be answered with a challenge."""


@dataclass
class Asked:
    """A request to an HSM as it came in. ``op`` becomes known on the way, for the counts."""

    method: str
    path: str
    host: str
    query: dict[str, str]
    content: bytes = b""
    op: str = "unknown"


class Service:
    """Holds what outlives a request. For one event loop."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.clock = clock
        self.estate = Estate.prepare(options, clock)
        self.hsms: dict[str, HsmSettings] = {hsm.name: self.estate.hsm(hsm.name) for hsm in options.hsms}
        lifetime = options.token_lifetime or DEFAULT_LIFETIME
        self.tokens = TokenService(
            self.estate.setting("tenant"), self.estate.setting("signing_key"), clock, lifetime
        )
        self.entra = Entra(self.estate.directory, self.tokens, clock, list(self.hsms))
        self.trouble = Trouble(clock)
        self.trouble.load(options.trouble)
        self.pace = Pace() if options.pace == AZURE else None
        self._roles = TroubledDirectory(self.estate.database, self.trouble)
        self.access = rbac.AccessControl(self._roles)
        self.requests: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self._lost: tuple[str, ...] = ()
        self._control_token = self.estate.setting("control_token").encode()
        self._generation = self.estate.database.generation()

    def close(self) -> None:
        self.estate.close()

    @property
    def calm(self) -> bool:
        """No trouble and no pace: requests go straight to their operation."""
        return self.pace is None and not self.trouble.active

    def set_pace(self, pace: str) -> None:
        """``azure`` begins with full buckets."""
        self.pace = Pace() if pace == AZURE else None

    @property
    def pace_name(self) -> str:
        return OFF if self.pace is None else AZURE

    def is_control_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._control_token)

    def refresh(self) -> None:
        """Forget what was read, if anything was written since."""
        generation = self.estate.database.generation()
        if generation[0] != self._generation[0]:
            self.estate.keys.forget()
        if generation != self._generation:
            self.access.forget()
            self._generation = generation

    def refresh_rights(self, hsm: str) -> None:
        """Forget rights that were read before a rule took a role away, or let it come back."""
        lost = tuple(loaded.rule.id for loaded in self.trouble.lost_roles(hsm))
        if (hsm, *lost) != self._lost:
            self.access.forget()
            self._lost = (hsm, *lost)

    def hsm_for(self, host: str) -> HsmSettings:
        """The HSM behind a Host header. Raises HsmError 421 for a name that is not served."""
        name, _ = split_host(host)
        found = self.hsms.get(name)
        if found is None and is_loopback_name(name):
            found = self.hsms.get(DEFAULT_HOSTNAME)
        if found is None:
            raise errors.unknown_hsm(name)
        return found

    def authenticate(self, authorization: str, host: str) -> Principal:
        """Who is asking. Raises Unauthorized."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized
        try:
            return self.tokens.check(token.strip(), resource_for(host))
        except InvalidTokenError as err:
            raise Unauthorized from err

    async def operate(self, asked: Asked, principal: Principal, keys: KeyStore | None = None) -> Reply:
        """Carry out an authenticated request, on ``keys`` in place of the HSM's. Raises HsmError."""
        reply = await self._operate(asked, principal, keys or self.estate.keys)
        self.effects[asked.op] += 1
        return reply

    async def _operate(self, asked: Asked, principal: Principal, keys: KeyStore) -> Reply:
        settings = self.hsm_for(asked.host)
        version = check_api_version(asked.query)
        route = routes.parse(asked.method, asked.path)
        asked.op = route.op
        kind = route.op.rpartition(" ")[2]
        if version == "7.2" and kind in _SINCE_7_3:
            raise errors.not_supported(kind)
        self.access.check(settings.name, principal.object_id, route.action, route.scope)
        body = parse_body(asked.content)
        on_roles = rbac.OPERATIONS.get(route.op)
        if on_roles is not None:
            return on_roles(rbac.RoleCall(self._roles, settings.name, route, asked.query, body))
        hsm = ManagedHsm(f"https://{asked.host}", settings, keys, self.clock)
        return await data_plane.OPERATIONS[route.op](Call(hsm, route.name, route.version, asked.query, body))


def check_api_version(query: dict[str, str]) -> str:
    """The api-version. Raises HsmError for none or an unknown one; a next link's token stands in for it."""
    version = query.get("api-version")
    if version is None:
        if "$skiptoken" in query:
            return ""
        raise errors.missing_api_version()
    if version not in API_VERSIONS:
        raise errors.unknown_api_version(version)
    return version


def parse_body(content: bytes) -> dict[str, Any]:
    """The JSON object sent, empty where nothing was. Raises HsmError for anything else."""
    if not content:
        return {}
    try:
        body = json.loads(content)
    except ValueError as err:
        raise errors.bad_parameter("The request body is not valid JSON") from err
    if not isinstance(body, dict):
        raise errors.bad_parameter("The request body is not a JSON object")
    return body
