"""What `gemino doctor` looks at: each check says in one line how it stands, and what to do."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from gemino.call.camera import CameraSource
from gemino.call.devices import list_cameras
from gemino.call.governor import MOST_EVERY
from gemino.call.opus import OpusDecoder, OpusEncoder, OpusSettings, version
from gemino.call.pattern import draw_pattern
from gemino.call.receiver import REBUILDERS
from gemino.cli.meeting import DEFAULT_PORT
from gemino.cli.sound_checks import loudspeaker, microphone
from gemino.config import LrCodec, Rung, Sampling
from gemino.errors import GeminoError
from gemino.frames import Frame
from gemino.runtime import Runtime, Synthesizer, open_synthesizer
from gemino.sampling import shrink
from gemino.video.lr import LrDecoder, LrEncoder
from gemino.video.reference import decode_picture, encode_picture
from gemino.zoo import find

Status = Literal["ok", "note", "missing"]

SIZES_PX = (512, 1024)
LIVE_FPS = 30.0
_SPARE = 1.2
"""A call also decodes, records and takes packets in."""
_LR_CODECS: tuple[LrCodec, ...] = ("av1", "vp8")
_LOG2_BITS_PER_PIXEL = -5.0  # 15 kbps at 128 px


@dataclass(frozen=True, slots=True)
class Check:
    """status: "note" is worth knowing, "missing" something without which there is no call.

    facts: the same for programs.
    """

    name: str
    status: Status
    says: str
    facts: dict[str, Any] = field(default_factory=dict)


def run_checks(model: str | None, runtime: Runtime, seconds: float) -> Iterator[Check]:
    """All checks, in the order to be read. seconds: to time the network, at each size.

    model: None for calls without a network.
    """
    yield check_machine()
    if (load := check_load(os.getloadavg()[0], os.cpu_count() or 1)) is not None:
        yield load
    for name, look in (
        ("codecs", _codecs),
        ("sound", _sound),
        ("camera", _camera),
        ("mic", microphone),
        ("speaker", loudspeaker),
        ("udp", _udp),
        ("tcp", _tcp),
    ):
        yield _checked(name, look)
    yield from _network(model, runtime, seconds)


def check_machine() -> Check:
    """The processor, what of it matters here, and the GPU."""
    if find_spec("torch") is None:
        says = "torch is not installed: only an export can be run (gemino export, --runtime onnx)"
        return Check("machine", "note", says)
    from gemino.timing.machine import describe

    machine = describe()
    features = ", ".join(machine.isa) or "no extension that would help"
    gpu = f"GPU {machine.gpu}" if machine.gpu else "no GPU: the network runs on the processor"
    says = f"{machine.cpu}, {machine.cores} cores ({features}); {gpu}"
    return Check("machine", "ok", says, machine.json())


def check_load(busy: float, cores: int) -> Check | None:
    """A note where other programs leave too little of the machine. busy: processes that run."""
    if busy < cores / 2:
        return None
    says = f"other programs keep {busy:.1f} of {cores} cores busy: what is timed here will be low"
    return Check("load", "note", says, {"busy": busy, "cores": cores})


def expect(speeds: dict[int, float]) -> str:
    """What somebody can expect of a call. speeds: pictures a second by size."""
    if not speeds:
        return "Calls work, and show the small picture enlarged: there is no network to rebuild it."
    live = [px for px, fps in speeds.items() if fps >= LIVE_FPS * _SPARE]
    carried = [px for px, fps in speeds.items() if fps >= LIVE_FPS / MOST_EVERY * _SPARE]
    if live:
        says = f"In real time here: {max(live)} px at 30 frames a second (--size {max(live)})."
    elif carried:
        says = "No size runs in real time here with every picture drawn."
    else:
        says = "No size runs in real time here."
    rest = [px for px in speeds if not live or px > max(live)]
    if fewer := [px for px in rest if px in carried]:
        says += (
            f" At {_sizes(fewer)} a call keeps up by drawing every second or third picture; those"
            " in between take over its detail."
        )
    if smaller := [px for px in rest if px not in carried]:
        says += (
            f" At {_sizes(smaller)} a call also draws smaller pictures, or uses a lighter network,"
            " and enlarges them."
        )
    return says


def _sizes(sizes_px: list[int]) -> str:
    return " and ".join(f"{px} px" for px in sizes_px)


def _checked(name: str, look: Callable[[], tuple[Status, str, dict[str, Any]]]) -> Check:
    """A check's outcome; one that fails in an unforeseen way has failed, and the rest goes on."""
    try:
        return Check(name, *look())
    except (GeminoError, OSError) as error:
        return Check(name, "missing", str(error))


