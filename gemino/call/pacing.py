"""Packets of a large picture, sent one after another instead of all at once.

aiortc sends a picture's packets as fast as the machine can. A hundred of them, a page of text,
would fill a thin link's queue for seconds, and sound with it. Touches aiortc's private names.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiortc import RTCRtpSender

PRIVATE_NAMES = {
    "RTCRtpSender": ("_RTCRtpSender__transport",),
    "RTCDtlsTransport": ("_send_rtp",),
}
_BURST_BYTES = 6_000
_FASTER = 2.0
"""How much faster than the stream's rate its packets may leave."""


def pace(sender: RTCRtpSender, kbps: Callable[[], float]) -> None:
    """Let what `sender` sends leave at most twice as fast as `kbps` says, from now on."""
    slots: Any = sender
    if not isinstance(slots._RTCRtpSender__transport, _Paced):
        slots._RTCRtpSender__transport = _Paced(slots._RTCRtpSender__transport, kbps)


class _Paced:
    """A transport, for one sender, that makes it wait."""

    def __init__(self, transport: Any, kbps: Callable[[], float]) -> None:
        self._transport = transport
        self._kbps = kbps
        self._free_at = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def _send_rtp(self, data: bytes) -> None:
        now = time.monotonic()
        bytes_a_second = self._kbps() * _FASTER * 1000 / 8
        self._free_at = max(self._free_at, now - _BURST_BYTES / bytes_a_second)
        self._free_at += len(data) / bytes_a_second
        await asyncio.sleep(max(self._free_at - now, 0.0))
        await self._transport._send_rtp(data)
