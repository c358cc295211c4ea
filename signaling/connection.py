"""One WebSocket: what comes from a client, and a writer that never makes anybody else wait.

Whoever has something for the client puts it into the client's place and calls `wake`. The writer
runs only while something waits there, so a thousand idle rooms cost no task; a client that reads
too slowly fills its own place and delays nobody.
"""

import asyncio
import logging

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from signaling.limits import Refused
from signaling.messages import serialize
from signaling.rooms import Place

logger = logging.getLogger(__name__)

CLOSE_S = 2.0
_NO_STATUS = 0
"""What aiohttp says of a close frame without a code, such as a browser's `socket.close()`."""
_GOODBYES = (_NO_STATUS, WSCloseCode.OK, WSCloseCode.GOING_AWAY)


class Connection:
    """address: whose limits count. lost: it ended, and neither by a goodbye nor by a fault."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, address: str
    ) -> None:
        self.address = address
        self.lost = False
        self._socket = socket
        self._transport = transport
        self._place: Place | None = None
        self._writer: asyncio.Task[None] | None = None
        self._fault: Refused | None = None

    async def receive(self, until: float) -> str | None:
        """The next message, or None at the end; raises `Refused` at `until` (the loop's time)."""
        try:
            # Not receive's own timeout, which starts afresh with every ping and pong.
            async with asyncio.timeout_at(until):
                message = await self._socket.receive()
        except TimeoutError:
            raise Refused("idle", "nothing came for too long") from None
        if self._fault is not None:
            raise self._fault
        if message.type is WSMsgType.TEXT:
            return str(message.data)
        if message.type is WSMsgType.BINARY:
            raise Refused("bad-message", "messages are JSON text, not binary")
        if message.type is WSMsgType.CLOSE:
            self.lost = message.data not in _GOODBYES
        elif message.type is WSMsgType.ERROR:
            # aiohttp has closed with 1009 what was too large, with 1002 or 1007 what was no
            # WebSocket. Anything else is a connection that broke or answers no ping.
            self.lost = not isinstance(message.data, WebSocketError)
        else:
            self.lost = True
        return None

    async def greet(self, text: str, place: Place) -> None:
        """Send `text`, the answer to the join, and then whatever waits in `place`."""
        await self._send(text)
        self._place = place
        self.wake()

    def wake(self) -> None:
        """Something waits in the place."""
        if self._place is not None and (self._writer is None or self._writer.done()):
            self._writer = asyncio.create_task(self._write(self._place))

    async def _write(self, place: Place) -> None:
        while self._place is place and (text := place.take()) is not None:
            if not await self._send(text):
                place.put_back(text)
                return

    def release(self) -> None:
        """Write no more of what waits in the place: it is somebody else's now."""
        self._place = None

    def overflow(self) -> None:
        """End a connection whose client does not read: no message and no close frame gets by."""
        self._fault = Refused("too-slow", "the client does not read what is sent to it")
        if self._transport is not None:
            self._transport.abort()

    async def refuse(self, refusal: Refused) -> None:
        """Say why this connection ends, and end it."""
        self.release()
        if refusal is not self._fault:
            await self._send(serialize("error", code=refusal.code, reason=str(refusal)))
        await self.close(WSCloseCode.POLICY_VIOLATION, refusal.code)

    async def close(self, code: WSCloseCode, why: str) -> None:
        """End the connection; the client has CLOSE_S to answer."""
        await self._socket.close(code=code, message=why.encode())

    async def _send(self, text: str) -> bool:
        """Send, or return False where the other end has just gone: `receive` notices that."""
        try:
            await self._socket.send_str(text)
        except (ConnectionError, RuntimeError):
            logger.debug("a client left before a message reached it")
            return False
        return True
