"""One peer of a call: the rim of I/O around the decisions.

`Peer` joins a room, agrees on a WebRTC connection with whoever else is there (the second to come
makes the offer), says Hello on the data channel and then only carries: messages and RTCP out,
messages in, once every `_TICK_S`. What to say, and what to do with what comes, is decided in
`conversation`, `outgoing` and `incoming`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import cv2
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError, OperationError
from aiortc.stats import RTCTransportStats

from gemino.call.conversation import Conversation
from gemino.call.description import from_message, to_message
from gemino.call.incoming import Incoming
from gemino.call.options import PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.payload import av1_known, filter_sources, prefer, use_loopback_addresses
from gemino.call.signaling import SignalingClient
from gemino.errors import CallError, SignalingError
from gemino.wire import Message

logger = logging.getLogger(__name__)

_TICK_S = 0.02
_STATUS_EVERY_S = 1.0
_CONNECT_S = 20.0
_FLUSH_S = 1.0
_MAX_EARLY = 16
"""Messages kept that come before we have noticed that the channel is open: a Hello, no more."""

_LEFT = {"peer-lost": True, "peer-left": True, "peer-joined": False, "peer-rejoined": False}

Result = TypeVar("Result")
Status = Callable[["Peer", float], None]


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked for the end
    """The call was asked to stop."""


class Peer:
    """One peer for one call.

    status: called once a second while the call runs. waiting: called when nobody else is there yet.
    """

    def __init__(
        self, options: PeerOptions, status: Status, waiting: Callable[[], None] | None = None
    ) -> None:
        self.options = options
        self.outgoing: Outgoing | None = None
        self.incoming: Incoming | None = None
        self.conversation: Conversation | None = None
        self._status = status
        self._waiting = waiting
        self._early: list[bytes | str] = []
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask the call to end: `run` then closes its files and raises Interrupted."""
        self._stop.set()

    async def run(self) -> None:
        """Hold the call from join to Bye; raises a GeminoError where that fails, Interrupted."""
        options = self.options
        # For the whole process. Other threads have the cores busy, and OpenCV's would wait for
        # one another: a picture takes half as much CPU time again on two of them.
        cv2.setNumThreads(1)
        if options.local:
            use_loopback_addresses()
        if options.source is not None:
            ask = options.media.size_px, options.media.kbps, options.media.seconds
            feed = await self._until_stop(asyncio.to_thread(options.source.open, *ask))
            self.outgoing = Outgoing(options, feed)
        if options.receives:
            self.incoming = Incoming(options)
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel = self._connection.createDataChannel("gemino", negotiated=True, id=0)
        self._channel.on("message", self._on_message)
        try:
            await self._until_stop(self._prepare())
            meeting = SignalingClient(options.server_url, options.room, token=options.token)
            async with meeting as signaling:
                await self._until_stop(self._meet(signaling))
                watch = asyncio.create_task(self._watch(signaling))
                try:
                    await self._until_stop(self._talk())
                finally:
                    watch.cancel()
        finally:
            await self._close()

    async def _until_stop(self, work: Awaitable[Result]) -> Result:
        task = asyncio.ensure_future(work)
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        raise Interrupted

    async def _prepare(self) -> None:
        """All that takes long, before anybody waits for us."""
        if self.outgoing is not None:
            await asyncio.to_thread(self.outgoing.prime)
        if self.incoming is not None:
            # Polled: a thread that waits could not be given up while a model loads.
            while not self.incoming.viewer.ready.is_set():  # noqa: ASYNC110
                await asyncio.sleep(_TICK_S)
            if self.incoming.failure is not None:
                raise self.incoming.failure

    async def _meet(self, signaling: SignalingClient) -> None:
        """Find the other peer and connect to it."""
        if self.outgoing is not None:
            self.outgoing.attach(self._connection)
        offers = signaling.peers == 1
        if offers:
            self._receive_kinds("audio", "video")
            with av1_known():
                self._prefer_codecs()
                await self._connection.setLocalDescription(await self._connection.createOffer())
            await self._send_description(signaling)
        elif self._waiting is not None:
            self._waiting()
        patience_s = _CONNECT_S if offers else self.options.wait_s
        try:
            async with asyncio.timeout(patience_s):
                description = await self._receive_description(signaling)
        except TimeoutError:
            raise CallError(
                f"no other peer came into room {self.options.room} within {patience_s:g} s"
            ) from None
        try:
            await self._agree(description, signaling, offers=offers)
        except OperationError as error:
            takes = " or ".join(self.options.media.lr_codecs)
            raise CallError(
                f"the other peer does not take {takes}: start both with --lr-codec auto"
            ) from error
        except (ValueError, InvalidStateError) as error:
            raise CallError(f"the other peer's offer cannot be used: {error}") from error
        filter_sources(self._connection)
        await self._wait_for_channel()

    async def _agree(
        self, description: RTCSessionDescription, signaling: SignalingClient, *, offers: bool
    ) -> None:
        """Take the other peer's description and, where it is an offer, answer it."""
        connection = self._connection
        if not offers and "m=video" in description.sdp:
            self._receive_kinds("video")
        # Before media flows, that is before the answer is known to both.
        if self.incoming is not None and offers:
            self.incoming.tap(connection)
        with av1_known():
            if not offers:
                self._prefer_codecs()
            await connection.setRemoteDescription(description)
        if self.outgoing is not None:
            self.outgoing.agree(connection)
        if offers:
            return
        if self.incoming is not None:
            self.incoming.tap(connection)
        await connection.setLocalDescription(await connection.createAnswer())
        await self._send_description(signaling)

    def _receive_kinds(self, *kinds: str) -> None:
        """Be ready for these kinds of media, whether we send them or not."""
        there = {t.kind for t in self._connection.getTransceivers()}
        for kind in kinds:
            if kind not in there and self.incoming is not None:
                self._connection.addTransceiver(kind, direction="recvonly")

    def _prefer_codecs(self) -> None:
        for transceiver in self._connection.getTransceivers():
            if transceiver.kind == "video":
                prefer(transceiver, self.options.media.lr_codecs)

    async def _send_description(self, signaling: SignalingClient) -> None:
        await signaling.send(to_message(self._connection.localDescription))

    async def _receive_description(self, signaling: SignalingClient) -> RTCSessionDescription:
        while True:
            event = await signaling.receive()
            if event["type"] == "peer-left":
                raise CallError("the other peer left before the call began")
            if event["type"] == "message":
                return from_message(event["data"])

    async def _wait_for_channel(self) -> None:
        deadline = time.monotonic() + _CONNECT_S
        while self._channel.readyState != "open":
            if self._connection.connectionState == "failed" or time.monotonic() > deadline:
                raise CallError("no UDP path to the other peer: is a firewall in between?")
            await asyncio.sleep(_TICK_S)

    async def _talk(self) -> None:
        """From Hello to the last Bye."""
        self.conversation = talk = Conversation(
            self.options, self.outgoing, self.incoming, time.monotonic()
        )
        self._open_files(time.monotonic())  # before Hello: media may follow at once
        self._say([talk.hello()])
        for data in self._early:
            self._on_message(data)
        status_at = time.monotonic()
        while not talk.over:
            now = time.monotonic()
            talk.check(now)
            if talk.greeted and not talk.started:
                talk.started = True
                if self.outgoing is not None:
                    self.outgoing.clock.start()
            if talk.started:
                self._say(talk.messages(now))
                if self.incoming is not None:
                    for request in self.incoming.feedback(now):
                        await request
            if now - status_at >= _STATUS_EVERY_S:
                status_at = now
                await self._measure()
                self._status(self, now)
            await asyncio.sleep(_TICK_S)
        await self._measure()

    def _open_files(self, now: float) -> None:
        if self.incoming is None:
            return
        receiving = [
            t.kind
            for t in self._connection.getTransceivers()
            if t.currentDirection in ("sendrecv", "recvonly")
        ]
        if "video" not in receiving and self.outgoing is None:
            raise CallError("neither peer sends: give one of them --camera or --input")
        self.incoming.start(now, with_audio="audio" in receiving)

    def _on_message(self, data: bytes | str) -> None:
        if self.conversation is not None:
            self._say(self.conversation.receive(data, time.monotonic()))
        elif len(self._early) < _MAX_EARLY:
            self._early.append(data)

    def _say(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                self._channel.send(message.serialize())
            except InvalidStateError:
                logger.debug("the data channel is closed: %r is lost", message)

    async def _watch(self, signaling: SignalingClient) -> None:
        """Notice early that the other peer is gone; a lost signalling server does not matter."""
        try:
            while True:
                event, talk = await signaling.receive(), self.conversation
                if talk is not None:
                    talk.peer_left = _LEFT.get(event["type"], talk.peer_left)
        except SignalingError:
            return

    async def _measure(self) -> None:
        """Read the transport's counters: all media share one transport."""
        report = await self._connection.getStats()
        for entry in report.values():
            if isinstance(entry, RTCTransportStats):
                if self.outgoing is not None:
                    traffic = self.outgoing.counters.traffic
                    traffic.packets, traffic.bytes = entry.packetsSent, entry.bytesSent
                if self.incoming is not None:
                    traffic = self.incoming.counters.traffic
                    traffic.packets, traffic.bytes = entry.packetsReceived, entry.bytesReceived

    async def _close(self) -> None:
        """Take leave, close the connection and finish the files."""
        if self.conversation is not None:
            self._say(self.conversation.goodbye("interrupted"))
        deadline = time.monotonic() + _FLUSH_S
        while self._channel.readyState == "open" and self._channel.bufferedAmount:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_TICK_S)
        if self.outgoing is not None:
            self.outgoing.close()
        if self.incoming is not None:
            await asyncio.to_thread(self.incoming.close)
        await self._connection.close()
