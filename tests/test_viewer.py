"""What the receiver's threads make ready before it is asked for, leave out, and survive."""

import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemino.call import receiver
from gemino.call.adaptation import split
from gemino.call.display import ShownFrame
from gemino.call.incoming import Incoming
from gemino.call.jitter import Picture
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.receiver import Viewer
from gemino.call.recorder import Recorder
from gemino.call.stats import Counters
from gemino.config import REFERENCES_HELD, Rung, Sampling
from gemino.frames import Frame
from gemino.runtime import ClassicalSynthesizer, timings
from gemino.video.lr import LrEncoder
from gemino.video.reference import encode_picture
from gemino.zoo import find


class Recording(ClassicalSynthesizer):
    """Notes what it is told to expect."""

    def __init__(self, output_px: int) -> None:
        super().__init__(output_px)
        self.expected: list[Sampling] = []

    def expect(self, sampling: Sampling) -> None:
        self.expected.append(sampling)


@pytest.mark.parametrize("kbps", [8.0, 15.0, 50.0, 100.0])
def test_the_network_is_made_ready_for_the_rate_of_the_call(
    kbps: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    synthesizer = Recording(512)

    def opened(model: str | Path | None, output_px: int, **_: Any) -> Recording:
        assert (model, output_px) == ("generic-s", 512)
        return synthesizer

    monkeypatch.setattr(receiver, "open_synthesizer", opened)
    media = MediaOptions(kbps, 512, "generic-s", None, "av1")
    incoming = Incoming(PeerOptions("room", "", media, output=tmp_path / "received.mp4"))
    try:
        assert incoming.viewer.ready.wait(30)
        assert incoming.viewer.failure is None
        ladder = find("generic-s").ladders["av1"]
        assert synthesizer.expected == [split(kbps, 512, "av1", ladder).rung.sampling]
    finally:
        incoming.viewer.close()


class Slow(ClassicalSynthesizer):
    """Takes its time to make a reference ready."""

    NEEDS_S = 0.1

    def add_reference(self, reference: Frame) -> None:  # noqa: ARG002 - they are all alike
        time.sleep(self.NEEDS_S)


def test_references_that_come_faster_than_they_can_be_used_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiver, "open_synthesizer", lambda *_, **__: Slow(256))
    counters = Counters()
    data = encode_picture(np.full((256, 256, 3), 90, np.uint8), 4_000)
    viewer = Viewer(None, 256, counters, lambda _: None)
    assert viewer.ready.wait(30)
    began = time.monotonic()
    for _ in range(200):
        viewer.add_reference(data)
        time.sleep(0.005)
    flooded_s = time.monotonic() - began
    viewer.close(timeout_s=60)
    assert 0 < counters.references <= flooded_s / Slow.NEEDS_S + 2 * REFERENCES_HELD


def test_nothing_is_made_ready_for_a_stream_that_has_changed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synthesizer = Recording(256)
    monkeypatch.setattr(receiver, "open_synthesizer", lambda *_, **__: synthesizer)
    viewer = Viewer(None, 256, Counters(), lambda _: None, likely=Sampling(128))
    assert viewer.ready.wait(30)
    for sampling in (Sampling(64), Sampling(128)):
        viewer._expect(synthesizer, sampling)
    viewer.close()
    assert synthesizer.expected == [Sampling(128), Sampling(128)]


class Heavy(ClassicalSynthesizer):
    """A network, as far as the viewer can tell, that takes its time."""

    NEEDS_S = 0.09
    neural = True

    def __init__(self, output_px: int) -> None:
        super().__init__(output_px)
        self.name, self.way = "heavy", "by hand"

    def synthesize(self, lr: Frame, sampling: Sampling, log2_bits_per_pixel: float) -> Frame:
        time.sleep(self.NEEDS_S)
        return super().synthesize(lr, sampling, log2_bits_per_pixel)


def test_a_call_begins_in_the_mode_that_the_last_one_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(timings, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(receiver, "open_synthesizer", lambda *_, **__: Heavy(256))
    encoder, frame = LrEncoder(Rung("vp8", 64), Fraction(30)), np.zeros((64, 64, 3), np.uint8)
    coded = [encoder.encode(frame).data for _ in range(24)]
    first_modes = []
    for _ in range(2):
        counters = Counters()
        viewer = Viewer(None, 256, counters, lambda _: None)
        assert viewer.ready.wait(30)
        began = time.monotonic()
        for number, data in enumerate(coded):
            time.sleep(max(began + number / 30 - time.monotonic(), 0))
            viewer.push([Picture(number, number * 3000, data, time.monotonic())])
            if number == 3:
                first_modes.append(counters.drawn_every)
        viewer.close(timeout_s=60)
    assert first_modes[0] == 1
    assert first_modes[1] >= 2
    kept_s = timings.recall("heavy 256 px by hand, in a call")
    assert kept_s is not None
    assert kept_s > 0.95 * Heavy.NEEDS_S


def test_a_display_that_fails_ends_the_call_and_does_not_freeze_it() -> None:
    def show(shown: ShownFrame) -> None:
        raise RuntimeError(f"no room for {shown.frame.shape[0]} px")

    viewer = Viewer(None, 256, Counters(), show)
    assert viewer.ready.wait(30)
    encoder, frame = LrEncoder(Rung("vp8", 64), Fraction(30)), np.zeros((64, 64, 3), np.uint8)
    for number in range(20):
        data = encoder.encode(frame).data
        viewer.push([Picture(number, number * 3000, data, time.monotonic())])
    viewer.close(timeout_s=30)
    assert not viewer._thread.is_alive()
    assert "pictures cannot be shown any more: no room for 256 px" in str(viewer.failure)


def test_a_recorder_that_fails_says_so_and_holds_nobody_back(tmp_path: Path) -> None:
    recorder = Recorder([tmp_path / "shown.mkv"], 256, with_audio=False)
    shown = ShownFrame(np.zeros((64, 64, 3), np.uint8), 0.0, 0, 0.0, False, 64)  # not 256 px
    for _ in range(100):
        recorder.write(shown)
    recorder.close()
    assert "cannot be recorded any more: frame is (64, 64, 3)" in str(recorder.failure)
    assert recorder.log == []
