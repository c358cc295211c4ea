"""Our LR codec under aiortc's stock sender: frames in, RTP payloads out."""

import logging
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from aiortc.codecs.base import Encoder
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.mediastreams import VIDEO_TIME_BASE, convert_timebase

from gemino.call import av1_payload
from gemino.config import LrCodec
from gemino.errors import CallError, GeminoError
from gemino.frames import Frame

logger = logging.getLogger(__name__)

PAYLOAD_MAX_BYTES = 1_200
_PICTURE_ID_MODULUS = 1 << 15
_KEY_FRAME_EVERY_S = 0.3
"""On demand: a peer that got one with each picture would get fifteen times the rate."""

EncodePicture = Callable[[Frame, float, bool], bytes]
"""(frame, media time in seconds, key frame wanted) -> one coded picture."""


class LrSlot(Encoder):
    """Fills the encoder slot of a video sender: runs `encode` and packetises.

    Called in one worker thread at a time; b"" of `encode` is no picture. codec: what `encode`
    gives, to be set before media flows. failure: the error that ended the stream; the stock sender
    would only log it.
    """

    def __init__(self, encode: EncodePicture, codec: LrCodec = "vp8") -> None:
        self.codec = codec
        self.failure: GeminoError | None = None
        self.packets = 0
        self.first: tuple[bytes, int] | None = None
        """The first payload and its timestamp before the sender's random offset."""
        self._encode = encode
        self._picture_id = 0
        self._wants_keyframe = False
        self._forced_at_s = -_KEY_FRAME_EVERY_S

    def hand_over(self, encode: EncodePicture, codec: LrCodec) -> None:
        """Run `encode` from now on, which gives `codec`; once media flows, the same as before."""
        self._encode, self.codec = encode, codec

    def request_keyframe(self) -> None:
        """Make the next picture a key frame, if the last one on demand is old enough."""
        self._wants_keyframe = True

    def encode(self, frame: object, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        assert isinstance(frame, av.VideoFrame)
        assert frame.pts is not None
        assert frame.time_base is not None
        timestamp = convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)
        pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        try:
            time_s = float(frame.pts * frame.time_base)
            picture = self._encode(pixels, time_s, self._forces(force_keyframe, time_s))
            return self._packetize(picture, timestamp) if picture else ([], timestamp)
        except GeminoError as error:
            self.failure = error
        except Exception as error:  # a thread's edge: else the call would go on and send nothing
            logger.debug("a picture cannot be coded", exc_info=True)
            self.failure = CallError(f"pictures cannot be sent any more: {error}")
        return [], timestamp

    def pack(self, packet: "av.Packet[Any]") -> tuple[list[bytes], int]:
        assert packet.pts is not None
        assert packet.time_base is not None
        timestamp = convert_timebase(packet.pts, packet.time_base, VIDEO_TIME_BASE)
        return self._packetize(bytes(packet), timestamp)

    def _forces(self, asked: bool, time_s: float) -> bool:
        """Whether to force a key frame at `time_s`; what is asked for too soon waits."""
        self._wants_keyframe |= asked
        if not self._wants_keyframe or time_s - self._forced_at_s < _KEY_FRAME_EVERY_S:
            return False
        self._wants_keyframe, self._forced_at_s = False, time_s
        return True

    def _packetize(self, picture: bytes, timestamp: int) -> tuple[list[bytes], int]:
        if self.codec == "av1":
            payloads = av1_payload.packetize(picture, PAYLOAD_MAX_BYTES)
        else:
            payloads = packetize_vp8(picture, self._picture_id)
        self._picture_id = (self._picture_id + 1) % _PICTURE_ID_MODULUS
        self.packets += len(payloads)
        if self.first is None and payloads:
            self.first = payloads[0], timestamp
        return payloads, timestamp


def packetize_vp8(picture: bytes, picture_id: int) -> list[bytes]:
    """One coded picture as RTP payloads with VP8 descriptors (RFC 7741, section 4.2)."""
    payloads = []
    descriptor = VpxPayloadDescriptor(partition_start=1, partition_id=0, picture_id=picture_id)
    at = 0
    while at < len(picture):
        head = bytes(descriptor)
        size = PAYLOAD_MAX_BYTES - len(head)
        payloads.append(head + picture[at : at + size])
        descriptor.partition_start = 0
        at += size
    return payloads
