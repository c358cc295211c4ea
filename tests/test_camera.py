"""A camera as a source. OpenCV opens video files as it opens cameras, so a file stands in for one:
taking it away unplugs it."""

import asyncio
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gemino.call import camera as camera_module
from gemino.call import devices, newest
from gemino.call.camera import Camera, CameraSource, RateMeter
from gemino.call.peer import Interrupted
from gemino.call.tracks import MediaClock, SourceFrame
from gemino.errors import MediaError
from gemino.media import MovieWriter, read_frames
from test_call import SIZE_PX, make_clip, pair

WEBCAM = Path(__file__).parents[1] / "samples" / "webcam.mp4"


@dataclass
class PacedFile:
    """A video file that OpenCV reads, as slowly as a camera gives its pictures."""

    capture: cv2.VideoCapture
    frame_s: float

    def grab(self) -> bool:
        time.sleep(self.frame_s)
        return self.capture.grab()

    def retrieve(self) -> tuple[bool, Any]:
        return self.capture.retrieve()

    def release(self) -> None:
        self.capture.release()


def paced(path: Path, fps: float = 60) -> CameraSource:
    def capture(device: str, size_px: int) -> PacedFile:
        return PacedFile(devices.open_capture(device, size_px), 1 / fps)

    return CameraSource(str(path), capture)


@pytest.fixture
def unpluggable(tmp_path: Path) -> Path:
    """A camera of two seconds: then it wants to be opened again."""
    path = tmp_path / "camera.mkv"
    path.symlink_to(make_clip(tmp_path / "clip.mkv", 60))
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "_MEASURE_S", 0.3)
    monkeypatch.setattr(camera_module, "_REOPEN_EVERY_S", 0.2)


def frame_times(fps: float) -> Iterator[float]:
    return (100 + number / fps for number in range(40))


@pytest.mark.parametrize("fps", [7.5, 15.0, 30.0, 59.9])
def test_the_rate_is_measured(fps: float) -> None:
    meter = RateMeter()
    assert meter.fps is None
    for taken_s in frame_times(fps):
        meter.add(taken_s)
    assert meter.fps == Fraction(round(fps * 10), 10)


def test_a_rate_follows_the_light() -> None:
    meter = RateMeter()
    for taken_s in frame_times(30):
        meter.add(taken_s)
    for number in range(40):
        meter.add(102 + number / 15)
    assert meter.fps == 15


def test_the_first_odd_pictures_do_not_count() -> None:
    meter = RateMeter()
    for taken_s in (90.0, 95.0, 99.9, *frame_times(30)):
        meter.add(taken_s)
    assert meter.fps == 30


def test_the_newest_picture_wins_and_tells_when_it_was_taken() -> None:
    feed = paced(WEBCAM, fps=120).open(SIZE_PX, 15, None)
    try:
        assert feed.fps <= 32  # what a thin stream carries, whatever the camera gives
        assert feed.pictures.peek() is None
        feed.clock.start()
        first = feed.pictures.get()
        time.sleep(0.4)
        assert feed.pictures.ready()
        second, now_s = feed.pictures.get(), time.monotonic() - feed.clock.start_s
        assert first is not None
        assert second is not None
        assert second.index > first.index + 3
        assert feed.pictures.dropped > 0
        assert 0 <= first.time_s < second.time_s <= now_s < second.time_s + 0.5
        assert second.frame.shape == (SIZE_PX, SIZE_PX, 3)
    finally:
        feed.close()
    assert feed.pictures.get() is None


def test_colours_are_red_green_blue(tmp_path: Path) -> None:
    clip = tmp_path / "red.mkv"
    with MovieWriter(clip, (64, 48), Fraction(15)) as movie:
        for number in range(30):
            movie.write(np.full((48, 64, 3), (200, 90, 30), np.uint8), number / 15)
    feed = paced(clip).open(SIZE_PX, 15, None)
    feed.clock.start()
    shown = feed.pictures.get()
    feed.close()
    assert shown is not None
    assert np.abs(shown.frame.mean(axis=(0, 1)) - (200, 90, 30)).max() < 6


def test_a_live_source_ends_after_the_seconds_asked_for() -> None:
    feed = paced(WEBCAM).open(SIZE_PX, 15, 0.2)
    feed.clock.start()
    times = []
    while (frame := feed.pictures.get()) is not None:
        times.append(frame.time_s)
    feed.close()
    assert times == sorted(set(times))
    assert times[-1] < 0.2


def test_the_last_picture_of_an_unplugged_camera_stands_until_it_is_back(
    unpluggable: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(newest, "_STANDS_S", 0.3)
    clock = MediaClock()
    camera = Camera(paced(unpluggable, fps=200), SIZE_PX, 15, None, clock)
    camera.wait()
    clock.start()
    clip = unpluggable.readlink()
    unpluggable.unlink()  # what is open can be read to its end
    deadline = time.monotonic() + 30
    frames: list[SourceFrame] = []
    while len(frames) < 3 or frames[-1].index != frames[-3].index:
        assert time.monotonic() < deadline
        frame = camera.get()
        assert frame is not None
        frames.append(frame)
    unpluggable.symlink_to(clip)
    while frames[-1].index == frames[-2].index:
        assert time.monotonic() < deadline
        frame = camera.get()
        assert frame is not None
        frames.append(frame)
    camera.close()
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))
    said = [record.message for record in caplog.records]
    assert said[0].endswith("gives no more pictures: the last one stands until it is back")
    assert said[1].endswith("is back")


