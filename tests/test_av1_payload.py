"""AV1 over RTP: vectors by hand, real pictures, and bytes that nobody should have sent."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemino import media
from gemino.call.av1_payload import depacketize, packetize, parse
from gemino.config import Rung
from gemino.errors import CodecError, WireError
from gemino.frames import prepare
from gemino.video.lr import LrDecoder, LrEncoder

WEBCAM = Path(__file__).parent.parent / "samples" / "webcam.mp4"
DELIMITER = b"\x12\x00"
SEQUENCE_HEADER = b"\x0a\x03abc"
FRAME = b"\x32\x05hello"


def frame_obu(size: int) -> bytes:
    """An OBU of type frame with `size` bytes of payload, of which no two neighbours are alike."""
    body = bytes(number % 251 for number in range(size))
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return b"\x32" + length + body


def test_a_picture_of_two_obus_is_one_packet_byte_by_byte() -> None:
    payloads = packetize(DELIMITER + SEQUENCE_HEADER + FRAME, 1200)
    # W = 2, N = 1; length 4, the sequence header and the frame without their size fields
    assert payloads == [b"\x28" + b"\x04\x08abc" + b"\x30hello"]
    assert depacketize(payloads) == DELIMITER + SEQUENCE_HEADER + FRAME


def test_a_picture_without_a_sequence_header_begins_no_sequence() -> None:
    assert packetize(DELIMITER + FRAME, 1200) == [b"\x10\x30hello"]


def test_a_large_obu_is_cut_and_the_cuts_are_marked() -> None:
    unit = DELIMITER + SEQUENCE_HEADER + frame_obu(3000)
    payloads = packetize(unit, 1200)
    parsed = [parse(payload) for payload in payloads]
    assert [len(payload) <= 1200 for payload in payloads] == [True] * 3
    assert [packet.continues for packet in parsed] == [False, True, True]
    assert [packet.continued for packet in parsed] == [True, True, False]
    assert [packet.new_sequence for packet in parsed] == [True, False, False]
    assert depacketize(payloads) == unit


@given(st.lists(st.integers(0, 400), min_size=1, max_size=9), st.integers(8, 300))
def test_any_obus_survive_packets_of_any_size(sizes: list[int], max_bytes: int) -> None:
    unit = DELIMITER + b"".join(map(frame_obu, sizes))
    payloads = packetize(unit, max_bytes)
    assert all(1 < len(payload) <= max_bytes for payload in payloads)
    assert depacketize(payloads) == unit


def test_what_other_senders_may_write_is_read() -> None:
    unit = DELIMITER + SEQUENCE_HEADER + FRAME
    with_sizes = b"\x20" + b"\x05" + SEQUENCE_HEADER + FRAME
    assert depacketize([with_sizes]) == unit
    all_lengths = b"\x00" + b"\x04\x08abc" + b"\x06\x30hello"
    assert depacketize([all_lengths]) == unit
    delimiter_and_tile_list = b"\x30" + b"\x01\x10" + b"\x02\x40x" + b"\x30hello"
    assert depacketize([delimiter_and_tile_list]) == DELIMITER + FRAME
    long_length = b"\x20" + b"\x84\x80\x00\x08abc" + b"\x30hello"
    assert depacketize([long_length]) == unit
    layered = b"\x10" + b"\x34\x08hello"  # an extension header: temporal layer 0, spatial layer 1
    assert depacketize([layered]) == DELIMITER + b"\x36\x08\x05hello"


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        ([], "holds no OBU"),
        ([b""], "has 0 bytes"),
        ([b"\x10"], "has 1 bytes"),
        ([b"\x98\x30"], "begins a sequence in the middle"),
        ([b"\x20\x09\x30"], "element 1 of 9 bytes: 1 are left"),
        ([b"\x20\x01\x30"], "element 2 of 0 bytes"),
        ([b"\x30\x01\x30"], "a length breaks off"),
        ([b"\x00\x00\x30"], "element 1 of 0 bytes"),
        ([b"\x00" + b"\xff" * 8 + b"\x01"], "more than 8 bytes"),
        ([b"\x90\x30"], "a piece of an OBU is missing"),
        ([b"\x50\x30", b"\x10\x30"], "a piece of an OBU is missing"),
        ([b"\x10\x30", b"\x90\x30"], "a piece of an OBU is missing"),
        ([b"\x50\x30"], "breaks off in the middle"),
        ([b"\x10\x10"], "holds no OBU"),
        ([b"\x10\xb0x"], "forbidden bit"),
        ([b"\x10\x34"], "breaks off in its header"),
        ([b"\x10\x32\x09x"], "says 9 bytes and has 1"),
        ([b"\x50\x30" + bytes(60_000)] + [b"\xd0" + bytes(60_000)] * 16 + [b"\x90x"], "at most"),
    ],
)
def test_wrong_payloads_say_what_is_wrong(payloads: list[bytes], message: str) -> None:
    with pytest.raises(WireError, match=message):
        depacketize(payloads)


@pytest.mark.parametrize("unit", [b"\x30", b"\x32", b"\x32\x05hell", b"\xb2\x00", b"\x36"])
def test_an_encoder_that_gives_no_temporal_unit_is_refused(unit: bytes) -> None:
    with pytest.raises(CodecError, match="no temporal unit"):
        packetize(unit, 1200)


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """Forty coded pictures of the shipped clip, 128 px, with a key frame in the midst."""
    frames = [prepare(timed.frame, 128) for timed in islice(media.read_frames(WEBCAM), 40)]
    encoder = LrEncoder(Rung("av1", 128, 40))
    return [
        encoder.encode(frame, force_keyframe=number == 20).data
        for number, frame in enumerate(frames)
    ]


def test_real_pictures_come_back_bit_for_bit_and_begin_sequences_at_key_frames(
    pictures: list[bytes],
) -> None:
    for number, picture in enumerate(pictures):
        payloads = packetize(picture, 1200)
        assert depacketize(payloads) == picture
        assert parse(payloads[0]).new_sequence == (number in (0, 20))
        small = packetize(picture, 100)
        assert depacketize(small) == picture
        # What a packet costs is no more than the delimiter and the sizes that do not travel.
        assert sum(map(len, payloads)) <= len(picture) + 2 * (len(payloads) - 1)


def test_truncated_payloads_raise_wire_errors_or_nothing(pictures: list[bytes]) -> None:
    payloads = packetize(pictures[0], 300)
    assert len(payloads) > 3
    refused = 0
    for number, payload in enumerate(payloads):
        for length in range(len(payload)):
            cut = [*payloads[:number], payload[:length], *payloads[number + 1 :]]
            try:
                assert depacketize(cut) != pictures[0]
            except WireError:
                refused += 1
    assert refused > len(payloads)
    # That one in the middle is missing, only its sequence number tells.
    for some in (payloads[1:], payloads[:-1]):
        with pytest.raises(WireError):
            depacketize(some)


def test_thousands_of_mutations_raise_wire_errors_or_nothing(pictures: list[bytes]) -> None:
    random = np.random.default_rng(1)
    refused = 0
    for trial in range(4000):
        payloads = [bytearray(p) for p in packetize(pictures[trial % len(pictures)], 90)]
        for _ in range(1 + trial % 3):
            payload = payloads[random.integers(len(payloads))]
            # Mostly at the front, where the structure is.
            place = random.integers(min(len(payload), 8 if trial % 4 else len(payload)))
            payload[place] = random.integers(256)
        try:
            picture = depacketize([bytes(payload) for payload in payloads])
        except WireError:
            refused += 1
        else:
            assert len(picture) <= sum(map(len, payloads)) + 3 * len(payloads) + 2
    assert 500 < refused < 4000


def test_a_decoder_lives_through_mutated_pictures(pictures: list[bytes]) -> None:
    random = np.random.default_rng(2)
    refused = 0
    for trial in range(30):
        decoder = LrDecoder("av1")
        for number, picture in enumerate(pictures[:12]):
            payloads = [bytearray(payload) for payload in packetize(picture, 1200)]
            if number % 4 == trial % 4:
                for place in random.integers(0, len(payloads[0]), 3):
                    payloads[0][place] = random.integers(256)
            try:
                shown = decoder.decode(depacketize([bytes(payload) for payload in payloads]))
            except (WireError, CodecError):
                refused += 1
            else:
                assert shown.shape[0] == shown.shape[1] <= 1024
    assert refused
