"""The WebSocket server around `rooms`."""

import asyncio
import json
import logging
import time
from types import TracebackType
from typing import Any, NoReturn, Self

from aiohttp import WSCloseCode, WSMsgType, web

from signaling.rooms import ROOM_PLACES, Limits, Refused, Rooms

logger = logging.getLogger(__name__)

PATH = "/ws"
_CLOSE_S = 2.0
_MAX_WAITING = 256
"""Connections beyond those that the rooms can hold: clients that have not joined yet."""


class StartError(OSError):
    """The server cannot listen where it was told to."""


class SignalingServer:
    """A rendezvous server for the time of an `async with` block.

    host, port: where to listen; port 0 takes a free one. `url` says where it is.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None
    ) -> None:
        self.host = host
        self.port = port
        self._limits = limits or Limits()
        self._rooms: Rooms[web.WebSocketResponse] = Rooms(self._limits)
        self._sockets: set[web.WebSocketResponse] = set()
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        app.router.add_get("/healthz", self._health)
        app.on_shutdown.append(self._say_goodbye)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_S)

    @property
    def url(self) -> str:
        """Where clients connect, for example ws://127.0.0.1:8765/ws."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{PATH}"

    async def start(self) -> None:
        """Listen; raises `StartError` where the address cannot be had."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            reason = getattr(error, "strerror", None) or error
            raise StartError(
                f"cannot listen on {self.host}:{self.port}: {reason};"
                " choose another port, or 0 for a free one"
            ) from None
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Tell every client that the server goes away, then stop listening."""
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

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {"status": "ok", "rooms": len(self._rooms), "peers": self._rooms.peers}
        )

    async def _say_goodbye(self, _app: web.Application) -> None:
        closing = [
            socket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutdown")
            for socket in self._sockets
        ]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        if len(self._sockets) >= self._limits.max_rooms * ROOM_PLACES + _MAX_WAITING:
            raise web.HTTPServiceUnavailable(text="too many connections: try again later")
        socket = web.WebSocketResponse(
            timeout=_CLOSE_S,
            heartbeat=self._limits.heartbeat_s,
            max_msg_size=self._limits.max_message_bytes,
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await self._converse(socket, request.remote or "")
        except Refused as refusal:
            await _send(socket, {"type": "error", "code": refusal.code, "reason": str(refusal)})
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=refusal.code.encode())
        finally:
            self._sockets.discard(socket)
        return socket

    async def _converse(self, socket: web.WebSocketResponse, address: str) -> None:
        """One client from its join to its end; raises `Refused` for what ends it early."""
        join = await self._receive(socket, self._limits.join_timeout_s)
        if join is None:
            return
        if join.get("type") != "join":
            raise Refused("join-first", 'the first message must be {"type": "join", "room": NAME}')
        name = join.get("room")
        others = self._rooms.join(name, socket, address, time.monotonic())
        room = str(name)
        try:
            await _send(socket, {"type": "joined", "peers": len(others)})
            await _send_all(others, {"type": "peer-joined"})
            while (message := await self._receive(socket, self._limits.idle_timeout_s)) is not None:
                await self._relay(room, socket, message)
        finally:
            await _send_all(self._rooms.leave(room, socket), {"type": "peer-left"})

    async def _relay(
        self, room: str, socket: web.WebSocketResponse, message: dict[str, Any]
    ) -> None:
        if message.get("type") != "message" or "data" not in message:
            raise Refused("bad-message", 'expected {"type": "message", "data": ...}')
        others = self._rooms.others(room, socket)
        if others:
            await _send_all(others, {"type": "message", "data": message["data"]})
        else:
            reason = "nobody else is in the room"
            await _send(socket, {"type": "error", "code": "no-peer", "reason": reason})

    async def _receive(
        self, socket: web.WebSocketResponse, timeout_s: float
    ) -> dict[str, Any] | None:
        """The next JSON object, or None at the connection's end."""
        try:
            # Not receive's own timeout, which starts afresh with every ping and pong.
            async with asyncio.timeout(timeout_s):
                message = await socket.receive()
        except TimeoutError:
            raise Refused("idle", f"nothing came for {timeout_s:g} s") from None
        if message.type is WSMsgType.BINARY:
            raise Refused("bad-message", "messages are JSON text, not binary")
        if message.type is not WSMsgType.TEXT:
            return None  # closed, or too large, in which case aiohttp has closed it with code 1009
        try:
            value = json.loads(message.data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise Refused("bad-message", "a message is no JSON") from None
        if not isinstance(value, dict):
            raise Refused("bad-message", "a message is no JSON object")
        return value


def _refuse_constant(name: str) -> NoReturn:
    """NaN and the infinities, which Python reads and browsers refuse."""
    raise ValueError(name)


async def _send(socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
    """Send, or drop where the other end has just gone: its own handler notices that."""
    try:
        await socket.send_str(json.dumps(message))
    except (ConnectionError, RuntimeError):
        logger.debug("a client left before %s reached it", message["type"])


async def _send_all(sockets: list[web.WebSocketResponse], message: dict[str, Any]) -> None:
    for socket in sockets:
        await _send(socket, message)
