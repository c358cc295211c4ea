"""What a call is asked for, and what it reports."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from gemino.call.display import Display, Listener
from gemino.call.ice import IceOptions
from gemino.call.sound_format import SoundOptions
from gemino.call.sources import Source
from gemino.call.speaker import Speaker
from gemino.config import MAX_KBPS, MIN_KBPS, OUTPUT_SIZES_PX, LrCodec
from gemino.errors import CallError
from gemino.gallery import Gallery
from gemino.runtime import Device, Runtime

LrChoice = Literal["auto", "av1", "vp8"]

DEFAULT_MODEL = "generic-s"


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """What both peers of a call agree on beforehand.

    kbps: video payload, references included, sound apart. size_px: side of the rebuilt picture.
    model: name or folder of the network, None for classical upsampling. seconds: end so long
    after the start. lr_codec: of the LR stream; "auto" is AV1 where both peers have it, else VP8.
    runtime, device: what runs the network (`gemino.runtime.open_synthesizer`). fovea: look closer
    at the face where the LR stream is AV1 and the other peer knows it. time_code: write one into
    each picture that is sent, and read it from each that is shown (`gemino.call.timecode`). sound:
    its rate and packets.
    """

    kbps: float = 15.0
    size_px: int = 512
    model: str | None = DEFAULT_MODEL
    seconds: float | None = None
    lr_codec: LrChoice = "auto"
    runtime: Runtime = "auto"
    fovea: bool = False
    time_code: bool = False
    device: Device = "auto"
    sound: SoundOptions = field(default_factory=SoundOptions)

    @property
    def lr_codecs(self) -> tuple[LrCodec, ...]:
        """The LR codecs that may be used, the best first."""
        return ("av1", "vp8") if self.lr_codec == "auto" else (self.lr_codec,)

    def __post_init__(self) -> None:
        if not MIN_KBPS <= self.kbps <= MAX_KBPS:
            raise CallError(f"kbps must be in {MIN_KBPS:g}..{MAX_KBPS:g}, not {self.kbps:g}")
        if self.size_px not in OUTPUT_SIZES_PX:
            sizes = ", ".join(map(str, OUTPUT_SIZES_PX))
            raise CallError(f"size must be one of {sizes}, not {self.size_px}")
        if self.lr_codec not in get_args(LrChoice):
            raise CallError(f"lr-codec must be auto, av1 or vp8, not {self.lr_codec!r}")
        if self.fovea and self.lr_codec == "vp8":
            raise CallError("--fovea is for AV1: leave --lr-codec vp8 out")
        if self.seconds is not None and not self.seconds > 0:
            raise CallError(f"seconds must be above 0, not {self.seconds:g}")


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """One peer: it sends its `source` if there is one, and receives if there is an `output`, a
    lossless one or a display.

    room, server_url: where the peers meet; token: for a server that asks for one. output: .mp4 or
    .mkv of what is shown. lossless: .mkv, every shown frame bit for bit. frame_log: JSON lines, one
    per frame sent or shown. stats: JSON lines, one a second. local: use 127.0.0.1 and nothing else;
    both peers are on this machine. supervised: leave when standard input closes. wait_s: how long
    to wait for the other peer. displays: open ones, for whoever opened them to close.
    ice: STUN and TURN servers. speaker: an open one, to hear the other side, likewise. gallery:
    keeps references, and what the other side lends, for the next call. lends: our own adapter, a
    file, for the other side to draw us with.
    """

    room: str
    server_url: str
    media: MediaOptions = MediaOptions()
    token: str | None = None
    source: Source | None = None
    output: Path | None = None
    lossless: Path | None = None
    frame_log: Path | None = None
    stats: Path | None = None
    local: bool = False
    supervised: bool = False
    wait_s: float = 120.0
    displays: tuple[Display, ...] = ()
    gallery: Gallery | None = None
    lends: bytes | None = None
    ice: IceOptions = field(default_factory=IceOptions)
    speaker: Speaker | None = None

    def __post_init__(self) -> None:
        if self.source is None and not self.receives:
            raise CallError(
                "nothing to do: give --camera, --input or --test-pattern to send, -o to receive"
            )

    @property
    def receives(self) -> bool:
        return bool(self.output or self.lossless or self.displays or self.speaker)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Those of the displays that take the sound too."""
        return tuple(display for display in self.displays if isinstance(display, Listener))


@dataclass(frozen=True, slots=True)
class LoopbackOptions:
    """A call between two processes on this machine.

    clip: None for the test pattern. loop: play the clip again and again, to the end of
    media.seconds or for ever. record_lossless: lossless .mkv of every shown frame; beside it, with
    the suffix .jsonl, a line for each in the same order: source_index, source_time_s, shown_s,
    latency_ms, neural, lr_px. stats: JSON lines of both peers. port: of the signalling server, 0
    for a free one. show: open a window on the receiver. speaker: its loudspeaker, as --speaker.
    verbosity: how much of what happens in the peers is logged here: 0 nothing, 1 INFO, 2 DEBUG.
    """

    clip: Path | None
    media: MediaOptions = MediaOptions()
    output: Path | None = None
    record_lossless: Path | None = None
    stats: Path | None = None
    port: int = 0
    loop: bool = False
    show: bool = False
    speaker: str | None = None
    verbosity: int = 0


@dataclass(frozen=True, slots=True)
class LoopbackReport:
    """What a loopback call measured.

    payload_kbps: video payload, references amortised over a minute or the clip, whichever is
    longer; lr_kbps and reference_kbps are its parts; audio_kbps comes on top and total_kbps is all
    of it. onwire_kbps: every byte from sender to receiver, headers included, and those that are
    sent once (references, the connection's making) amortised likewise; onwire_bytes: all of them,
    undivided. frames_in_clip: those to be sent; frames_interpolated: made by the receiver from two
    of them each, and shown besides frames_shown. fps_shown: all that is shown over the clip's time.
    latency_ms: capture to shown, p50 and p95. warnings: what went wrong without ending the call.
    frames_carried: those of frames_neural that show the detail of
    the last drawn one. drawn_px, drawn_by, drawn_every: how the network drew at the end, which is
    not what was asked for where this machine could not keep up; keeping_up: the same in words, or
    "". runtime: what ran the network. start_s: from the receiver's start, as a process, to the
    first picture shown, the search for the other peer included. glass_to_glass: what the time code
    says, where there is one (`gemino.call.timecode.tally`).
    """

    clip: str
    size: int
    lr_px: int
    drawn_px: int
    drawn_by: str
    drawn_every: int
    keeping_up: str
    runtime: str
    start_s: float | None
    lr_codec: str
    model: str
    fps: float
    seconds: float
    frames_in_clip: int
    frames_sent: int
    frames_shown: int
    frames_interpolated: int
    frames_neural: int
    frames_carried: int
    fps_shown: float
    payload_kbps: float
    lr_kbps: float
    reference_kbps: float
    audio_kbps: float
    total_kbps: float
    onwire_kbps: float
    onwire_bytes: int
    lr_bytes: int
    reference_bytes: int
    references: int
    first_neural_s: float | None
    latency_ms: dict[str, float | None]
    synthesize_ms: dict[str, float | None]
    decode_ms: dict[str, float | None]
    encode_ms: dict[str, float | None]
    peak_rss_mb: dict[str, float]
    packets_lost: int
    output: str | None = None
    record_lossless: str | None = None
    frame_log: str | None = None
    glass_to_glass: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values for json.dumps."""
        return asdict(self)
