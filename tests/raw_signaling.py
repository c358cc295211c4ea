"""Clients of the rendezvous server that may say anything, well-formed or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import WSMsgType

from signaling import SignalingServer

Socket = aiohttp.ClientWebSocketResponse[bool]


@asynccontextmanager
async def raw(server: SignalingServer, **options: Any) -> AsyncIterator[Socket]:
    """A WebSocket to the server. options: of `aiohttp.ClientSession.ws_connect`."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url, **options) as client,
    ):
        try:
            yield client
        finally:
            await client.close()
            client._response.close()  # aiohttp leaves it open where the connection broke


async def answer(client: Socket) -> Any:
    """The next message, within five seconds."""
    async with asyncio.timeout(5):
        return await client.receive_json()


async def join(client: Socket, room: str = "r", **fields: object) -> Any:
    """The answer to a join."""
    await client.send_json({"type": "join", "room": room, **fields})
    return await answer(client)


async def close_code(client: Socket) -> int | None:
    """How the server closes the connection, whatever it says before."""
    async with asyncio.timeout(5):
        while (await client.receive()).type is WSMsgType.TEXT:
            pass
    return client.close_code


def cut(client: Socket) -> None:
    """Break the TCP connection, as a failing network would."""
    transport = client._writer.transport  # aiohttp has no public way to it
    assert transport is not None
    transport.abort()


async def get(server: SignalingServer, path: str, **headers: str) -> tuple[int, str]:
    """Status and body of a plain request."""
    url = f"http://{server.host}:{server.port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as response,
    ):
        return response.status, await response.text()


async def metric(server: SignalingServer, name: str) -> int:
    """A value of /metrics; `name` with its labels and without the prefix; 0 where it is absent."""
    _, text = await get(server, "/metrics")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    return int(values.get(f"signaling_{name}", 0))
