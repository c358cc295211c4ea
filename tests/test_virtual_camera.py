"""The virtual camera: what it sends to a driver, and what it says where there is none."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gemino.call.display import ShownFrame
from gemino.call.virtual_camera import VirtualCamera
from gemino.errors import MediaError
from gemino.frames import Frame


class Driver:
    """Stands for the driver, which is a kernel module: keeps what a program would see."""

    def __init__(self, width: int, height: int, fps: float, *, fmt: str) -> None:
        self.asked = (width, height, fps, fmt)
        self.device = "/dev/video9"
        self.sent: list[Frame] = []
        self.closed = threading.Event()
        self.broken = False

    def send(self, frame: Frame) -> None:
        if self.broken:
            raise RuntimeError("device unplugged")
        assert frame.shape == (self.asked[1], self.asked[0], 3)
        self.sent.append(frame.copy())
        time.sleep(0.001)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[VirtualCamera], Driver]:
    formats = SimpleNamespace(RGB="rgb")
    module = SimpleNamespace(Camera=Driver, PixelFormat=formats)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)

    def of(camera: VirtualCamera) -> Driver:
        driver = camera._camera
        assert isinstance(driver, Driver)
        return driver

    return of


def eventually(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not what() and time.monotonic() < deadline:
        time.sleep(0.01)
    return what()


def shown(value: int, size_px: int = 256) -> ShownFrame:
    return ShownFrame(np.full((size_px, size_px, 3), value, np.uint8), 0.0, 0, 0.0, True, 128)


def test_a_picture_stands_in_the_middle_and_is_repeated(
    driver: Callable[[VirtualCamera], Driver],
) -> None:
    camera = VirtualCamera(256)
    there = driver(camera)
    assert camera.device == "/dev/video9"
    assert list(there.asked) == [448, 256, 30, "rgb"]
    assert eventually(lambda: len(there.sent) > 0)  # black until there is a picture
    assert there.sent[0].max() == 0
    camera.show(shown(200))
    camera.show_self(np.full((256, 256, 3), 90, np.uint8), 0.0)
    assert eventually(lambda: there.sent[-1].max() == 200)
    assert there.sent[-1][:, :96].max() == 0
    assert there.sent[-1][:, 96:352].min() == 200
    assert there.sent[-1][:, 352:].max() == 0
    before = len(there.sent)
    assert eventually(lambda: len(there.sent) > before + 1)
    camera.show(shown(100, 128))
    assert eventually(lambda: int(there.sent[-1][0, 200, 0]) == 100)
    camera.close()
    assert there.closed.is_set()
    camera.close()


def test_a_driver_that_goes_away_ends_nothing_else(
    driver: Callable[[VirtualCamera], Driver], caplog: pytest.LogCaptureFixture
) -> None:
    camera = VirtualCamera(256)
    driver(camera).broken = True
    assert eventually(lambda: "is gone, the call goes on: device unplugged" in caplog.text)
    assert driver(camera).closed.wait(20)
    camera.show(shown(1))
    camera.close()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(MediaError, match=r"pip install 'gemino\[virtual-camera\]'"):
        VirtualCamera(256)


@pytest.mark.skipif(
    sys.platform != "linux" or Path("/sys/module/v4l2loopback").exists(),
    reason="there may be a driver here",
)
def test_without_a_driver_it_says_how_to_get_one() -> None:
    pytest.importorskip("pyvirtualcam", reason="needs pyvirtualcam")
    with pytest.raises(MediaError, match=r"no virtual camera can be had .* modprobe v4l2loopback"):
        VirtualCamera(256)
