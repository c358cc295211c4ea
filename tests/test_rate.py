"""The receiver's measure of how coarse its input is."""

from gemino.rate import BitsPerPixelMeter, rung_vector


def test_a_steady_stream_reaches_its_own_level() -> None:
    meter = BitsPerPixelMeter()
    for _ in range(200):
        level = meter.update(payload_bytes=64, size_px=128)  # 512 bits on 16,384 pixels: 2**-5
    assert abs(level + 5) < 1e-3
    for _ in range(200):
        level = meter.update(payload_bytes=256, size_px=128)
    assert abs(level + 3) < 1e-3


def test_a_key_frame_moves_the_level_by_less_than_half_a_step() -> None:
    meter = BitsPerPixelMeter()
    before = meter.level
    after = meter.update(payload_bytes=64 * 30, size_px=128)
    assert 0 < after - before < 0.5


def test_an_empty_picture_is_no_error() -> None:
    assert BitsPerPixelMeter().update(0, 128) < 0


def test_a_size_counts_as_a_share_of_the_output() -> None:
    assert rung_vector(128, -5.0, 512) == [0.0, 0.0]
    assert rung_vector(256, -3.0, 1024) == [0.0, 1.0]
    assert rung_vector(128, -5.0, 256)[0] == rung_vector(256, -5.0, 512)[0] == 1.0
    assert rung_vector(64, -5.0, 1024) == rung_vector(64, -5.0, 512) == [-1.0, 0.0]
