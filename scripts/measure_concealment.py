"""What is heard where packets of sound are lost: silence, concealment, or copies of them.

    python scripts/measure_concealment.py
    python scripts/measure_concealment.py --clip clip.mp4 --loss 20

Codes a clip's speech at several rates, loses packets at random and decodes the rest as a call does.
Copies are Opus's FEC from 18 kbps on, and whole packets below. Prints for each rate what was spent
with them, how many of the lost packets they brought back, and how far what is heard in place of
lost speech is from what was sent: the log-spectral distance in dB (RMS over bands of 200 Hz up to
4 kHz, mean over windows of 20 ms), lower is nearer. Ten draws a row.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gemino.call.audio import SoundPacket, SpeechStream
from gemino.call.opus import (
    SAMPLE_RATE_HZ,
    OpusEncoder,
    OpusSettings,
    Samples,
)
from gemino.call.sound_copies import CopyPolicy, joined
from gemino.cli.edge import guard
from gemino.media import read_audio

_RATES = ((6.0, 60), (12.0, 60), (16.0, 60), (18.0, 60), (24.0, 60), (24.0, 20), (32.0, 20))
_DRAWS = 10
_WINDOW = 960
_LOUD = 200.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, default=Path("samples/address.mp4"))
    parser.add_argument("--loss", type=int, default=10, help="percent")
    asked = parser.parse_args()
    speech = np.concatenate(list(read_audio(asked.clip, SAMPLE_RATE_HZ)))
    print(
        "| --audio-kbps | packets | spent, kbps | recovered | silence | concealed | with copies |"
    )
    print("|---|---|---|---|---|---|---|")
    for kbps, packet_ms in _RATES:
        print(row(speech, kbps, packet_ms, asked.loss))


def row(speech: Samples, kbps: float, packet_ms: int, loss_percent: int) -> str:
    silence: list[float] = []
    spoken: dict[bool, list[float]] = {False: [], True: []}
    recovered, lost, spent = 0, 0, 0.0
    for repair in (False, True):
        told = min(max(loss_percent, 10), 25)
        settings, copies = OpusSettings(kbps, packet_ms, repair, told), False
        if repair:
            settings, copies = CopyPolicy(settings, known=True).report(loss_percent / 100)
        packets = packets_of(speech, settings)
        packets = with_copies(packets) if copies else packets
        spent = sum(len(one.data) for one in packets) * 8 / 1000 / (len(speech) / SAMPLE_RATE_HZ)
        meant, _ = decoded(packets)
        rng = np.random.default_rng(7)
        for _ in range(_DRAWS):
            gone = rng.random(len(packets)) < loss_percent / 100
            gone[0] = gone[-1] = False
            arrived = [packet for packet in packets if not gone[packet.sequence]]
            heard, stream = decoded(arrived)
            windows = lost_windows(gone, packet_ms, meant)
            spoken[repair].append(distance(heard, meant, windows))
            if repair:
                recovered, lost = recovered + stream.recovered, lost + int(gone.sum())
            else:
                silence.append(distance(np.zeros_like(meant), meant, windows))
    distances = [np.mean(values) for values in (silence, spoken[False], spoken[True])]
    figures = " | ".join(f"{value:.1f}" for value in distances)
    return f"| {kbps:g} | {packet_ms} ms | {spent:.1f} | {recovered / lost:.0%} | {figures} |"


def packets_of(speech: Samples, settings: OpusSettings) -> list[SoundPacket]:
    encoder, length = OpusEncoder(settings), settings.packet_ms * SAMPLE_RATE_HZ // 1000
    starts = range(0, len(speech) - length + 1, length)
    return [
        SoundPacket(number, at, encoder.encode(speech[at : at + length]))
        for number, at in enumerate(starts)
    ]


def with_copies(packets: list[SoundPacket]) -> list[SoundPacket]:
    """As a call sends them to Gemino peers that report losses."""
    paired = [packets[0]]
    for before, packet in pairwise(packets):
        both = joined(before.data, packet.data)
        paired.append(packet if both is None else replace(packet, data=both))
    return paired


def decoded(packets: list[SoundPacket]) -> tuple[Samples, SpeechStream]:
    """What is heard of `packets`, and the stream that made it."""
    stream, blocks = SpeechStream(), []
    for packet in packets:
        stream.put(packet)
        while (speech := stream.skip()) is not None:
            blocks.append(speech.samples)
    return np.concatenate(blocks), stream


def lost_windows(gone: NDArray[np.bool_], packet_ms: int, meant: Samples) -> NDArray[np.int64]:
    """Windows of lost packets in which somebody speaks."""
    numbers = np.arange(len(meant) // _WINDOW)
    loud = np.abs(meant[: len(numbers) * _WINDOW].reshape(-1, _WINDOW)).mean(1) > _LOUD
    return np.asarray(numbers[loud & gone[numbers * 20 // packet_ms]])


def distance(heard: Samples, meant: Samples, windows: NDArray[np.int64]) -> float:
    return float(np.mean(np.sqrt(np.mean((bands(heard, windows) - bands(meant, windows)) ** 2, 1))))


def bands(samples: Samples, windows: NDArray[np.int64]) -> NDArray[np.float64]:
    cut = samples[: len(samples) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)[windows]
    power = np.abs(np.fft.rfft(cut * np.hanning(_WINDOW), axis=1)) ** 2
    return np.asarray(10 * np.log10(power[:, :80].reshape(len(cut), 20, 4).sum(2) + 1e6))


if __name__ == "__main__":
    guard(main)
