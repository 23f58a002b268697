"""The control API: lets a test or another process change a live sandbox.

Under ``/_sandbox/``, for callers on the same machine that send the token in DATA/control-token as a Bearer
token. JSON in and out; times are ISO 8601 with an offset.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from aiohttp import web

from sandbox import admin, control_directory, trouble_control
from sandbox.directory import App, ClientSecret, from_timestamp
from sandbox.errors import HsmError
from sandbox.estate import SECRET_LIFETIME
from sandbox.service import Service, parse_body

PREFIX = "/_sandbox/"
_LOOPBACK = ("127.", "::1")
Json = dict[str, object]


class ControlError(Exception):
    """The request makes no sense; becomes a 400 with the message."""


async def handle(request: web.Request, service: Service, path: str) -> web.Response:
    """Answer a control request: 403 for strangers, 404 for unknown paths, 400 for bad values."""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not (request.remote or "").startswith(_LOOPBACK) or not service.is_control_token(token):
        return web.json_response({"error": "control token missing or wrong"}, status=403)
    try:
        body = parse_body(await request.read())
        parts = path.removeprefix(PREFIX).split("/")
        if parts[0] in trouble_control.SUBJECTS:
            done = await trouble_control.act(service, request.method, parts, request.host, body)
        else:
            done = _act(service, request.method, parts, body)
        return web.json_response(done)
    except LookupError as err:
        return web.json_response({"error": f"not found: {err}"}, status=404)
    except (ControlError, HsmError, ValueError, TypeError) as err:
        return web.json_response({"error": str(err)}, status=400)


def _act(service: Service, method: str, parts: list[str], body: dict[str, Any]) -> Json:
    match method, parts:
        case "GET", ["state"]:
            return _state(service)
        case _, ["requests"]:
            return _requests(service, method)
        case "POST", [("clock" | "token-lifetime") as what]:
            return _set(service, what, body)
        case "POST", ["secrets", key_id, "end"]:
            return _end_secret(service, key_id, body)
        case "POST", ["apps"]:
            return _add_app(service, body)
        case _, ["apps", application_id, *rest]:
            return _on_app(service, _app(service, application_id), [method, *rest], body)
    raise LookupError("/".join(parts))


def _on_app(service: Service, app: App, asked: list[str], body: dict[str, Any]) -> Json:
    match asked:
        case ["DELETE"]:
            return {"removed": service.estate.directory.remove_app(app.application_id)}
        case ["POST", "secrets"]:
            return _add_secret(service, app, body)
        case ["POST", "grant"]:
            return _change(service, admin.grant, app, body)
        case ["POST", "revoke"]:
            return _change(service, admin.revoke, app, body)
        case [_, "certificates" | "owners", *_]:
            return control_directory.act(service.estate.directory, app, asked, body)
    raise LookupError("/".join(asked))


def _set(service: Service, what: str, body: dict[str, Any]) -> Json:
    if what == "clock":
        service.clock.advance(float(_value(body, "advance")))
    else:
        service.tokens.lifetime = int(_value(body, "seconds"))
    return {"now": service.clock.now().isoformat(), "token_lifetime": service.tokens.lifetime}


def _requests(service: Service, method: str) -> Json:
    """How many requests of each operation ended in each status, and how many operations took effect.

    DELETE begins to count anew.
    """
    counts: Json = {"requests": dict(service.requests), "effects": dict(service.effects)}
    if method == "DELETE":
        service.requests.clear()
        service.effects.clear()
    return counts


def _state(service: Service) -> Json:
    apps = [_app_json(service, app) for app in service.estate.directory.apps()]
    return {
        "now": service.clock.now().isoformat(),
        "tenant": service.tokens.tenant,
        "hsms": list(service.hsms),
        "apps": apps,
    }


def _app_json(service: Service, app: App) -> Json:
    secrets = service.estate.directory.secrets(app.application_id)
    return {
        "application_id": app.application_id,
        "object_id": app.object_id,
        "display_name": app.display_name,
        "secrets": [_secret_json(secret) for secret in secrets],
    }


def _secret_json(secret: ClientSecret) -> Json:
    return {
        "key_id": secret.key_id,
        "secret": secret.value,
        "start": from_timestamp(secret.start_at).isoformat(),
        "end": from_timestamp(secret.end_at).isoformat(),
    }


def _app(service: Service, application_id: str) -> App:
    app = service.estate.directory.app(application_id)
    if app is None:
        raise LookupError(application_id)
    return app


def _hsms(service: Service, body: dict[str, Any]) -> list[str]:
    """The HSM that the body names, else all."""
    name = body.get("hsm")
    if name is None:
        return list(service.hsms)
    if name not in service.hsms:
        raise LookupError(name)
    return [str(name)]


def _add_app(service: Service, body: dict[str, Any]) -> Json:
    grants = [str(what) for what in body.get("grants", [])]
    with service.estate.database.transaction():
        app, _ = admin.register_app(
            service.estate.directory,
            _hsms(service, body),
            str(body.get("display_name", "Application")),
            grants,
            service.clock.now(),
        )
    return _app_json(service, app)


def _add_secret(service: Service, app: App, body: dict[str, Any]) -> Json:
    now = service.clock.now()
    start, end = _time(body, "start", now), _time(body, "end", now + SECRET_LIFETIME)
    value = body.get("secret")
    return _secret_json(service.estate.directory.add_secret(app.application_id, start, end, value))


def _end_secret(service: Service, key_id: str, body: dict[str, Any]) -> Json:
    end = _time(body, "end", service.clock.now())
    if not service.estate.directory.end_secret(key_id, end):
        raise LookupError(key_id)
    return {"key_id": key_id, "end": end.isoformat()}


def _change(service: Service, function: Callable[..., None], app: App, body: dict[str, Any]) -> Json:
    with service.estate.database.transaction():
        for hsm in _hsms(service, body):
            function(service.estate.directory, hsm, app.object_id, str(_value(body, "what")))
    return {"application_id": app.application_id}


def _value(body: dict[str, Any], name: str) -> Any:
    if body.get(name) is None:
        raise ControlError(f"{name} is missing")
    return body[name]


def _time(body: dict[str, Any], name: str, default: datetime) -> datetime:
    if body.get(name) is None:
        return default
    moment = datetime.fromisoformat(str(body[name]))
    if moment.tzinfo is None:
        raise ControlError(f"{name} needs an offset from UTC")
    return moment
