"""The client of the rendezvous server: how two peers exchange what WebRTC needs to connect.

The protocol is the server's (signaling/README.md). What the other peer sends through it is as
untrusted as anything else from the network: bounded here, and for the caller to check.

A connection that is lost is made again, and the place in the room taken back by the secret that
came with the first join; where the server no longer keeps it, for example because it was started
anew, the room is joined afresh. Both look for the server for `patience_s`, ever more slowly.
"""

import asyncio
import json
import logging
import random
import ssl
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp import WSCloseCode, WSMsgType

from gemino.errors import SignalingError, SignalingRefused, SignalingUnreachable

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 2.0
_ANSWER_S = 10.0
_HEARTBEAT_S = 15.0
_CLOSE_S = 1.0
_MAX_SECRET = 256
_EVENTS = ("peer-joined", "peer-lost", "peer-rejoined", "peer-left", "bye")
_NOTES = ("pong", "going-away")
_BUSY_STATUS = (429, 502, 503, 504)
_SEND_ATTEMPTS = 3
_BUSY_CODES = ("going-away", "too-many-rooms")

_Socket = aiohttp.ClientWebSocketResponse[bool]


class SignalingClient:
    """One peer's place in a room, for the time of an `async with` block.

    url: of the server, ws://HOST:PORT or wss://HOST; /ws is meant where there is no path.
    room: 1..64 letters, digits, dots, - and _. token: for a server that asks for one.
    create: be the first in the room, if nobody is there.
    patience_s: how long to try again, ever more slowly, while the server does not answer.
    tls: a context for wss://, None for the system's certificates.
    peers: how many others had a place in the room at the join, 0 or 1. ice_servers: what the server
    says of STUN and TURN servers, unchecked (`ice.from_joined`).
    """

    def __init__(
        self,
        url: str,
        room: str,
        *,
        token: str | None = None,
        create: bool = True,
        patience_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.url = _with_path(url)
        self.room = room
        self.peers = 0
        self.ice_servers: object = None
        self._join = {"type": "join", "room": room, "create": create}
        if token is not None:
            self._join["token"] = token
        self._patience_s = patience_s
        self._tls: ssl.SSLContext | bool = tls or True
        self._rejoin: str | None = None
        self._kept = False
        self._restored = False
        self._session: aiohttp.ClientSession | None = None
        self._socket: _Socket | None = None
        self._restoring = asyncio.Lock()

    async def connect(self) -> None:
        """Reach the server and join the room.

        Raises `SignalingUnreachable` where there is no server within `patience_s`,
        `SignalingRefused` where it says no, `SignalingError` where it makes no sense.
        """
        self._session = aiohttp.ClientSession()
        try:
            self._socket = await self._enter(self._session)
        except BaseException:
            await self.close()
            raise

    async def send(self, data: dict[str, Any]) -> None:
        """Send an object to the other peer; it is lost where nobody else has a place in the room.

        Raises `SignalingError` where it is too large or the server is gone for good.
        """
        await self._send({"type": "message", "data": data})

    async def receive(self) -> dict[str, Any]:
        """The next event. Its "type" is one of:

        - "message": "data" is the object that the other peer has sent;
        - "peer-joined", "peer-left": the other peer takes a place in the room, or gives it up;
          "bye" comes before the latter where it said so;
        - "peer-lost", "peer-rejoined": its connection to the server failed, and is there again;
        - "rejoined": so did ours; "kept" is False where the place was lost, and what the other
          peer sent meanwhile with it. Messages on their way at that moment may be lost in any case.

        Raises `SignalingError` once the server is gone for good or has refused something.
        """
        while True:
            socket = self._connected()
            if self._restored:
                self._restored = False
                return {"type": "rejoined", "kept": self._kept}
            event = await self._next(socket)
            if event is None:
                await self._restore(socket)
                continue
            kind, data = event.get("type"), event.get("data")
            if kind in _EVENTS:
                return {"type": kind}
            if kind == "message" and isinstance(data, dict):
                return {"type": kind, "data": data}
            if kind not in _NOTES:
                logger.warning("dropped a signaling message that is none of the known ones")

    async def close(self) -> None:
        """Say bye and leave the room; a second call does nothing."""
        socket, self._socket = self._socket, None
        session, self._session = self._session, None
        if socket is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await socket.send_str('{"type":"bye"}')
            except (TimeoutError, aiohttp.ClientError, ConnectionError, RuntimeError):
                logger.debug("the signaling server did not hear our bye")
            await _hang_up(socket)
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _connected(self) -> _Socket:
        if self._socket is None:
            raise SignalingError("not connected to a signaling server")
        return self._socket

    async def _restore(self, lost: _Socket) -> None:
        """Replace the connection `lost`, unless that has been done."""
        async with self._restoring:  # whoever sends and whoever receives may both notice
            if self._session is None:
                raise SignalingError("not connected to a signaling server")
            if self._socket is lost:
                logger.debug("lost the signaling server (code %s), trying again", lost.close_code)
                await _hang_up(lost)
                # A server that hangs up at once must not keep us busy.
                await asyncio.sleep(random.uniform(0, _FIRST_DELAY_S))
                self._socket = await self._enter(self._session)
                self._restored = True

    async def _enter(self, session: aiohttp.ClientSession) -> _Socket:
        """Reach the server and get a place in the room, the one we had where it is kept."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                async with asyncio.timeout_at(max(deadline, loop.time() + _FIRST_DELAY_S)):
                    socket = await self._reach(session)
                return await self._take_place(socket)
            except SignalingRefused as refusal:
                if refusal.code == "bad-rejoin" and self._rejoin is not None:
                    self._rejoin = None
                    continue
                if refusal.code not in _BUSY_CODES or loop.time() + delay_s >= deadline:
                    raise
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if loop.time() + delay_s >= deadline:
                    reason = str(error) or "no answer"
                    raise SignalingUnreachable(
                        f"cannot reach the signaling server at {self.url}: {reason};"
                        " see that it runs there (gemino signal, or --listen)"
                    ) from None
                if self._rejoin is None and delay_s == _FIRST_DELAY_S:
                    logger.warning(
                        "cannot reach the signaling server at %s yet; trying for %g s",
                        *(self.url, self._patience_s),
                    )
            # Not all clients of a server that was started anew at the same moment.
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.0))
            delay_s = min(2 * delay_s, _MAX_DELAY_S)

    async def _reach(self, session: aiohttp.ClientSession) -> _Socket:
        """A WebSocket to the server; raises SignalingError where trying again would not help."""
        try:
            return await session.ws_connect(
                self.url, max_msg_size=2 * MAX_MESSAGE_BYTES, heartbeat=_HEARTBEAT_S, ssl=self._tls
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status in _BUSY_STATUS:
                raise
            raise SignalingUnreachable(
                f"{self.url} is no signaling server: it answers with HTTP {error.status}"
            ) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise SignalingUnreachable(
                f"the signaling server at {self.url} cannot prove who it is: {_line(error)}"
            ) from None
        except (aiohttp.InvalidURL, ValueError):
            raise SignalingUnreachable(
                f"{self.url} is no address of a signaling server: try ws://HOST:PORT"
            ) from None

    async def _take_place(self, socket: _Socket) -> _Socket:
        """Join, or take our place back; `socket` is closed where that fails."""
        rejoining = self._rejoin is not None
        join = {**self._join, "rejoin": self._rejoin} if rejoining else self._join
        try:
            await socket.send_str(json.dumps(join))
            async with asyncio.timeout(_ANSWER_S):
                joined = await self._next(socket)
            if joined is None:
                raise aiohttp.ClientConnectionError("it closed the connection before it answered")
            secret = joined.get("rejoin")
            if (
                joined.get("type") != "joined"
                or joined.get("peers") not in (0, 1)
                or not isinstance(secret, str)
                or len(secret) > _MAX_SECRET
            ):
                raise SignalingError(f"{self.url} is no signaling server that Gemino knows")
        except BaseException:
            await _hang_up(socket)
            raise
        self.peers, self._rejoin, self._kept = joined["peers"], secret, rejoining
        self.ice_servers = joined.get("ice_servers")
        return socket

    async def _send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message)
        if len(text) > MAX_MESSAGE_BYTES:  # ASCII: json escapes the rest
            raise SignalingError(
                f"a signaling message of {len(text)} bytes is too large: {MAX_MESSAGE_BYTES} fit"
            )
        for _ in range(_SEND_ATTEMPTS):
            socket = self._connected()
            try:
                return await socket.send_str(text)
            except (aiohttp.ClientError, ConnectionError, RuntimeError):
                await self._restore(socket)
        raise SignalingUnreachable(f"the signaling server at {self.url} closes every connection")

    async def _next(self, socket: _Socket) -> dict[str, Any] | None:
        """The next object that is no mere note, None at an end that is worth another try."""
        while True:
            message = await socket.receive()
            if message.type is not WSMsgType.TEXT:
                if socket.close_code in (WSCloseCode.POLICY_VIOLATION, WSCloseCode.MESSAGE_TOO_BIG):
                    raise SignalingError(
                        f"the signaling server at {self.url} closed the connection"
                        f" (code {socket.close_code})"
                    )
                return None
            event = _parse(message.data)
            if event.get("type") != "error":
                return event
            # Nobody there to hear us: "peer-left" has said so, or is about to.
            if event.get("code") != "no-peer":
                raise SignalingRefused(
                    _line(event.get("code")),
                    f"the signaling server refuses: {_line(event.get('reason'))}",
                )


async def _hang_up(socket: _Socket) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await socket.close()
    except TimeoutError:
        logger.debug("the signaling server did not answer our closing")
    finally:
        # aiohttp leaves a connection open that broke while it was read, and has no other way to it.
        socket._response.close()  # noqa: SLF001


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SignalingError("the signaling server sends what is no JSON object")
    return value


def _with_path(url: str) -> str:
    """`url` with the server's usual path where it names none; one that is no URL as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return url if parts.path.strip("/") else urlunsplit(parts._replace(path="/ws"))


def _line(reason: object) -> str:
    """A stranger's text, fit for one line of a terminal."""
    return "".join(char for char in str(reason)[:200] if char.isprintable())
