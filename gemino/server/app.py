"""The HTTP side: the page's files, and one request that begins a session.

One page at a time has the codec, because one call keeps a machine busy. A page that comes while
another is there takes over; the other is told.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from gemino.errors import CallError, WireError
from gemino.server.access import HEADERS, Access
from gemino.server.assets import INDEX, Asset, read_assets
from gemino.server.messages import MAX_KBPS, MIN_KBPS
from gemino.server.session import MAX_SDP_BYTES, Session
from gemino.server.trip import Trip

logger = logging.getLogger(__name__)

_MAX_BODY_BYTES = MAX_SDP_BYTES + 1024
_TAKEN_OVER = "Another page has taken over. Press Start to take it back."
_STOPPED = "The server was stopped."
_CLOSE_S = 2.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen. port: 0 for a free one. tls: for https."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls: ssl.SSLContext | None = None


class PageServer:
    """Serves the page and its try-out for the time of an `async with` block; CallError, OSError.

    farewell: what a page is told that is there at the end.
    """

    def __init__(self, place: Place, access: Access, trip: Trip) -> None:
        self.port = place.port
        self.farewell = _STOPPED
        self._place = place
        self._access = access
        self._trip = trip
        self._assets = read_assets()
        self._session: Session | None = None
        self._running: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[self._guard])
        app.router.add_get("/", self._index)
        app.router.add_get("/about", self._about)
        app.router.add_get("/{name}", self._file)
        app.router.add_post("/session", self._begin)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_S)

    async def __aenter__(self) -> Self:
        place = self._place
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, place.host, place.port, ssl_context=place.tls)
            await site.start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            # asyncio's own words repeat the address, up to the last colon.
            reason = str(getattr(error, "strerror", None) or error).rpartition(": ")[2]
            raise CallError(
                f"cannot listen on {place.host}:{place.port}: {reason.rstrip('.')};"
                " choose another port, or 0, on an address of this machine"
            ) from None
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._end(self.farewell)
        await self._runner.cleanup()

    async def _end(self, reason: str) -> None:
        if self._session is not None:
            self._session.end(reason)
        if self._running is not None:
            await asyncio.wait({self._running})
        self._session = self._running = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        if not self._access.host_allowed(host):
            response: web.StreamResponse = _refusal(
                403, "This server is not known by that name; start it with --name."
            )
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = _refusal(error.status, error.reason)
        response.headers.update(HEADERS)
        return response

    async def _index(self, _request: web.Request) -> web.Response:
        return _as_response(self._assets[INDEX])

    async def _about(self, _request: web.Request) -> web.Response:
        """What the page wants to know before it opens the camera."""
        about = {"size_px": self._trip.size_px, "min_kbps": MIN_KBPS, "max_kbps": MAX_KBPS}
        return web.json_response(about | {"kbps": self._trip.kbps, "mode": self._trip.mode})

    async def _file(self, request: web.Request) -> web.Response:
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        return _as_response(asset)

    async def _begin(self, request: web.Request) -> web.Response:
        """The page's offer; answers with ours."""
        headers = request.headers
        if not self._access.origin_allowed(headers.get("Origin"), headers.get("Host")):
            return _refusal(403, "Pages of another origin may not use this server.")
        if not self._access.token_matches(headers.get("Authorization")):
            return _refusal(401, "This link is not valid any more: open the one printed last.")
        try:
            sdp = _offer(await request.text())
        except (WireError, UnicodeDecodeError) as error:
            return _refusal(400, str(error))
        async with self._turn:
            await self._end(_TAKEN_OVER)
            session = Session(self._trip)
            try:
                answer = await session.answer(sdp)
            except WireError as error:
                await session.close()
                return _refusal(400, str(error))
            self._session = session
            self._running = asyncio.create_task(session.run())
        return web.json_response({"sdp": answer})


def _offer(body: str) -> str:
    """The SDP in a request; raises WireError."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError("the request is no JSON") from error
    sdp = fields.get("sdp") if isinstance(fields, dict) else None
    if not isinstance(sdp, str) or not sdp.startswith("v=0") or len(sdp) > MAX_SDP_BYTES:
        raise WireError(f"the request holds no offer of at most {MAX_SDP_BYTES} characters")
    return sdp


def _as_response(asset: Asset) -> web.Response:
    return web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8")


def _refusal(status: int, words: str) -> web.Response:
    return web.json_response({"error": words}, status=status)
