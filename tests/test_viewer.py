"""What the receiver's thread makes ready before it is asked for it."""

from pathlib import Path
from typing import Any

import pytest

from gemino.call import receiver
from gemino.call.adaptation import split
from gemino.call.incoming import Incoming
from gemino.call.options import MediaOptions, PeerOptions
from gemino.config import Sampling
from gemino.runtime import ClassicalSynthesizer
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
