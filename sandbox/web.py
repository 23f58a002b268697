"""HTTP: answers with the headers of the real services, challenges, and the error bodies of both."""

import json
import logging
import secrets
import time
import uuid
from datetime import UTC
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict

from sandbox import control, entra, graph_web, trouble_way, trouble_wire
from sandbox.audience import resource_for, split_host
from sandbox.data_plane import Reply
from sandbox.entra_errors import EntraError
from sandbox.errors import HsmError
from sandbox.service import Asked, Service, Unauthorized
from sandbox.trouble_errors import EntraThrottled
from sandbox.trouble_rules import DISCOVERY, TOKEN
from sandbox.trouble_way import Lost, TokenRefused

log = logging.getLogger(__name__)

MAX_BODY = 16 * 1024 * 1024
SERVICE = web.AppKey("service", Service)
_JSON = "application/json; charset=utf-8"
_HSTS = "max-age=31536000; includeSubDomains"
_HSM_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'",
    "Content-Type": _JSON,
    "Strict-Transport-Security": _HSTS,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}
# Own values spare the system's slower generator; within the process the time makes ids unique.
_NODE, _SEQUENCE = secrets.randbits(48) | 1 << 40, secrets.randbits(14)
_BUILD = "1.0.20261101-1-5a4db0c5-sandbox"
_ENTRA_HEADERS = {
    "Content-Type": _JSON,
    "P3P": 'CP="DSP CUR OTPi IND OTRi ONL FIN"',
    "Strict-Transport-Security": _HSTS,
    "X-Content-Type-Options": "nosniff",
    "x-ms-ests-server": "2.1.20000.1 - SANDBOX ProdSlices",
}
_NO_STORE = {"Cache-Control": "no-store, no-cache", "Expires": "-1", "Pragma": "no-cache"}
_CACHED = {
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "max-age=86400, private",
}


def build(service: Service) -> web.Application:
    """The application: one handler, because the HSM's paths need a parser of their own."""
    app = web.Application(client_max_size=MAX_BODY)
    app[SERVICE] = service
    app.router.add_route("*", "/{path:.*}", dispatch)
    app.on_response_prepare.append(_adjust_headers)
    return app


async def _adjust_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """The service names no server, and gives an empty 204 its length, as recorded."""
    response.headers.popall("Server", None)
    if response.status == 204:
        response.headers["Content-Length"] = "0"


