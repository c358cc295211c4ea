"""libopus itself: what FFmpeg's wrapper of it leaves out.

FFmpeg decodes a packet or says nothing. libopus also makes up for a lost one, from the speech
before it (concealment) or, where the sender has put a coarse copy of each packet into the next
one, from that (in-band FEC, RFC 6716, section 2.1.7); and its encoder can be told a new rate while
it runs. The library is the one that PyAV brings with it, else the system's.

Samples are mono int16 [N] at 48 kHz.
"""

import ctypes
import ctypes.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from weakref import finalize

import av
import numpy as np
from numpy.typing import NDArray

from gemino.errors import CodecError

SAMPLE_RATE_HZ = 48_000
MAX_PACKET_BYTES = 1_275
"""RFC 6716, section 3.2.1."""
MAX_PACKET_SAMPLES = 5_760
"""120 ms, RFC 6716, section 3.2.5."""
LEAST_FEC_KBPS = 18.0
"""Below, libopus finds no room for FEC at any loss that can be told to it."""
_CHANNELS = 1
_OK = 0
_VOIP = 2048
_VOICE = 3001
_SET_BITRATE, _SET_VBR, _SET_INBAND_FEC = 4002, 4006, 4012
_SET_PACKET_LOSS_PERC, _SET_DTX, _SET_SIGNAL, _GET_LOOKAHEAD = 4014, 4016, 4024, 4027
_SET_MAX_BANDWIDTH, _WIDEBAND, _FULLBAND = 4004, 1103, 1105

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class OpusSettings:
    """How speech is coded.

    kbps: on average, 6 to 510. packet_ms: 20, 40 or 60. fec: put a coarse copy of each packet into
    the next one, which libopus does where `loss_percent` (expected, 0..100) and the rate make it
    worth its bits. dtx: nothing to send in silence, but for a packet every 400 ms.
    """

    kbps: float = 6.0
    packet_ms: int = 60
    fec: bool = False
    loss_percent: int = 0
    dtx: bool = False


class OpusEncoder:
    """Mono speech to Opus packets. Not to be used by two threads at once.

    lookahead: samples by which what is decoded lies behind what was encoded.
    """

    def __init__(self, settings: OpusSettings) -> None:
        self._opus = _library()
        error = ctypes.c_int()
        self._state = ctypes.c_void_p(
            self._opus.opus_encoder_create(SAMPLE_RATE_HZ, _CHANNELS, _VOIP, ctypes.byref(error))
        )
        _check(error.value, self._opus)
        finalize(self, self._opus.opus_encoder_destroy, self._state)
        self._set(_SET_SIGNAL, _VOICE)
        self._set(_SET_VBR, 1)
        lookahead = ctypes.c_int()
        pointer = ctypes.byref(lookahead)
        _check(self._opus.opus_encoder_ctl(self._state, _GET_LOOKAHEAD, pointer), self._opus)
        self.lookahead = lookahead.value
        self.set(settings)

    def set(self, settings: OpusSettings) -> None:
        """Code what follows like this; raises CodecError where a value is out of range."""
        self._set(_SET_BITRATE, int(settings.kbps * 1000))
        self._set(_SET_INBAND_FEC, int(settings.fec))
        self._set(_SET_PACKET_LOSS_PERC, settings.loss_percent)
        self._set(_SET_DTX, int(settings.dtx))
        # Above 8 kHz of sound there are frames of 20 ms only; a longer packet would be three of
        # them, and its FEC copy hold the last one alone.
        long = settings.packet_ms > 20
        self._set(_SET_MAX_BANDWIDTH, _WIDEBAND if long else _FULLBAND)
        self._samples = settings.packet_ms * SAMPLE_RATE_HZ // 1000

    def encode(self, samples: Samples) -> bytes:
        """`packet_ms` of speech as one packet; 2 bytes or fewer: DTX leaves nothing to be sent.

        Raises CodecError where there are more or fewer samples.
        """
        block = np.ascontiguousarray(samples, np.int16)
        if block.shape != (self._samples,):
            raise CodecError(f"Opus: {block.size} samples are no packet of {self._samples}")
        packet = ctypes.create_string_buffer(MAX_PACKET_BYTES)
        size = self._opus.opus_encode(
            self._state, block.ctypes.data, len(block), packet, MAX_PACKET_BYTES
        )
        return packet.raw[: _check(size, self._opus)]

    def _set(self, request: int, value: int) -> None:
        _check(self._opus.opus_encoder_ctl(self._state, request, ctypes.c_int32(value)), self._opus)


