"""Listening: TLS, signals, the ready line, a clean stop."""

import asyncio
import os
import signal
from collections.abc import Callable

from aiohttp import web

from sandbox import tls
from sandbox.clock import Clock
from sandbox.estate import Options, SandboxError, lock
from sandbox.service import Service
from sandbox.web import build

_KEEPALIVE_SECONDS = 120.0
_SHUTDOWN_SECONDS = 2.0


async def serve(options: Options, announce: Callable[[str], None], clock: Clock | None = None) -> None:
    """Serve until SIGTERM or SIGINT. ``announce`` gets one line when requests can come.

    Raises SandboxError where the address or the data directory is taken.
    """
    os.umask(0o077)
    with lock(options.data):
        service = Service(options, clock or Clock())
        try:
            await _serve(options, service, announce)
        finally:
            service.close()


async def _serve(options: Options, service: Service, announce: Callable[[str], None]) -> None:
    context = tls.server_context(options.data, [hsm.name for hsm in options.hsms], service.clock.now())
    stop = _stop_signal()
    runner = web.AppRunner(
        build(service),
        access_log=None,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        shutdown_timeout=_SHUTDOWN_SECONDS,
        handle_signals=False,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, ssl_context=context)
        try:
            await site.start()
        except OSError as err:
            raise SandboxError(f"Cannot listen on {options.host}:{options.port}: {err.strerror}") from err
        port = int(runner.addresses[0][1])
        service.estate.write_address(port, options.hsms)
        announce(f"Sandbox HSM ready at https://{options.hsms[0].name}:{port}")
        await stop.wait()
    finally:
        await runner.cleanup()


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
