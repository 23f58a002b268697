"""Microsoft Graph over HTTP: its headers, its error body, empty answers."""

import json
import uuid
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict

from sandbox import graph_errors, graph_routes, trouble_way, trouble_wire
from sandbox.errors import HsmError
from sandbox.graph import Graph, GraphCall
from sandbox.graph_errors import GraphError
from sandbox.service import Service, parse_body
from sandbox.trouble_way import Lost

PREFIX = "/v1.0/"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Type": "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8",
    "OData-Version": "4.0",
    "Strict-Transport-Security": "max-age=31536000",
}
_GRAPH_ITSELF = "00000003-0000-0000-c000-000000000000"


async def handle(request: web.Request, service: Service) -> web.Response:
    """Answer a request below ``PREFIX``."""
    request_id = str(uuid.uuid4())
    headers = CIMultiDict(_HEADERS)
    headers["request-id"] = request_id
    headers["client-request-id"] = request.headers.get("client-request-id") or request_id
    op = "unknown"
    try:
        call = await _read(request)
        graph = Graph(service.estate.directory, service.tokens, service.clock)
        principal = graph.authenticate(request.headers.get("Authorization", ""))
        route = graph_routes.parse(call.method, call.path)
        op = route.op
        body = await trouble_way.ask_graph(
            service,
            op,
            principal.application_id,
            headers,
            lambda: graph.operate(call, route, principal),
        )
        status = 204 if body is None else 200
    except Lost as lost:
        service.requests[f"graph {op} {lost.how}"] += 1
        return await trouble_wire.lose(request, lost.how)
    except GraphError as err:
        status, body = err.status, _refusal(err, service, headers)
        if status == 401:
            headers["WWW-Authenticate"] = _challenge(request)
    service.requests[f"graph {op} {status}"] += 1
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    return web.Response(status=status, body=content, headers=headers)


async def _read(request: web.Request) -> GraphCall:
    path, _, query = request.raw_path.partition("?")
    base_url = f"https://{request.host}"
    try:
        body = parse_body(await request.read())
    except HsmError as err:
        raise graph_errors.bad_request("Unable to read JSON request payload.") from err
    values = dict(parse_qsl(query, keep_blank_values=True))
    return GraphCall(request.method, path.removeprefix(PREFIX), values, body, f"{base_url}{PREFIX}$metadata")


def _refusal(error: GraphError, service: Service, headers: "CIMultiDict[str]") -> dict[str, object]:
    inner = {
        "date": f"{service.clock.now():%Y-%m-%dT%H:%M:%S}",
        "request-id": headers["request-id"],
        "client-request-id": headers["client-request-id"],
    }
    return {"error": {"code": error.code, "message": error.message, "innerError": inner}}


def _challenge(request: web.Request) -> str:
    where = f"https://{request.host}/common/oauth2/authorize"
    return f'Bearer realm="", authorization_uri="{where}", client_id="{_GRAPH_ITSELF}"'
