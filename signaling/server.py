"""The HTTP server around `switchboard`: listening, TLS, the three paths, and an orderly end."""

import asyncio
import errno
import logging
import os
import socket
import ssl
import time
from types import TracebackType
from typing import Self

from aiohttp import web

from signaling.access import Access, client_address, origin_allowed
from signaling.connection import CLOSE_S, Connection
from signaling.ice import IceServers
from signaling.limits import Limits, Refused
from signaling.metrics import CONTENT_TYPE
from signaling.rooms import ROOM_PLACES
from signaling.switchboard import Switchboard

logger = logging.getLogger(__name__)

PATH = "/ws"
_MAX_WAITING = 256
"""Connections beyond those that the rooms can hold: clients that have not joined yet."""
_KEEPALIVE_S = 15.0
_BACKLOG = 1024
_WRITE_BUFFER_BYTES = 16 * 1024


class StartError(OSError):
    """The server cannot listen where, or as, it was told to."""


def _cannot_listen(host: str, port: int, error: OSError | OverflowError) -> str:
    """One line: that nobody can listen on `port` of `host`, why, and what to do about it."""
    what = f"cannot listen on {host}:{port}"
    if isinstance(error, OverflowError):
        return f"{what}: choose a port of at most 65535, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{what}: this machine has no such address; 0.0.0.0 means all of its IPv4"
    # asyncio's own words repeat the address.
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"{what}: {reason}; choose another port, or 0 for a free one"


def max_connections(limits: Limits) -> int:
    """How many sockets the server may have open at one time."""
    return limits.max_rooms * ROOM_PLACES + _MAX_WAITING


class SignalingServer:
    """A rendezvous server for the time of an `async with` block.

    host, port: where to listen; port 0 takes a free one. `url` says where it is. tls: a context
    for wss://; its certificate may be loaded anew at any time. ice: told to clients at the join.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        *,
        access: Access | None = None,
        tls: ssl.SSLContext | None = None,
        ice: IceServers | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._limits = limits or Limits()
        self._access = access or Access()
        self._tls = tls
        self._switchboard = Switchboard(self._limits, self._access, ice)
        self._listener: asyncio.Server | None = None
        self._silent: set[asyncio.BaseProtocol] = set()
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.on_shutdown.append(self._say_goodbye)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=CLOSE_S, keepalive_timeout=_KEEPALIVE_S
        )

    @property
    def url(self) -> str:
        """Where clients connect, for example ws://127.0.0.1:8765/ws."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self._tls else 'ws'}://{host}:{self.port}{PATH}"

    async def start(self) -> None:
        """Listen; raises `StartError` where the address cannot be had."""
        await self._runner.setup()
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._accept,
                self.host,
                self.port,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.join_timeout_s if self._tls else None,
                backlog=_BACKLOG,
            )
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            raise StartError(_cannot_listen(self.host, self.port, error)) from None
        self.port = self._listener.sockets[0].getsockname()[1]

    async def drain(self, seconds: float) -> None:
        """Tell every client that the server stops in `seconds`; wait until all left, or so long.

        Meanwhile no new room is opened, and /healthz answers 503.
        """
        self._switchboard.announce_end(seconds)
        if self._switchboard.connections:
            try:
                async with asyncio.timeout(seconds):
                    await self._switchboard.emptied.wait()
            except TimeoutError:
                logger.info("%d clients had not left", len(self._switchboard.connections))

    async def stop(self) -> None:
        """Stop listening and close every connection with 1001, going away."""
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _accept(self) -> asyncio.Protocol:
        """The protocol of a new TCP connection, which has to send its request soon.

        aiohttp would wait for it for ever, and so let anybody use up our file descriptors.
        """
        server = self._runner.server
        if server is None or len(server.connections) >= max_connections(self._limits):
            return _Refusal()
        protocol = server()
        self._silent.add(protocol)
        loop = asyncio.get_running_loop()
        loop.call_later(self._limits.join_timeout_s, self._close_silent, protocol)
        return protocol

    def _close_silent(self, protocol: web.RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            protocol.force_close()

    async def _health(self, request: web.Request) -> web.Response:
        self._silent.discard(request.protocol)
        gauges = self._switchboard.gauges()
        draining = bool(gauges["draining"])
        return web.json_response(
            {
                "status": "draining" if draining else "ok",
                "rooms": gauges["rooms"],
                "peers": gauges["peers"],
            },
            status=503 if draining else 200,
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        self._silent.discard(request.protocol)
        text = self._switchboard.metrics.render(self._switchboard.gauges())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _say_goodbye(self, _app: web.Application) -> None:
        await self._switchboard.close_all()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        self._silent.discard(request.protocol)
        board = self._switchboard
        if not origin_allowed(
            request.headers.get("Origin"), request.headers.get("Host"), self._access.origins
        ):
            board.metrics.refused["bad-origin"] += 1
            raise web.HTTPForbidden(text="pages of this origin may not connect here\n")
        address = client_address(
            request.remote,
            request.headers.getall("X-Forwarded-For", []),
            self._access.trusted_proxies,
        )
        try:
            board.throttle.connect(address, time.monotonic())
        except Refused as refusal:
            board.metrics.refused[refusal.code] += 1
            raise web.HTTPTooManyRequests(text=f"{refusal}\n") from None
        # Compression would cost 300 kB a connection, and let a small message grow without bounds.
        socket = web.WebSocketResponse(
            timeout=CLOSE_S,
            heartbeat=self._limits.heartbeat_s,
            max_msg_size=self._limits.max_message_bytes,
            writer_limit=_WRITE_BUFFER_BYTES,
            compress=False,
        )
        try:
            await socket.prepare(request)
            await board.serve(Connection(socket, request.transport, address))
        finally:
            board.throttle.disconnect(address)
        return socket


class _Refusal(asyncio.Protocol):
    """A TCP connection too many: closed as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
