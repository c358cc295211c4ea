"""What two peers agree on in their descriptions (SDP): media, codecs, sound, the data channel.

Who comes second offers, the other one answers. An answer leaves before the candidates of the offer
are tried, because both sides then begin at once.
"""

import logging
from collections.abc import Callable

from aiortc import RTCDataChannel, RTCPeerConnection
from aiortc.exceptions import OperationError

from gemino.call.candidates import Candidates, Tell
from gemino.call.description import Description, to_message
from gemino.call.incoming import Incoming
from gemino.call.options import PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.payload import av1_known, prefer, prefer_short_tags
from gemino.call.rtcp import Reports
from gemino.call.sound_format import our_wish, read_wish, with_wish
from gemino.errors import CallError, GeminoError, IceError

logger = logging.getLogger(__name__)


class Agreement:
    """Our description made and the other peer's taken, for one connection.

    tell: sends one message to the other peer. on_message: gets what comes on the data channel.
    gemino: the other peer is one of ours; known from `take` on. channel: None where there is none.
    """

    def __init__(
        self,
        connection: RTCPeerConnection,
        candidates: Candidates,
        options: PeerOptions,
        halves: tuple[Outgoing | None, Incoming | None],
        tell: Tell,
        on_message: Callable[[bytes | str], None],
    ) -> None:
        self.gemino = True
        self.channel: RTCDataChannel | None = None
        self._connection = connection
        self._candidates = candidates
        self._options = options
        self._outgoing, self._incoming = halves
        self._tell = tell
        self._on_message = on_message
        self._offered = False
        clocks = {} if self._outgoing is None else self._outgoing.attach(connection)
        on_report = None if self._incoming is None else self._incoming.hear_report
        self._reports = Reports(connection, clocks, on_report)

    async def offer(self) -> None:
        """Send the other peer our offer; raises IceError, SignalingError."""
        self._offered = True
        self._receive_kinds("audio", "video")
        self._open_channel()
        await self._prepare()
        with av1_known():
            self._prefer_codecs()
            await self._connection.setLocalDescription(await self._connection.createOffer())
        await self._send_description()

    async def take(self, description: Description) -> None:
        """Take the other peer's description and, where it is an offer, answer it.

        Raises CallError for all that aiortc stumbles over, IceError, SignalingError.
        """
        self.gemino = description.gemino
        try:
            await self._take(description)
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

    async def _take(self, description: Description) -> None:
        if description.session.type != ("answer" if self._offered else "offer"):
            raise CallError(
                f"the other peer sends an {description.session.type} out of turn: call again"
            )
        if not self._offered and "m=video" in description.session.sdp:
            self._receive_kinds("video")
        # Before media flows, that is before the answer is known to both.
        if self._offered:
            self._tap()
        with av1_known():
            if not self._offered:
                self._prefer_codecs()
            await self._connection.setRemoteDescription(description.session)
        if self._outgoing is not None:
            self._outgoing.agree(self._connection)
            self._outgoing.sound.agree(read_wish(description.session.sdp))
        if not description.gemino:
            self._be_plain()
        if not self._offered:
            await self._answer()
        await self._candidates.take_described(description)

    async def _answer(self) -> None:
        if self._connection.sctp is not None:
            self._open_channel()
        self._tap()
        await self._prepare()
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        await self._send_description()

    def _tap(self) -> None:
        """Put our own parts into the slots of the stock ones; before media flows."""
        self._reports.sparing = self.gemino
        self._reports.take_over()
        if self.gemino:
            prefer_short_tags(self._connection)
        if self._incoming is not None:
            self._incoming.tap(self._connection)

    async def _prepare(self) -> None:
        await self._candidates.prepare()
        if self._options.ice.policy == "relay" and not self._candidates.ours:
            failures = "; ".join(self._candidates.failures)
            raise IceError(f"ICE: no TURN server relays for us: {failures}")

    def _be_plain(self) -> None:
        logger.warning(
            "the other peer is no Gemino: it gets plain VP8, and its picture is only enlarged"
        )
        if self._outgoing is not None:
            self._outgoing.serve_plainly(self._connection)
        if self._incoming is not None:
            self._incoming.expect_plainly()

    def _open_channel(self) -> None:
        self.channel = self._connection.createDataChannel("gemino", negotiated=True, id=0)
        self.channel.on("message", self._on_message)

    def _receive_kinds(self, *kinds: str) -> None:
        """Be ready for these kinds of media, whether we send them or not."""
        there = {t.kind for t in self._connection.getTransceivers()}
        for kind in kinds:
            if kind not in there and self._incoming is not None:
                self._connection.addTransceiver(kind, direction="recvonly")

    def _prefer_codecs(self) -> None:
        for transceiver in self._connection.getTransceivers():
            if transceiver.kind == "video":
                prefer(transceiver, self._options.media.lr_codecs)

    async def _send_description(self) -> None:
        description = self._connection.localDescription
        message = to_message(description, more_to_come=self._candidates.more_to_come)
        media = self._options.media
        wish = our_wish(media.sound, media.kbps, sends=self._outgoing is not None)
        message["sdp"] = with_wish(message["sdp"], wish)
        await self._tell(message)
