"""How one peer finds the other and connects to it: signalling, ICE and DTLS, each with its errors.

Descriptions are the matter of `agreement`. All media and the data channel share one transport, so
that there is one search for a path and one relay. The description leaves at once, and candidates
follow it in both directions (`candidates`); what the signalling server brings later, above all that
the other peer has left, is noted for the conversation.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import cast

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCDataChannel, RTCPeerConnection
from aiortc.exceptions import InvalidStateError
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.stats import RTCRemoteInboundRtpStreamStats, RTCStats, RTCTransportStats

from gemino.call.agreement import Agreement
from gemino.call.candidates import Candidates
from gemino.call.description import Description, from_message, is_candidate
from gemino.call.ice import NO_RELAY, from_joined
from gemino.call.incoming import Incoming
from gemino.call.options import PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.signaling import SignalingClient
from gemino.call.stats import Traffic
from gemino.errors import CallError, DtlsError, IceError, SignalingError, WireError

logger = logging.getLogger(__name__)

_CONNECT_S = 20.0
_TICK_S = 0.02
_MAX_BAD = 100
"""Messages that make no sense, from a peer that may as well be left."""
_LEFT = {"peer-lost": True, "peer-left": True, "peer-joined": False, "peer-rejoined": False}

OnMessage = Callable[[bytes | str], None]


async def hang_up(connection: RTCPeerConnection) -> None:
    """Close `connection`, as far as aiortc can: a strange description may leave it half made."""
    try:
        await connection.close()
    except Exception:
        logger.debug("a connection cannot be closed in order", exc_info=True)


class Link:
    """The connection to the other peer, for one call.

    on_message: gets what comes on the data channel. outgoing, incoming: the halves of the media, to
    be set before `meet`. peer_left: the signalling server says that it is gone. met_at,
    connected_at: when both were in the room, and when they were connected (time.monotonic). As last
    measured: datagrams, how many have come; video_lost, packets of ours since the start, as RTCP
    reports, None without a report.
    """

    def __init__(self, options: PeerOptions, on_message: OnMessage) -> None:
        self.peer_left = False
        self.datagrams = 0
        self.met_at: float | None = None
        self.connected_at: float | None = None
        self.video_lost: int | None = None
        self.outgoing: Outgoing | None = None
        self.incoming: Incoming | None = None
        self._options = options
        self._on_message = on_message
        self._connection: RTCPeerConnection | None = None
        self._candidates: Candidates | None = None
        self._agreement: Agreement | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._bad = 0
        self._sound_reported: datetime | None = None

    @property
    def connection(self) -> RTCPeerConnection:
        """There from `meet` on."""
        assert self._connection is not None
        return self._connection

    @property
    def gemino(self) -> bool:
        """The other peer is one of ours, as far as is known; else it is a plain WebRTC peer."""
        return self._agreement is None or self._agreement.gemino

    @property
    def channel(self) -> RTCDataChannel | None:
        """The data channel, where the two have agreed on one."""
        return None if self._agreement is None else self._agreement.channel

    async def meet(self, signaling: SignalingClient, waiting: Callable[[], None] | None) -> None:
        """Find the other peer and connect to it; raises SignalingError, CallError.

        waiting: called where nobody else is there yet.
        """
        offers = signaling.peers == 1
        self.met_at = time.monotonic() if offers else None
        candidates = self._candidates = self._open(signaling, offers=offers)
        halves = self.outgoing, self.incoming
        agreement = self._agreement = Agreement(
            self.connection, candidates, self._options, halves, signaling.send, self._on_message
        )
        if offers:
            await agreement.offer()
        elif waiting is not None:
            waiting()
        patience_s = _CONNECT_S if offers else self._options.wait_s
        try:
            async with asyncio.timeout(patience_s):
                description = await self._receive_description(signaling)
        except TimeoutError:
            raise CallError(
                f"no other peer came into room {self._options.room} within {patience_s:g} s"
            ) from None
        self.met_at = self.met_at or time.monotonic()
        await agreement.take(description)
        self._begin(self._listen(signaling))
        trickle = self._begin(candidates.trickle(signaling.send))
        try:
            await self._wait_until_connected(candidates)
        finally:
            trickle.cancel()
        self.connected_at = time.monotonic()

    def receiving(self) -> list[str]:
        """The kinds of media that will come."""
        directions = ("sendrecv", "recvonly")
        transceivers = self.connection.getTransceivers()
        return [t.kind for t in transceivers if t.currentDirection in directions]

    @property
    def ended(self) -> bool:
        """The other peer has closed the connection, or it has failed."""
        return self.connection.connectionState in ("closed", "failed")

    async def measure(self, sent: Traffic | None, received: Traffic | None) -> None:
        """Read the transport's counters: all media share one transport."""
        report = await self.connection.getStats()
        for entry in report.values():
            if entry.type == "remote-inbound-rtp" and entry.kind == "video":
                self.video_lost = max(entry.packetsLost, 0)
            self._tell_sound_loss(entry)
            if isinstance(entry, RTCTransportStats):
                self.datagrams = entry.packetsReceived
                if sent is not None:
                    sent.packets, sent.bytes = entry.packetsSent, entry.bytesSent
                if received is not None:
                    received.packets, received.bytes = entry.packetsReceived, entry.bytesReceived
            if isinstance(entry, RTCRemoteInboundRtpStreamStats) and sent is not None:
                # aiortc says None as long as no report answers one of ours.
                rtt_s = cast("float | None", entry.roundTripTime)
                sent.rtt_ms = sent.rtt_ms if rtt_s is None else max(rtt_s, 0.0) * 1000

    def _tell_sound_loss(self, entry: RTCStats) -> None:
        """Let sound be coded for the losses that the other peer reports."""
        if not isinstance(entry, RTCRemoteInboundRtpStreamStats) or entry.kind != "audio":
            return
        before, self._sound_reported = self._sound_reported, entry.timestamp
        if self.outgoing is not None and before != entry.timestamp:  # stays until there is another
            since_s = 1.0 if before is None else (entry.timestamp - before).total_seconds()
            self.outgoing.sound.on_loss(entry.fractionLost / 256, since_s)

    def send(self, data: bytes) -> None:
        """One message on the data channel; lost where that is closed."""
        try:
            if self.channel is not None:
                self.channel.send(data)
        except InvalidStateError:
            logger.debug("the data channel is closed: a message is lost")

    async def flush(self, seconds: float) -> None:
        """Wait until all messages have left, or so long."""
        deadline = time.monotonic() + seconds
        while self.channel is not None and self.channel.readyState == "open":
            if not self.channel.bufferedAmount or time.monotonic() > deadline:
                return
            await asyncio.sleep(_TICK_S)

    def forget_signaling(self) -> None:
        """Listen to the signalling server no more."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """End the connection."""
        self.forget_signaling()
        if self._connection is not None:
            await hang_up(self._connection)

    def _open(self, signaling: SignalingClient, *, offers: bool) -> Candidates:
        ice = self._options.ice
        servers = (*ice.servers, *from_joined(signaling.ice_servers))
        relay_only = ice.policy == "relay"
        if relay_only and all(server.parts.scheme == "stun" for server in servers):
            raise IceError(NO_RELAY)
        connection = self._connection = RTCPeerConnection(
            RTCConfiguration(
                iceServers=[],
                iceTransportPolicy=RTCIceTransportPolicy.RELAY
                if relay_only
                else RTCIceTransportPolicy.ALL,
                # Who answers takes over the offer's bundle; aiortc would stop a shared transport.
                bundlePolicy=RTCBundlePolicy.MAX_BUNDLE if offers else RTCBundlePolicy.BALANCED,
            )
        )
        return Candidates(connection, servers, relay_only=relay_only)

    async def _receive_description(self, signaling: SignalingClient) -> Description:
        while True:
            event = await signaling.receive()
            if event["type"] == "peer-left":
                raise CallError("the other peer left before the call began")
            if event["type"] == "message" and not is_candidate(event["data"]):
                return from_message(event["data"])

    def _begin(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def run() -> None:
            with contextlib.suppress(SignalingError):  # a call that is up needs no server
                await work

        task = asyncio.create_task(run())
        self._tasks.append(task)
        return task

    async def _listen(self, signaling: SignalingClient) -> None:
        """Take candidates, and notice early that the other peer is gone."""
        assert self._candidates is not None
        while True:
            event = await signaling.receive()
            self.peer_left = _LEFT.get(event["type"], self.peer_left)
            if event["type"] != "message" or self._bad > _MAX_BAD:
                continue
            try:
                if not is_candidate(event["data"]):
                    raise WireError("a second description, or none, comes in mid-call")
                await self._candidates.take(event["data"])
            except WireError as error:
                self._bad += 1
                logger.log(
                    logging.DEBUG if self._bad > 1 else logging.WARNING,
                    "dropped a signaling message: %s",
                    error,
                )

    async def _wait_until_connected(self, candidates: Candidates) -> None:
        deadline = time.monotonic() + _CONNECT_S
        while not self._connected():
            if self.peer_left and self.connection.iceConnectionState != "completed":
                raise CallError("the other peer left before the call began")
            if self.connection.connectionState == "failed" or time.monotonic() > deadline:
                raise self._why_not(candidates)
            await asyncio.sleep(_TICK_S)

    def _connected(self) -> bool:
        if self.gemino and self.channel is not None:
            return self.channel.readyState == "open"
        return self.connection.connectionState == "connected"

    def _why_not(self, candidates: Candidates) -> CallError:
        if self.connection.iceConnectionState == "completed":
            return DtlsError(
                "DTLS: the other peer is reached, but agrees on no encryption: does a proxy or an"
                " old version stand between you?"
            )
        tried = "; ".join(candidates.failures) or "no UDP path to the other peer"
        return IceError(
            f"ICE: {tried}; {candidates.ours} addresses here and {candidates.theirs} there were"
            " tried: open UDP in the firewall, or give --ice-server turn:HOST:PORT"
        )