class OpusDecoder:
    """Opus packets, whatever their length and channels, to mono speech."""

    def __init__(self) -> None:
        self._opus = _library()
        error = ctypes.c_int()
        self._state = ctypes.c_void_p(
            self._opus.opus_decoder_create(SAMPLE_RATE_HZ, _CHANNELS, ctypes.byref(error))
        )
        _check(error.value, self._opus)
        finalize(self, self._opus.opus_decoder_destroy, self._state)

    def decode(self, packet: bytes) -> Samples:
        """The packet's samples; raises CodecError where it is damaged."""
        return self._decode(packet, MAX_PACKET_SAMPLES, recover=False)

    def conceal(self, samples: int) -> Samples:
        """`samples` (a multiple of 120, at most 5,760) that go on from what was decoded last."""
        return self._decode(None, samples, recover=False)

    def recover(self, packet: bytes, samples: int) -> Samples:
        """The lost `samples` before `packet`, from its FEC copy, else concealed.

        To be called before `packet` is decoded; raises CodecError where it is damaged.
        """
        return self._decode(packet, samples, recover=True)

    def _decode(self, packet: bytes | None, samples: int, *, recover: bool) -> Samples:
        if packet is not None and not 0 < len(packet) <= MAX_PACKET_BYTES:
            raise CodecError(f"an Opus packet has 1 to {MAX_PACKET_BYTES} bytes: {len(packet)}")
        block = np.empty(samples, np.int16)
        size = 0 if packet is None else len(packet)
        decoded = self._opus.opus_decode(
            self._state, packet, size, block.ctypes.data, samples, int(recover)
        )
        return block[: _check(decoded, self._opus)]


def packet_samples(packet: bytes) -> int:
    """How many samples `packet` holds, by its first bytes; 0 where it is damaged."""
    if not 0 < len(packet) <= MAX_PACKET_BYTES:
        return 0
    samples = int(_library().opus_packet_get_nb_samples(packet, len(packet), SAMPLE_RATE_HZ))
    return max(samples, 0)


def has_fec_copy(packet: bytes) -> bool:
    """Whether a packet of one frame, or of two alike, begins with a copy of the one before.

    RFC 6716, sections 3.1 and 4.2.3: behind a flag of speech for each 20 ms. Of CELT there is none.
    """
    if len(packet) < 2 or packet[0] & 0x3 > 1:
        return False
    kind = packet[0] >> 3
    if kind >= 16:
        return False
    frame_ms = (10, 20, 40, 60)[kind % 4] if kind < 12 else (10, 20)[kind % 2]
    return bool(packet[1] >> (7 - max(frame_ms // 20, 1)) & 1)


def version() -> str:
    """The library's own words; raises CodecError where there is none."""
    return bytes(_library().opus_get_version_string()).decode()


def _check(result: int, opus: ctypes.CDLL) -> int:
    """`result` of a function of libopus; raises CodecError where it is an error."""
    if result < _OK:
        raise CodecError(f"Opus: {bytes(opus.opus_strerror(result)).decode()}")
    return result


@cache
def _library() -> ctypes.CDLL:
    for name in _candidates():
        try:
            return _declared(ctypes.CDLL(name))
        except (OSError, AttributeError):  # of another machine, or no libopus
            continue
    raise CodecError("libopus is missing: install libopus0, or PyAV as a wheel (pip install av)")


def _candidates() -> Iterator[str]:
    package = Path(av.__file__).parent
    # Where the tools that make wheels put a library on Linux and Windows, and on macOS.
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from map(str, sorted(folder.glob("libopus*")))
    system = ctypes.util.find_library("opus")
    if system is not None:
        yield system


def _declared(opus: ctypes.CDLL) -> ctypes.CDLL:
    """opus/opus.h; the last argument of opus_encoder_ctl is variadic and stays open."""
    integer, pointer, text = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("opus_encoder_create", pointer, [ctypes.c_int32, integer, integer, pointer]),
        ("opus_encoder_destroy", None, [pointer]),
        ("opus_encoder_ctl", integer, [pointer, integer]),
        ("opus_encode", ctypes.c_int32, [pointer, pointer, integer, text, ctypes.c_int32]),
        ("opus_decoder_create", pointer, [ctypes.c_int32, integer, pointer]),
        ("opus_decoder_destroy", None, [pointer]),
        (
            "opus_decode",
            integer,
            [pointer, text, ctypes.c_int32, pointer, integer, integer],
        ),
        ("opus_packet_get_nb_samples", integer, [text, ctypes.c_int32, ctypes.c_int32]),
        ("opus_strerror", text, [integer]),
        ("opus_get_version_string", text, []),
    ):
        function = getattr(opus, name)
        function.restype, function.argtypes = result, arguments
    return opus
