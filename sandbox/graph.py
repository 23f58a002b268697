"""Microsoft Graph, as far as it manages an application's passwords: who may do what, and doing it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox import graph_errors, graph_resources, graph_routes
from sandbox.audience import GRAPH
from sandbox.clock import Clock
from sandbox.directory import App, Directory
from sandbox.estate import SECRET_LIFETIME
from sandbox.graph_resources import PROPERTIES, Json
from sandbox.graph_rights import PERMISSIONS, READ_ALL, WRITE_ALL, WRITE_OWNED
from sandbox.graph_routes import GraphRoute
from sandbox.tokens import InvalidTokenError, Principal, TokenService

_TOKEN_REFUSALS = {
    "audience": "Access token validation failure. Invalid audience.",
    "time": "Lifetime validation failed, the token is expired.",
}
_MAX_NAME = 256


@dataclass(frozen=True)
class GraphCall:
    """One request; ``path`` begins behind the version, ``context`` is the address of the metadata."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    context: str = ""


@dataclass(frozen=True)
class Graph:
    directory: Directory
    tokens: TokenService
    clock: Clock

    def authenticate(self, authorization: str) -> Principal:
        """Who is asking. Raises GraphError 401."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise graph_errors.invalid_token("Access token is empty.")
        try:
            return self.tokens.check(token.strip(), GRAPH)
        except InvalidTokenError as err:
            reason = _TOKEN_REFUSALS.get(str(err), "Access token validation failure.")
            raise graph_errors.invalid_token(reason) from err

    def operate(self, call: GraphCall, route: GraphRoute, principal: Principal) -> Json | None:
        """The answer's body, None for an empty one. Raises GraphError."""
        if not principal.roles & PERMISSIONS:
            raise graph_errors.denied()
        if route.op == "list":
            return self._list(call)
        app = self._find(route)
        self._check_right(principal, app, writing=route.op != "get")
        operations: dict[str, Callable[[GraphCall, App], Json | None]] = {
            "get": self._get,
            "addPassword": self._add_password,
            "removePassword": self._remove_password,
        }
        return operations[route.op](call, app)

    def _check_right(self, principal: Principal, app: App, *, writing: bool) -> None:
        """Raises GraphError 403 unless a permission of the token covers this application."""
        everywhere = {WRITE_ALL} if writing else {WRITE_ALL, READ_ALL}
        if principal.roles & everywhere:
            return
        owns = self.directory.graph_rights.owns(principal.object_id, app.application_id)
        if WRITE_OWNED not in principal.roles or not owns:
            raise graph_errors.denied()

    def _find(self, route: GraphRoute) -> App:
        for app in self.directory.apps():
            if route.named == (app.registration_id if route.id else app.application_id):
                return app
        raise graph_errors.not_found(route.named)

    def _list(self, call: GraphCall) -> Json:
        """Every permission lets its holder list all applications, as documented; all on one page."""
        wanted, select = (
            graph_routes.parse_filter(call.query),
            graph_routes.parse_select(call.query, PROPERTIES),
        )
        shown = [app for app in self.directory.apps() if wanted is None or _matches(app, *wanted)]
        value = [graph_resources.application(self.directory, app, select) for app in shown]
        return {"@odata.context": _context(call, "applications", select), "value": value}

    def _get(self, call: GraphCall, app: App) -> Json:
        select = graph_routes.parse_select(call.query, PROPERTIES)
        context: Json = {"@odata.context": _context(call, "applications", select) + "/$entity"}
        with_keys = "keyCredentials" in select
        return context | graph_resources.application(self.directory, app, select, with_keys=with_keys)

    def _add_password(self, call: GraphCall, app: App) -> Json:
        """A new password, by default good from now for two years. Its text is in this answer only."""
        given = call.body.get("passwordCredential") or {}
        name = given.get("displayName") or "" if isinstance(given, dict) else None
        if not isinstance(name, str) or len(name) > _MAX_NAME:
            raise graph_errors.bad_request("Invalid value specified for property 'passwordCredential'.")
        start = _time(given, "startDateTime") or self.clock.now()
        end = _time(given, "endDateTime") or start + SECRET_LIFETIME
        if end <= start:
            raise graph_errors.bad_request("The credential's end date is before its start date.")
        secret = self.directory.add_secret(app.application_id, start, end, display_name=name)
        context: Json = {"@odata.context": f"{call.context}#microsoft.graph.passwordCredential"}
        return context | graph_resources.password(secret, reveal=True)

    def _remove_password(self, call: GraphCall, app: App) -> None:
        key_id = str(call.body.get("keyId", "")).lower()
        if key_id not in {secret.key_id for secret in self.directory.secrets(app.application_id)}:
            raise graph_errors.unknown_password()
        self.directory.remove_secret(key_id)


def _matches(app: App, name: str, value: str) -> bool:
    if name == "appId":
        return app.application_id == value.lower()
    return app.display_name.casefold() == value.casefold()


def _context(call: GraphCall, collection: str, select: tuple[str, ...]) -> str:
    shown = f"({','.join(select)})" if select else ""
    return f"{call.context}#{collection}{shown}"


def _time(given: dict[str, Any], name: str) -> datetime | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as err:
        raise graph_errors.bad_request(f"Invalid value specified for property '{name}'.") from err
    if moment.tzinfo is None:
        raise graph_errors.bad_request(f"Invalid value specified for property '{name}'.")
    return moment