async def dispatch(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.refresh()
    path, _, query = request.raw_path.partition("?")
    if path.startswith(control.PREFIX):
        return await control.handle(request, service, path)
    if path.startswith(graph_web.PREFIX):
        return await graph_web.handle(request, service)
    where = entra.route(path)
    if where is not None:
        return await _answer_entra(request, service, where)
    values = dict(parse_qsl(query, keep_blank_values=True))
    return await _answer_hsm(request, service, Asked(request.method, path, request.host, values))


async def _answer_hsm(request: web.Request, service: Service, asked: Asked) -> web.Response:
    try:
        return await _ask_hsm(request, service, asked)
    except Lost as lost:
        service.requests[f"{asked.op} {lost.how}"] += 1
        return await trouble_wire.lose(request, lost.how)


async def _ask_hsm(request: web.Request, service: Service, asked: Asked) -> web.Response:
    started = time.perf_counter()
    request_id = str(uuid.uuid1(_NODE, _SEQUENCE))
    headers = CIMultiDict(_HSM_HEADERS)
    headers["x-ms-request-id"] = request_id
    if request.method == "GET":
        headers["x-ms-build-version"] = _BUILD
    reply = await _operate(request, service, asked, headers)
    service.requests[f"{asked.op} {reply.status}"] += 1
    headers["x-ms-server-latency"] = str(int((time.perf_counter() - started) * 1000))
    return web.Response(status=reply.status, body=_encode(reply.body), headers=headers)


async def _operate(request: web.Request, service: Service, asked: Asked, headers: CIMultiDict[str]) -> Reply:
    """The answer, or the refusal; adds the headers that belong to one of them only."""
    try:
        reply = await _carry_out(request, service, asked, headers)
    except Unauthorized as err:
        asked.op = "challenge"
        headers["WWW-Authenticate"] = _challenge(service, asked.host, err)
        return Reply(None, 401)
    except HsmError as err:
        return _refusal(err, headers["x-ms-request-id"])
    except (web.HTTPException, Lost):
        raise
    except Exception:
        log.exception("sandbox.failed request_id=%s", headers["x-ms-request-id"])
        failure = HsmError(500, "InternalError", "The sandbox failed; see its log")
        return _refusal(failure, headers["x-ms-request-id"])
    headers["x-ms-keyvault-region"] = "sandbox"
    headers["x-ms-keyvault-network-info"] = f"conn_type=Ipv4;addr={request.remote};act_addr_fam=Ipv4;"
    return reply


async def _carry_out(
    request: web.Request, service: Service, asked: Asked, headers: CIMultiDict[str]
) -> Reply:
    authorization = request.headers.get("Authorization", "")
    if not service.calm:
        asked.content = await request.read() if request.body_exists else b""
        return await trouble_way.operate(service, asked, authorization, headers)
    service.hsm_for(asked.host)
    principal = service.authenticate(authorization, asked.host)
    asked.content = await request.read() if request.body_exists else b""
    return await service.operate(asked, principal)


def _challenge(service: Service, host: str, cause: Unauthorized) -> str:
    """The recorded challenge; with claims, as RFC 9470 and *continuous access evaluation* describe it."""
    _, port = split_host(host)
    authority = f"https://localhost:{port}" if port else "https://localhost"
    plain = f'Bearer authorization="{authority}/{service.tokens.tenant}", resource="{resource_for(host)}"'
    claims = cause.claims if isinstance(cause, TokenRefused) else ""
    return f'{plain}, error="insufficient_claims", claims="{claims}"' if claims else plain


def _refusal(error: HsmError, request_id: str) -> Reply:
    message = f"{error.message} (Activity ID: {request_id})"
    return Reply({"error": {"code": error.code, "message": message}}, error.status)


def _encode(body: object) -> bytes:
    if body is None:
        return b""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


async def _answer_entra(request: web.Request, service: Service, where: entra.EntraRoute) -> web.Response:
    request_id = str(uuid.uuid4())
    is_token = where.endpoint.endswith("token")
    headers = CIMultiDict(_ENTRA_HEADERS | (_NO_STORE if is_token else _CACHED))
    headers["x-ms-request-id"] = request_id
    try:
        status, body = 200, _compact(await _ask_entra(request, service, where, headers))
    except EntraError as err:
        status, body = err.status, _compact(_entra_refusal(err, request, service, request_id))
    except EntraThrottled as err:
        status, body = 429, err.text.encode()
        headers["Content-Type"] = "text/plain; charset=utf-8"
    except Lost as lost:
        service.requests[f"entra {where.endpoint} {lost.how}"] += 1
        return await trouble_wire.lose(request, lost.how)
    service.requests[f"entra {where.endpoint} {status}"] += 1
    return web.Response(status=status, body=body, headers=headers)


def _compact(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


async def _ask_entra(
    request: web.Request, service: Service, where: entra.EntraRoute, headers: CIMultiDict[str]
) -> dict[str, object]:
    if service.calm:
        return await _entra_answer(request, service, where)
    op = TOKEN if where.endpoint.endswith("token") else DISCOVERY
    application = str((await request.post()).get("client_id", "")) if op == TOKEN else ""
    return await trouble_way.ask_entra(
        service, op, application, headers, lambda: _entra_answer(request, service, where)
    )


async def _entra_answer(request: web.Request, service: Service, where: entra.EntraRoute) -> dict[str, object]:
    base_url = f"https://{request.host}"
    if where.endpoint.endswith("token"):
        form = {name: str(value) for name, value in (await request.post()).items()}
        return service.entra.token(where, form, request.headers.get("Authorization", ""), base_url)
    if where.endpoint == "discovery/instance":
        return service.entra.instance_discovery(base_url)
    if where.endpoint.endswith("keys"):
        return service.entra.signing_keys(where)
    return service.entra.openid_configuration(where, base_url)


def _entra_refusal(
    error: EntraError, request: web.Request, service: Service, trace_id: str
) -> dict[str, object]:
    stamp = f"{service.clock.now().astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    correlation_id = request.headers.get("client-request-id") or str(uuid.uuid4())
    lines = (
        error.description,
        f"Trace ID: {trace_id}",
        f"Correlation ID: {correlation_id}",
        f"Timestamp: {stamp}",
    )
    return {
        "error": error.error,
        "error_description": "\r\n".join(lines),
        "error_codes": [error.code],
        "timestamp": stamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"https://{request.host}/error?code={error.code}",
    }
