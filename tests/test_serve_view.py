"""What the page is shown and told of a call, from the pictures and counters that there are."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from gemino.call.display import ShownFrame
from gemino.call.peer import Peer
from gemino.call.stats import Counters
from gemino.frames import Frame, from_video_frame
from gemino.runtime.origins import CELLS, Origins
from gemino.server.devices import PageDevices
from gemino.server.messages import Settings
from gemino.server.overlay import CARRIED, DRAWN, shares, tint
from gemino.server.tally import Lateness, Tally, delay_ms
from gemino.server.view import View, as_jpeg

SIZE_PX = 128
LEFT, RIGHT = slice(0, CELLS // 2), slice(CELLS // 2, CELLS)


def halves() -> Origins:
    """Carried over on the left, drawn on the right, neither along the lower edge."""
    levels = np.zeros((CELLS, CELLS, 2), np.uint8)
    levels[: CELLS // 2, LEFT, 0] = 30
    levels[: CELLS // 2, RIGHT, 1] = 30
    return levels


def shown(picture: Frame, origins: Origins | None = None, **more: Any) -> ShownFrame:
    fields = {"media_time_s": 0.0, "timestamp": 0, "shown_s": 0.0, "neural": True, "lr_px": 64}
    return ShownFrame(picture, **(fields | more), origins=origins)


def coloured() -> Frame:
    return np.full((SIZE_PX, SIZE_PX, 3), (200, 90, 40), np.uint8)


# ---- colours


def test_each_origin_has_its_colour_and_what_was_sent_is_grey() -> None:
    picture = tint(coloured(), halves())
    assert picture.shape == (SIZE_PX, SIZE_PX, 3)
    quarter, below = SIZE_PX // 4, 3 * SIZE_PX // 4
    left, right = (picture[quarter, at].astype(float) for at in (quarter, below))
    for seen, colour in ((left, CARRIED), (right, DRAWN)):
        nearness = [np.abs(seen - other).sum() for other in (CARRIED, DRAWN)]
        assert np.abs(seen - colour).sum() == min(nearness)
    assert np.ptp(picture[below]) == 0  # grey, and the same all along


def test_more_detail_has_more_colour() -> None:
    faint, strong = (tint(coloured(), np.full((CELLS, CELLS, 2), n, np.uint8)) for n in (2, 6))
    grey = tint(coloured(), np.zeros((CELLS, CELLS, 2), np.uint8))
    apart = [np.abs(each.astype(int) - grey).mean() for each in (faint, strong)]
    assert 0 < apart[0] < apart[1]


def test_shares_add_up() -> None:
    assert shares(halves()) == pytest.approx((0.5, 0.5))
    assert shares(np.zeros((CELLS, CELLS, 2), np.uint8)) == (0.0, 0.0)


# ---- the picture for the page


def test_a_picture_between_two_drawn_ones_keeps_their_colours() -> None:
    view = View()
    plain = view.video(shown(coloured()), None, overlay=True, now=1.0)
    assert view.shares is None  # nothing was explained yet
    drawn = view.video(shown(coloured(), halves()), None, overlay=True, now=1.0)
    between = view.video(shown(coloured()), None, overlay=True, now=1.1)
    assert view.shares == pytest.approx((0.5, 0.5))
    assert np.array_equal(from_video_frame(between), from_video_frame(drawn))
    assert not np.array_equal(from_video_frame(plain), from_video_frame(drawn))
    off = view.video(shown(coloured(), halves()), None, overlay=False, now=1.2)
    assert view.shares is None
    assert np.array_equal(from_video_frame(off), from_video_frame(plain))


def test_enlarged_pictures_have_no_colours() -> None:
    view = View()
    view.video(shown(coloured(), halves()), None, overlay=True, now=1.0)
    video = view.video(shown(coloured(), neural=False), None, overlay=True, now=1.1)
    assert view.shares is None
    assert np.abs(from_video_frame(video).astype(int) - coloured()).max() < 8


def test_the_other_picture_stands_on_the_left() -> None:
    beside = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
    both = from_video_frame(View().video(shown(coloured()), beside, overlay=False, now=1.0))
    assert both.shape == (SIZE_PX, 2 * SIZE_PX, 3)
    assert both[:, : SIZE_PX - 2].max() < 8
    assert both[:, SIZE_PX + 2 :].max() > 150


def test_small_pictures_go_as_jpeg() -> None:
    picture = cv2.imdecode(np.frombuffer(as_jpeg(coloured()), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert np.abs(picture[..., ::-1].astype(int) - coloured()).max() < 8


# ---- figures


def test_a_tally_spreads_references_over_a_minute_and_forgets() -> None:
    counters, tally = Counters(), Tally()
    tally.look(counters, 0.0)
    for half_second in range(1, 9):
        counters.lr_bytes += 625  # 10 kbps
        counters.traffic.bytes += 1_500
        counters.traffic.packets += 9
        counters.packets_lost += 1
        tally.look(counters, half_second / 2)
    counters.reference_bytes += 7_500
    tally.look(counters, 4.0)
    assert tally.lr_kbps == pytest.approx(10, rel=0.3)
    assert tally.payload_kbps == pytest.approx(tally.lr_kbps + 1)
    assert tally.onwire_kbps == pytest.approx(24 + 9 * 28 * 8 / 500, rel=0.3)
    assert tally.loss == pytest.approx(0.1)
    tally.look(counters, 70.0)
    assert (tally.payload_kbps, tally.onwire_kbps, tally.loss) == (0.0, 0.0, 0.0)


def test_lateness_is_against_the_quickest() -> None:
    lateness = Lateness()
    assert lateness.seconds() == 0
    for number in range(60):
        late_s = 0.2 if number >= 30 else 0.0
        media_s = number / 30
        lateness.add(shown(coloured(), media_time_s=media_s, shown_s=100 + media_s + late_s))
    assert lateness.seconds() == pytest.approx(0.2)


def test_the_delay_is_measured_or_estimated() -> None:
    incoming, outgoing = Counters(), Counters()
    assert delay_ms(incoming, outgoing, 0.0) == 0.0
    incoming.frames = 1
    incoming.coding_ms.add(2)
    incoming.synthesize_ms.add(30)
    outgoing.traffic.rtt_ms = 80.0
    assert delay_ms(incoming, outgoing, 0.05) == pytest.approx(40 + 32 + 50)
    incoming.latency_ms.add(123)
    assert delay_ms(incoming, outgoing, 0.05) == 123


# ---- steering a call


async def test_a_page_steers_its_call_once_there_is_one() -> None:
    devices = PageDevices(SIZE_PX, "none", 15.0)
    asked: list[float] = []
    viewer = SimpleNamespace(explains=False)
    peer = SimpleNamespace(incoming=None, outgoing=None, ask=asked.append)
    devices.set(Settings(15.0))
    devices.set(Settings(40.0, overlay=True))  # before the call has begun
    devices.join(cast(Peer, peer), asyncio.get_running_loop())
    peer.incoming, peer.outgoing = SimpleNamespace(viewer=viewer), SimpleNamespace()
    devices.set(Settings(40.0, overlay=True))
    await asyncio.sleep(0)
    assert asked == [40.0]
    assert viewer.explains
    devices.stop()  # the page is gone
    await asyncio.sleep(0)
    assert not viewer.explains
    assert asked == [40.0]
    assert devices.kbps == 40.0


@pytest.mark.parametrize(("kbps", "shows"), [(15.0, 15.0), (5.0, 6.0), (1000.0, 400.0)])
def test_a_page_begins_with_the_rate_of_its_call(kbps: float, shows: float) -> None:
    assert PageDevices(SIZE_PX, "none", kbps).kbps == shows
