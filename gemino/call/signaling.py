"""The client of the rendezvous server: how two peers exchange what WebRTC needs to connect.

The protocol is the server's (signaling/README.md). What the other peer sends through it is as
untrusted as anything else from the network: bounded here, and for the caller to check.
"""

import asyncio
import json
import logging
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import WSMsgType

from gemino.errors import SignalingError

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 2.0
_ANSWER_S = 10.0
_HEARTBEAT_S = 15.0


class SignalingClient:
    """One peer's place in a room, for the time of an `async with` block.

    url: of the server, ws://HOST:PORT/ws or wss://. room: 1..64 letters, digits, dots, - and _.
    patience_s: how long to try again, ever more slowly, while the server does not answer.
    peers: how many others were in the room at the join, 0 or 1.
    """

    def __init__(self, url: str, room: str, *, patience_s: float = 10.0) -> None:
        self.url = url
        self.room = room
        self.peers = 0
        self._patience_s = patience_s
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None

    async def connect(self) -> None:
        """Reach the server and join the room; raises `SignalingError` where either fails."""
        self._session = aiohttp.ClientSession()
        try:
            self._socket = await self._reach(self._session)
            await self._send({"type": "join", "room": self.room})
            async with asyncio.timeout(_ANSWER_S):
                joined = await self._next()
            if joined.get("type") != "joined" or joined.get("peers") not in (0, 1):
                raise SignalingError(f"{self.url} is no signaling server that Gemino knows")
        except TimeoutError:
            await self.close()
            raise SignalingError(
                f"the signaling server at {self.url} does not answer a join"
            ) from None
        except BaseException:
            await self.close()
            raise
        self.peers = joined["peers"]

    async def send(self, data: dict[str, Any]) -> None:
        """Send an object to the other peer; it is lost where nobody else is in the room."""
        await self._send({"type": "message", "data": data})

    async def receive(self) -> dict[str, Any]:
        """The next event: its "type" is "peer-joined", "peer-left" or "message".

        A message's "data" is the object that the other peer has sent. Raises `SignalingError` once
        the server has closed the connection or refused something.
        """
        while True:
            event = await self._next()
            kind, data = event.get("type"), event.get("data")
            if kind in ("peer-joined", "peer-left"):
                return {"type": kind}
            if kind == "message" and isinstance(data, dict):
                return {"type": kind, "data": data}
            logger.warning("dropped a signaling message that is none of the known ones")

    async def close(self) -> None:
        """Leave the room; a second call does nothing."""
        socket, self._socket = self._socket, None
        session, self._session = self._session, None
        if socket is not None:
            await socket.close()
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

    async def _reach(self, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse[bool]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                async with asyncio.timeout_at(max(deadline, loop.time() + _FIRST_DELAY_S)):
                    return await session.ws_connect(
                        self.url, max_msg_size=MAX_MESSAGE_BYTES, heartbeat=_HEARTBEAT_S
                    )
            except aiohttp.WSServerHandshakeError as error:
                raise SignalingError(
                    f"{self.url} is no signaling server: it answers with HTTP {error.status}"
                ) from None
            except (aiohttp.InvalidURL, ValueError):
                raise SignalingError(
                    f"{self.url} is no address of a signaling server: try ws://HOST:PORT/ws"
                ) from None
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if loop.time() + delay_s >= deadline:
                    reason = str(error) or "no answer"
                    raise SignalingError(
                        f"cannot reach the signaling server at {self.url}: {reason}"
                    ) from None
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _MAX_DELAY_S)

    async def _send(self, message: dict[str, Any]) -> None:
        if self._socket is None:
            raise SignalingError("not connected to a signaling server")
        text = json.dumps(message)
        if len(text) > MAX_MESSAGE_BYTES:  # ASCII: json escapes the rest
            raise SignalingError(
                f"a signaling message of {len(text)} bytes is too large: {MAX_MESSAGE_BYTES} fit"
            )
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, ConnectionError, RuntimeError):
            raise SignalingError(f"the signaling server at {self.url} is gone") from None

    async def _next(self) -> dict[str, Any]:
        """The next object from the server that is no mere note; raises on errors and the end."""
        while True:
            if self._socket is None:
                raise SignalingError("not connected to a signaling server")
            message = await self._socket.receive()
            if message.type is not WSMsgType.TEXT:
                raise SignalingError(
                    f"the signaling server at {self.url} closed the connection"
                    f" (code {self._socket.close_code})"
                )
            event = _parse(message.data)
            if event.get("type") != "error":
                return event
            # Nobody there to hear us: "peer-left" has said so, or is about to.
            if event.get("code") != "no-peer":
                raise SignalingError(f"the signaling server refuses: {_line(event.get('reason'))}")


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SignalingError("the signaling server sends what is no JSON object")
    return value


def _line(reason: object) -> str:
    """A peer's text, fit for one line of a terminal."""
    return "".join(char for char in str(reason)[:200] if char.isprintable())
