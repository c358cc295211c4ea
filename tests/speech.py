"""Speech for the tests of sound, and how far what is heard is from it."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gemino.call.audio import SoundPacket
from gemino.call.opus import SAMPLE_RATE_HZ, OpusEncoder, OpusSettings, Samples
from gemino.media import read_audio

ADDRESS = Path(__file__).parents[1] / "samples" / "address.mp4"
_WINDOW = 960


@cache
def speech() -> Samples:
    """The ten seconds of the address clip."""
    return np.concatenate(list(read_audio(ADDRESS, SAMPLE_RATE_HZ)))


def tone(seconds: float, hertz: float = 440) -> Samples:
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (8000 * np.sin(2 * np.pi * hertz * time_s)).astype(np.int16)


def packets_of(
    samples: Samples, settings: OpusSettings, *, sequence: int = 0, timestamp: int = 0
) -> list[SoundPacket]:
    """`samples` as a sender would send them; the first packet has these numbers."""
    encoder = OpusEncoder(settings)
    packets: list[SoundPacket] = []
    length = settings.packet_ms * SAMPLE_RATE_HZ // 1000
    for at in range(0, len(samples) - length + 1, length):
        data = encoder.encode(samples[at : at + length])
        if len(data) > 2:
            number = (sequence + len(packets)) % (1 << 16)
            packets.append(SoundPacket(number, (timestamp + at) % (1 << 32), data))
    return packets


def log_spectral_distance(heard: Samples, meant: Samples) -> float:
    """Mean over windows of 20 ms of the RMS difference of two log spectra, in dB.

    Bands of 200 Hz up to 4 kHz, above a floor that is below the softest speech.
    """
    return float(np.mean(np.sqrt(np.mean((_bands(heard) - _bands(meant)) ** 2, axis=1))))


def _bands(samples: Samples) -> NDArray[np.float64]:
    windows = samples[: len(samples) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
    bands = power[:, :80].reshape(len(windows), 20, 4).sum(2)
    return np.asarray(10 * np.log10(bands + 1e6))


def signal_to_noise(heard: Samples, meant: Samples) -> float:
    """In dB."""
    noise = heard.astype(np.float64) - meant
    return float(10 * np.log10((meant.astype(np.float64) ** 2).sum() / (noise**2).sum()))


def best_shift(heard: Samples, meant: Samples, at_s: float) -> float:
    """By how many seconds what is `heard` is ahead of `meant` from `at_s` on; up to 0.4 s.

    Both by their envelopes, in steps of 2.5 ms.
    """
    window, whole = _envelope(heard), _envelope(meant)
    middle = round(at_s / 0.0025)
    near = range(max(middle - 160, 0), min(middle + 160, len(whole) - len(window)))
    fits = [float(np.corrcoef(window, whole[at : at + len(window)])[0, 1]) for at in near]
    return near[int(np.argmax(fits))] * 0.0025 - at_s


def _envelope(samples: Samples) -> NDArray[np.float64]:
    steps = np.abs(samples[: len(samples) // 120 * 120].astype(np.float64)).reshape(-1, 120)
    return np.asarray(np.sqrt(steps.mean(1)))