async def test_a_call_survives_its_camera(
    unpluggable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unplugged for longer than a silent peer is waited for, and plugged in again."""
    output = tmp_path / "received.mp4"
    receiving = {"output": output}
    async with pair(monkeypatch, {"source": paced(unpluggable)}, receiving) as (sender, receiver):

        def meddle() -> None:
            while receiver.incoming is None or not receiver.incoming.counters.frames:
                time.sleep(0.05)
            clip = unpluggable.readlink()
            unpluggable.unlink()
            time.sleep(7)
            assert sender.outgoing is not None
            last = sender.outgoing.video.latest
            unpluggable.symlink_to(clip)
            assert last is not None
            while (sender.outgoing.video.latest or last)[0] == last[0]:
                time.sleep(0.05)

        async def end() -> None:
            await asyncio.to_thread(meddle)
            sender.stop()

        ends = await asyncio.gather(sender.run(), receiver.run(), end(), return_exceptions=True)
    assert [type(one) for one in ends] == [Interrupted, type(None), type(None)]
    assert len(list(read_frames(output))) > 0


def test_a_camera_without_pictures_is_said(
    unpluggable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_module, "_FIRST_PICTURE_S", 0.6)

    def at_its_end(device: str, size_px: int) -> cv2.VideoCapture:
        capture = devices.open_capture(device, size_px)
        while capture.grab():
            pass
        return capture

    source = CameraSource(str(unpluggable), at_its_end)
    with pytest.raises(MediaError, match="gives no pictures: close the program that uses it"):
        source.open(SIZE_PX, 15, None)


def test_what_is_no_camera_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text("no camera")
    missing = devices.device_path("93")
    for device, message in (
        ("93", f"there is no camera {missing}"),
        (str(tmp_path / "none"), "there is no camera"),
        (str(text), "cannot be opened: close the program"),
        (os.devnull, "cannot be opened: close the program"),
    ):
        with pytest.raises(MediaError, match=message):
            CameraSource(device).open(SIZE_PX, 15, None)
    assert capfd.readouterr().err == ""  # OpenCV has its own way of telling


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only opening it tells")
def test_what_can_be_no_camera_is_said_at_once(tmp_path: Path) -> None:
    for device, message in (
        ("93", "there is no camera /dev/video93: "),
        ("/dev/no-such-camera", "there is no camera /dev/no-such-camera: "),
        (str(WEBCAM), "is no camera; --input .*webcam.mp4 would send it"),
        (str(tmp_path), "is no camera"),
        ("a\0b", "there is no camera"),
    ):
        with pytest.raises(MediaError, match=message):
            devices.check_camera(device)
    devices.check_camera(os.devnull)  # a device: whether it is a camera, opening it tells


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_a_missing_permission_is_said(tmp_path: Path) -> None:
    path = tmp_path / "camera.mkv"
    path.write_bytes(WEBCAM.read_bytes())
    path.chmod(stat.S_IWUSR)
    with pytest.raises(MediaError, match="no permission to use"):
        devices.open_capture(str(path), SIZE_PX)


def test_requests_of_v4l2_name_their_own_size() -> None:
    """_IOC(direction, 'V', number, size), as asm-generic/ioctl.h puts them together."""
    for request, layout, direction, number in (
        (devices._QUERYCAP, devices._CAPABILITY, 2, 0),
        (devices._ENUM_FMT, devices._FORMAT, 3, 2),
        (devices._ENUM_FRAMESIZES, devices._FRAME_SIZE, 3, 74),
    ):
        assert request == direction << 30 | layout.size << 16 | ord("V") << 8 | number


def test_a_driver_tells_names_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that answers as V4L2 says: no camera is needed to read its bytes."""
    sizes: dict[int, list[tuple[int, ...]]] = {
        7: [(1, 640, 480), (1, 1280, 720)],
        9: [(3, 32, 1920, 8, 24, 1080, 8)],
    }

    def ioctl(_fd: int, request: int, argument: bytes) -> bytes:
        index, wanted = struct.unpack_from("II", argument)
        if request == devices._QUERYCAP:
            name = b"Camera \x1b[2J one\0junk"
            return devices._CAPABILITY.pack(b"uvc", name, b"usb", 1, 1 << 31, 1)
        if request == devices._ENUM_FMT and index < 2:
            return devices._FORMAT.pack(index, 1, 0, b"", [7, 9][index], 0)
        if request == devices._ENUM_FRAMESIZES and index < len(sizes[wanted]):
            kind, *numbers = sizes[wanted][index]
            return devices._FRAME_SIZE.pack(index, wanted, kind, *(numbers + [0] * 6)[:6])
        raise OSError("no more")

    assert devices.ask_camera(Path(os.devnull)) is None
    monkeypatch.setattr(devices, "_ioctl", ioctl)
    told = devices.ask_camera(Path(os.devnull))
    assert told is not None
    assert told.name == "Camera [2J one"
    assert told.sizes == ((1920, 1080), (1280, 720), (640, 480), (32, 24))
