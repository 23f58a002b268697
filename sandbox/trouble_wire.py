"""Losing an answer on the wire."""

import asyncio
import socket
import struct

from aiohttp import web

_LOOK_SECONDS = 0.1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def lose(request: web.Request, how: str) -> web.Response:
    """Send nothing: ``reset`` the connection (TCP RST), or ``hang`` until the client has gone.

    The response is for the server's books only; it can reach nobody.
    """
    if how == "reset":
        _reset(request)
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(_LOOK_SECONDS)
    return web.Response(status=500)


def _reset(request: web.Request) -> None:
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        return
    plain = transport.get_extra_info("socket")
    if plain is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
