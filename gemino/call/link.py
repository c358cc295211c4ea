"""How one peer finds the other and connects to it: signalling, ICE and DTLS, each with its errors.

Who comes second makes the offer. All media and the data channel share one transport, so that there
is one search for a path and one relay. The description leaves at once, and candidates follow it in
both directions (`candidates`); what the signalling server brings later, above all that the other
peer has left, is noted for the conversation.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import cast

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCDataChannel, RTCPeerConnection
from aiortc.exceptions import InvalidStateError, OperationError
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.stats import RTCRemoteInboundRtpStreamStats, RTCStats, RTCTransportStats

from gemino.call.candidates import Candidates
from gemino.call.description import Description, from_message, is_candidate, to_message
from gemino.call.ice import from_joined
from gemino.call.incoming import Incoming
from gemino.call.options import PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.payload import av1_known, prefer
from gemino.call.signaling import SignalingClient
from gemino.call.sound_format import our_wish, read_wish, with_wish
from gemino.call.stats import Traffic
from gemino.errors import CallError, DtlsError, GeminoError, IceError, SignalingError, WireError

logger = logging.getLogger(__name__)

_CONNECT_S = 20.0
_TICK_S = 0.02
_MAX_BAD = 100
"""Messages that make no sense, from a peer that may as well be left."""
_LEFT = {"peer-lost": True, "peer-left": True, "peer-joined": False, "peer-rejoined": False}

OnMessage = Callable[[bytes | str], None]


class Link:
    """The connection to the other peer, for one call.

    on_message: gets what comes on the data channel. outgoing, incoming: the halves of the media, to
    be set before `meet`. gemino: the other peer is one of ours; else it is a plain WebRTC peer.
    peer_left: the signalling server says that it is gone. met_at, connected_at: when both were in
    the room, and when they were connected (time.monotonic). As last measured: datagrams, how many
    have come; video_lost, packets of ours since the start, as RTCP reports, None without a report.
    """

    def __init__(self, options: PeerOptions, on_message: OnMessage) -> None:
        self.gemino = True
        self.peer_left = False
        self.datagrams = 0
        self.met_at: float | None = None
        self.connected_at: float | None = None
        self.video_lost: int | None = None
        self.outgoing: Outgoing | None = None
        self.incoming: Incoming | None = None
        self.channel: RTCDataChannel | None = None
        self._options = options
        self._on_message = on_message
        self._connection: RTCPeerConnection | None = None
        self._candidates: Candidates | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._bad = 0

    @property
    def connection(self) -> RTCPeerConnection:
        """There from `meet` on."""
        assert self._connection is not None
        return self._connection

    async def meet(self, signaling: SignalingClient, waiting: Callable[[], None] | None) -> None:
        """Find the other peer and connect to it; raises SignalingError, CallError.

        waiting: called where nobody else is there yet.
        """
        offers = signaling.peers == 1
        self.met_at = time.monotonic() if offers else None
        candidates = self._candidates = self._open(signaling, offers=offers)
        if offers:
            await self._offer(signaling, candidates)
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
        self.gemino = description.gemino
        await self._understand(self._agree(description, signaling, offers=offers))
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
        if self.outgoing is not None:
            self.outgoing.on_sound_loss(entry.fractionLost / 256)

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
            await self._connection.close()

    def _open(self, signaling: SignalingClient, *, offers: bool) -> Candidates:
        ice = self._options.ice
        servers = (*ice.servers, *from_joined(signaling.ice_servers))
        relay_only = ice.policy == "relay"
        if relay_only and all(server.parts.scheme == "stun" for server in servers):
            raise IceError("--ice-policy relay needs a TURN server: --ice-server turn:HOST:PORT")
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
        if self.outgoing is not None:
            self.outgoing.attach(connection)
        return Candidates(connection, servers, relay_only=relay_only)

    async def _offer(self, signaling: SignalingClient, candidates: Candidates) -> None:
        self._receive_kinds("audio", "video")
        self._open_channel()
        await self._prepare(candidates)
        with av1_known():
            self._prefer_codecs()
            await self.connection.setLocalDescription(await self.connection.createOffer())
        await self._send_description(signaling, candidates)

    async def _prepare(self, candidates: Candidates) -> None:
        await candidates.prepare()
        if self._options.ice.policy == "relay" and not candidates.ours:
            raise IceError(f"ICE: no TURN server relays for us: {'; '.join(candidates.failures)}")

    async def _receive_description(self, signaling: SignalingClient) -> Description:
        while True:
            event = await signaling.receive()
            if event["type"] == "peer-left":
                raise CallError("the other peer left before the call began")
            if event["type"] == "message" and not is_candidate(event["data"]):
                return from_message(event["data"])

    async def _understand(self, work: Awaitable[None]) -> None:
        """Agree on a description; raises CallError for all that aiortc stumbles over."""
        try:
            await work
        except GeminoError:
            raise
        except OperationError as error:
            takes = " or ".join(self._options.media.lr_codecs)
            raise CallError(
                f"the other peer does not take {takes}: start both with --lr-codec auto"
            ) from error
        except Exception as error:  # aiortc raises whatever a hostile description leads it to
            logger.debug("a description cannot be used", exc_info=True)
            raise CallError(f"the other peer's description cannot be used: {error}") from error

    async def _agree(
        self, description: Description, signaling: SignalingClient, *, offers: bool
    ) -> None:
        """Take the other peer's description and, where it is an offer, answer it."""
        connection, candidates = self.connection, self._candidates
        assert candidates is not None
        if description.session.type != ("answer" if offers else "offer"):
            raise CallError(
                f"the other peer sends an {description.session.type} out of turn: call again"
            )
        if not offers and "m=video" in description.session.sdp:
            self._receive_kinds("video")
        # Before media flows, that is before the answer is known to both.
        if self.incoming is not None and offers:
            self.incoming.tap(connection)
        with av1_known():
            if not offers:
                self._prefer_codecs()
            await connection.setRemoteDescription(description.session)
        if self.outgoing is not None:
            self.outgoing.agree(connection)
            self.outgoing.agree_on_sound(read_wish(description.session.sdp))
        if not description.gemino:
            self._be_plain()
        if not offers:
            if connection.sctp is not None:
                self._open_channel()
            if self.incoming is not None:
                self.incoming.tap(connection)
            await self._prepare(candidates)
            await connection.setLocalDescription(await connection.createAnswer())
            await self._send_description(signaling, candidates)
        await candidates.take_described(description)

    def _be_plain(self) -> None:
        logger.warning(
            "the other peer is no Gemino: it gets plain VP8, and its picture is only enlarged"
        )
        if self.outgoing is not None:
            self.outgoing.serve_plainly(self.connection)
        if self.incoming is not None:
            self.incoming.expect_plainly()

    def _open_channel(self) -> None:
        self.channel = self.connection.createDataChannel("gemino", negotiated=True, id=0)
        self.channel.on("message", self._on_message)

    def _receive_kinds(self, *kinds: str) -> None:
        """Be ready for these kinds of media, whether we send them or not."""
        there = {t.kind for t in self.connection.getTransceivers()}
        for kind in kinds:
            if kind not in there and self.incoming is not None:
                self.connection.addTransceiver(kind, direction="recvonly")

    def _prefer_codecs(self) -> None:
        for transceiver in self.connection.getTransceivers():
            if transceiver.kind == "video":
                prefer(transceiver, self._options.media.lr_codecs)

    async def _send_description(self, signaling: SignalingClient, candidates: Candidates) -> None:
        description = self.connection.localDescription
        message = to_message(description, more_to_come=candidates.more_to_come)
        media = self._options.media
        wish = our_wish(media.sound, media.kbps, sends=self.outgoing is not None)
        message["sdp"] = with_wish(message["sdp"], wish)
        await signaling.send(message)

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