def _codecs() -> tuple[Status, str, dict[str, Any]]:
    picture = draw_pattern(128, 0)
    for codec in _LR_CODECS:
        encoder = LrEncoder(Rung(codec, 128, 12.0), Fraction(30))
        LrDecoder(codec).decode(encoder.encode(picture).data)
    decode_picture(encode_picture(picture, 12_000))
    return "ok", "AV1 and VP8 code and decode, and so do references", {"lr": list(_LR_CODECS)}


def _sound() -> tuple[Status, str, dict[str, Any]]:
    silence = np.zeros(2_880, np.int16)
    OpusDecoder().decode(OpusEncoder(OpusSettings()).encode(silence))
    return "ok", f"Opus codes and decodes ({version()})", {"opus": version()}


def _camera() -> tuple[Status, str, dict[str, Any]]:
    try:
        cameras = list_cameras()
        if not cameras:
            says = "none is connected; --input FILE sends a clip, --test-pattern a picture"
            return "note", says, {"cameras": []}
        first, facts = cameras[0], {"cameras": [camera.device for camera in cameras]}
        feed = CameraSource(first.device).open(SIZES_PX[0], LIVE_FPS, None)
        feed.close()
    except GeminoError as error:
        return "note", str(error), {}
    says = f"{first.device} ({first.name}) gives {float(feed.fps):g} pictures a second"
    return "ok", says, {**facts, "fps": float(feed.fps)}


def _udp() -> tuple[Status, str, dict[str, Any]]:
    """A datagram from one socket to another, on a free port each."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        one.settimeout(1.0)
        try:
            other.sendto(b"gemino", one.getsockname())
            one.recv(16)
        except TimeoutError:
            return "missing", "datagrams do not arrive: a firewall stops UDP on this machine", {}
    return "ok", "ports are free, and datagrams arrive", {}


def _tcp() -> tuple[Status, str, dict[str, Any]]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", DEFAULT_PORT))  # noqa: S104 - as --listen does
        except OSError as error:
            says = f"port {DEFAULT_PORT} is not free ({error.strerror}): --listen wants --port 0"
            return "note", says, {"free": False}
    return "ok", f"port {DEFAULT_PORT} is free for --listen", {"free": True}


def _network(model: str | None, runtime: Runtime, seconds: float) -> Iterator[Check]:
    """The model, and how fast this machine draws with it."""
    if model is None or runtime == "classical":
        yield Check("model", "note", "none: calls show the small picture enlarged")
        return
    try:
        files = find(model)
        yield Check(
            "model",
            "ok",
            f"{files.config.name} in {files.path}, as its checksum says",
            {"name": files.config.name, "path": str(files.path), "sha256": files.sha256},
        )
        for size_px in SIZES_PX:
            synthesizer = open_synthesizer(model, size_px, runtime=runtime)
            fps = frames_a_second(synthesizer, seconds)
            yield Check(
                f"{size_px} px",
                "ok" if fps >= LIVE_FPS * _SPARE else "note",
                f"{fps:.1f} pictures a second by {synthesizer.way}",
                {"size_px": size_px, "fps": round(fps, 2), "runtime": synthesizer.way},
            )
    except GeminoError as error:
        yield Check("model", "missing", str(error))


def frames_a_second(synthesizer: Synthesizer, seconds: float) -> float:
    """How many pictures a second the network draws, as many at a time as in a call."""
    picture = draw_pattern(synthesizer.output_px, 0)
    synthesizer.add_reference(picture)
    sampling = Sampling(128)
    lr = shrink(picture, sampling)

    over = threading.Event()

    def draw(until_s: float) -> int:
        drawn = 0
        while time.perf_counter() < until_s and not over.is_set():
            _draw(synthesizer, lr, sampling)
            drawn += 1
        return drawn

    with ThreadPoolExecutor(REBUILDERS) as pool:
        list(pool.map(lambda _: _draw(synthesizer, lr, sampling), range(REBUILDERS)))
        start = time.perf_counter()
        try:
            drawn = sum(pool.map(draw, [start + seconds] * REBUILDERS))
        finally:
            over.set()  # Ctrl-C does not wait until the time is up
        return drawn / (time.perf_counter() - start)


def _draw(synthesizer: Synthesizer, lr: Frame, sampling: Sampling) -> None:
    synthesizer.synthesize(lr, sampling, _LOG2_BITS_PER_PIXEL)
