"""How speech is to be coded: what the user asks for, and what the other peer asks of us in SDP.

Opus's format parameters (RFC 7587, section 6.1) say what a *receiver* wants to get. Each side
therefore writes down its own wish and sends by the other's, never above what its user allows.
"""

import re
from dataclasses import dataclass

from gemino.call.opus import LEAST_FEC_KBPS, OpusSettings
from gemino.call.sound_copies import MIN_AUDIO_KBPS
from gemino.errors import CallError

MAX_AUDIO_KBPS = 32.0
PACKET_MS = (20, 40, 60)
_LEAST_LOSS_PERCENT, _MOST_LOSS_PERCENT = 10, 25
"""What FEC is coded for: some from the start, else a call's first loss is heard; libopus makes no
difference above 25."""
_OPUS = re.compile(r"a=rtpmap:(\d{1,3}) opus/48000/2", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,9}")
_COPIES = "x-gemino-copies"
"""A format parameter of ours: packets may bring copies along (`sound_copies`)."""
_LOWEST_BITRATE, _HIGHEST_BITRATE = 6_000, 510_000  # RFC 7587, section 6.1
_MAX_SDP_LINES = 2_000


@dataclass(frozen=True, slots=True)
class SoundOptions:
    """What the user asks for. kbps, packet_ms: None to go by the rate of the video."""

    kbps: float | None = None
    packet_ms: int | None = None

    def __post_init__(self) -> None:
        if self.kbps is not None and not MIN_AUDIO_KBPS <= self.kbps <= MAX_AUDIO_KBPS:
            raise CallError(
                f"audio-kbps must be in {MIN_AUDIO_KBPS:g}..{MAX_AUDIO_KBPS:g}, not {self.kbps:g}"
            )
        if self.packet_ms is not None and self.packet_ms not in PACKET_MS:
            raise CallError(f"audio-ptime must be 20, 40 or 60, not {self.packet_ms}")

    def settings(self, video_kbps: float) -> OpusSettings:
        """How to code where the other peer has no wishes of its own.

        A packet costs 50 bytes of headers: 20 kbps at 20 ms, 6.7 at 60 ms.
        """
        if video_kbps < 30:
            kbps, packet_ms = 6.0, 60
        elif video_kbps < 100:
            kbps, packet_ms = LEAST_FEC_KBPS, 60
        else:
            kbps, packet_ms = 24.0, 20 if video_kbps >= 300 else 40
        return OpusSettings(
            kbps=self.kbps or kbps,
            packet_ms=self.packet_ms or packet_ms,
            fec=True,
            loss_percent=_LEAST_LOSS_PERCENT,
            dtx=True,
        )


@dataclass(frozen=True, slots=True)
class SoundWish:
    """What one side wants to receive. max_kbps, packet_ms: None where it does not say.

    copies: it knows those of `sound_copies`.
    """

    max_kbps: float | None = None
    packet_ms: int | None = None
    max_packet_ms: int | None = None
    fec: bool = False
    dtx: bool = False
    copies: bool = False

    def applied(self, own: OpusSettings) -> OpusSettings:
        """`own` settings as far as the other side, whose wish this is, wants them."""
        packet_ms = own.packet_ms
        if self.packet_ms is not None:
            packet_ms = max(packet_ms, self.packet_ms)  # longer, or our rate is not what we said
        if self.max_packet_ms is not None:
            packet_ms = min(packet_ms, self.max_packet_ms)
        fitting = [ms for ms in PACKET_MS if ms <= packet_ms] or [PACKET_MS[0]]
        return OpusSettings(
            kbps=own.kbps if self.max_kbps is None else min(own.kbps, self.max_kbps),
            packet_ms=fitting[-1],
            fec=own.fec and self.fec,
            loss_percent=own.loss_percent,
            dtx=own.dtx and self.dtx,
        )


def our_wish(options: SoundOptions, video_kbps: float, *, sends: bool) -> SoundWish:
    """What we ask for: sound coded as we would code it ourselves.

    Who only receives has said nothing of its link by `video_kbps`, and leaves the rate open unless
    its user has not.
    """
    settings = options.settings(video_kbps)
    return SoundWish(
        max_kbps=settings.kbps if sends or options.kbps is not None else MAX_AUDIO_KBPS,
        packet_ms=settings.packet_ms if sends or options.packet_ms is not None else None,
        max_packet_ms=PACKET_MS[-1],
        fec=settings.fec,
        dtx=settings.dtx,
        copies=True,
    )


def expected_loss(lost: float) -> int:
    """What to code FEC for, in percent, where a share `lost` (0..1) of the packets is lost."""
    return min(max(round(lost * 100), _LEAST_LOSS_PERCENT), _MOST_LOSS_PERCENT)


def with_wish(sdp: str, wish: SoundWish) -> str:
    """A description of ours with `wish` in its audio section; without Opus, as it was."""
    lines = sdp.splitlines()
    for number, line in enumerate(lines):
        found = _OPUS.fullmatch(line)
        if found is None:
            continue
        said = ["minptime=10", f"useinbandfec={int(wish.fec)}", f"usedtx={int(wish.dtx)}"]
        said += ["stereo=0", *([f"{_COPIES}=1"] if wish.copies else [])]
        if wish.max_kbps is not None:
            said.append(f"maxaveragebitrate={round(wish.max_kbps * 1000)}")
        more = [f"a=fmtp:{found[1]} {';'.join(said)}"]
        more += [] if wish.packet_ms is None else [f"a=ptime:{wish.packet_ms}"]
        more += [] if wish.max_packet_ms is None else [f"a=maxptime:{wish.max_packet_ms}"]
        lines[number + 1 : number + 1] = more
        break
    return "\r\n".join(lines) + "\r\n"


def read_wish(sdp: str) -> SoundWish:
    """The other side's wish, from its description; what makes no sense there is left out."""
    section = _audio_section(sdp)
    payload_type = next((found[1] for line in section if (found := _OPUS.fullmatch(line))), None)
    if payload_type is None:
        return SoundWish()
    parameters: dict[str, int] = {}
    for line in section:
        if line.startswith(f"a=fmtp:{payload_type} "):
            for part in line.partition(" ")[2].split(";"):
                name, _, value = part.strip().partition("=")
                _put(parameters, name.lower(), value)
        elif line.startswith(("a=ptime:", "a=maxptime:")):
            name, _, value = line[2:].partition(":")
            _put(parameters, name, value)
    bitrate = parameters.get("maxaveragebitrate")
    if bitrate is not None:
        bitrate = min(max(bitrate, _LOWEST_BITRATE), _HIGHEST_BITRATE)
    return SoundWish(
        max_kbps=None if bitrate is None else bitrate / 1000,
        packet_ms=parameters.get("ptime"),
        max_packet_ms=parameters.get("maxptime"),
        fec=parameters.get("useinbandfec") == 1,
        dtx=parameters.get("usedtx") == 1,
        copies=parameters.get(_COPIES) == 1,
    )


def _audio_section(sdp: str) -> list[str]:
    section: list[str] = []
    inside = False
    for line in sdp.splitlines()[:_MAX_SDP_LINES]:
        if line.startswith("m="):
            if inside:
                break
            inside = line.startswith("m=audio ")
        if inside:
            section.append(line.strip())
    return section


def _put(parameters: dict[str, int], name: str, value: str) -> None:
    if _NUMBER.fullmatch(value.strip()):
        parameters.setdefault(name, int(value))
