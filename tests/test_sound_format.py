"""What two sides ask of each other's sound, in SDP and by the user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemino.call.opus import OpusSettings
from gemino.call.sound_format import (
    SoundOptions,
    SoundWish,
    expected_loss,
    our_wish,
    read_wish,
    with_wish,
)
from gemino.errors import CallError

HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
OPUS = "m=audio 9 UDP/TLS/RTP/SAVPF 96 0\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=rtpmap:97 VP8/90000\r\na=fmtp:97 usedtx=1\r\n"
CHROMIUM = (
    HEAD + "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:111 opus/48000/2\r\n"
    "a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"
)
OURS = OpusSettings(16, 60, fec=True, loss_percent=10, dtx=True)


def test_a_wish_is_written_behind_opus_and_read_again() -> None:
    wish = our_wish(SoundOptions(kbps=16), 15, sends=True)
    sdp = with_wish(HEAD + VIDEO + OPUS, wish)
    assert (
        "a=rtpmap:96 opus/48000/2\r\n"
        "a=fmtp:96 minptime=10;useinbandfec=1;usedtx=1;stereo=0;x-gemino-copies=1;"
        "maxaveragebitrate=16000\r\n"
        "a=ptime:60\r\na=maxptime:60\r\na=rtpmap:0 PCMU/8000\r\n"
    ) in sdp
    assert read_wish(sdp) == wish == SoundWish(16, 60, 60, fec=True, dtx=True, copies=True)
    assert wish.applied(OURS) == OURS


def test_who_only_receives_leaves_the_rate_to_who_sends() -> None:
    wish = our_wish(SoundOptions(), 15, sends=False)
    assert wish == SoundWish(32, None, 60, fec=True, dtx=True, copies=True)
    loud = SoundOptions(24, 20).settings(15)
    assert wish.applied(loud) == loud
    thin = our_wish(SoundOptions(kbps=6, packet_ms=60), 15, sends=False)
    assert (thin.applied(loud).kbps, thin.applied(loud).packet_ms) == (6, 60)


def test_a_description_without_opus_stays_as_it_is() -> None:
    assert with_wish(HEAD + VIDEO, SoundWish(6, 60)) == HEAD + VIDEO
    assert read_wish(HEAD + VIDEO) == SoundWish()


def test_browsers_get_fec_but_no_dtx_that_they_do_not_ask_for() -> None:
    settings = read_wish(CHROMIUM).applied(OURS)
    assert (settings.fec, settings.dtx, settings.packet_ms, settings.kbps) == (True, False, 60, 16)


def test_a_stock_peer_gets_plain_opus() -> None:
    """RFC 7587: what is not said is 0."""
    settings = read_wish(HEAD + OPUS).applied(OURS)
    assert (settings.fec, settings.dtx) == (False, False)


@pytest.mark.parametrize(
    ("lines", "kbps", "packet_ms"),
    [
        ("a=fmtp:96 maxaveragebitrate=12000\r\n", 12, 60),
        ("a=fmtp:96 maxaveragebitrate=64000\r\n", 16, 60),
        ("a=fmtp:96 maxaveragebitrate=1\r\n", 6, 60),
        ("a=fmtp:96 maxaveragebitrate=-5;usedtx=x\r\n", 16, 60),
        ("a=fmtp:96 MaxAverageBitrate = 9000\r\n", 16, 60),
        ("a=maxptime:20\r\n", 16, 20),
        ("a=maxptime:50\r\n", 16, 40),
        ("a=maxptime:0\r\n", 16, 20),
        ("a=ptime:20\r\n", 16, 60),
        ("a=ptime:99999999999999\r\n", 16, 60),
        ("a=fmtp:0 maxaveragebitrate=6000\r\n", 16, 60),
    ],
)
def test_what_a_peer_asks_for_is_bounded(lines: str, kbps: float, packet_ms: int) -> None:
    settings = read_wish(HEAD + OPUS + lines).applied(OURS)
    assert (settings.kbps, settings.packet_ms) == (kbps, packet_ms)


@given(st.text(max_size=300))
def test_no_description_breaks_the_reader(text: str) -> None:
    for sdp in (text, HEAD + OPUS + "a=fmtp:96 " + text, HEAD + OPUS + text):
        settings = read_wish(sdp).applied(OURS)
        assert 6 <= settings.kbps <= 16
        assert settings.packet_ms in (20, 40, 60)


@pytest.mark.parametrize(
    ("video_kbps", "kbps", "packet_ms"), [(6, 6, 60), (15, 6, 60), (50, 18, 60), (150, 24, 40)]
)
def test_thin_links_get_few_packets(video_kbps: float, kbps: float, packet_ms: int) -> None:
    settings = SoundOptions().settings(video_kbps)
    assert (settings.kbps, settings.packet_ms) == (kbps, packet_ms)
    asked = SoundOptions(kbps=20, packet_ms=20).settings(video_kbps)
    assert (asked.kbps, asked.packet_ms) == (20, 20)


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(CallError, match=r"audio-kbps must be in 6\.\.32, not 5"):
        SoundOptions(kbps=5)
    with pytest.raises(CallError, match="audio-ptime must be 20, 40 or 60, not 10"):
        SoundOptions(packet_ms=10)


def test_fec_follows_the_loss() -> None:
    assert [expected_loss(lost) for lost in (0.0, 0.05, 0.17, 0.9)] == [10, 10, 17, 25]
