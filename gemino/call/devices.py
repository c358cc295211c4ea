"""Cameras of this machine: which there are, and how one is opened.

Linux tells through V4L2 (linux/videodev2.h): /dev/video* are its nodes, and three ioctls ask one
for its name, its pixel formats and its frame sizes. Elsewhere OpenCV knows cameras by number only.
"""

import os
import stat
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from gemino.errors import MediaError

_DEV = Path("/dev")
_QUERYCAP, _CAPABILITY = 0x80685600, struct.Struct("16s32s32sIII12x")
_ENUM_FMT, _FORMAT = 0xC0405602, struct.Struct("III32sII12x")
_ENUM_FRAMESIZES, _FRAME_SIZE = 0xC02C564A, struct.Struct("IIIIIIIII8x")
_CAPTURES, _HAS_OWN_CAPABILITIES = 0x1, 0x80000000
_BUFFERS_OF_CAPTURE = 1
_DISCRETE = 1
_MOST = 64
"""Formats of a camera, and sizes of a format, that are asked for: a driver may have no end."""
_WISHES_PX = ((640, 480), (1280, 720), (1920, 1080))


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """device: its path. sizes: (width, height) of what it gives, the largest first, none where it
    does not tell; of one that gives any size between two, these two."""

    device: str
    name: str
    sizes: tuple[tuple[int, int], ...]


def list_cameras() -> list[CameraInfo]:
    """The cameras that this machine names; raises MediaError where it cannot name any."""
    if sys.platform != "linux":
        raise MediaError("cameras can be listed on Linux only: try --camera 0, then 1, and so on")
    return [camera for node in _nodes() if (camera := ask_camera(node)) is not None]


def device_path(device: str) -> str:
    """`device` as OpenCV wants it: a number's path on Linux, anything else as it is."""
    is_number = device.isascii() and device.isdigit()
    return f"{_DEV}/video{int(device)}" if is_number and sys.platform == "linux" else device


def check_camera(device: str) -> None:
    """Raise MediaError where `device`, a number or a path, can be no camera of this machine."""
    path = Path(device_path(device))
    if str(path).isdigit():  # not on Linux: only opening it will tell
        return
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        there = ", ".join(map(str, _nodes()))
        rest = f"there is {there}" if there else "none is connected; --input FILE sends a clip"
        raise MediaError(f"there is no camera {path}: {rest}") from None
    if not stat.S_ISCHR(mode):
        raise MediaError(f"{path} is no camera; --input {path} would send it as a clip")


def open_capture(device: str, size_px: int) -> cv2.VideoCapture:
    """A camera that gives pictures of about `size_px` and keeps none in store.

    Raises MediaError where it is missing, not permitted or busy. A video file opens as well.
    """
    path = device_path(device)
    # What OpenCV would print is said here, in one line.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture()
    if path.isdigit():
        capture.open(int(path))
    elif Path(path).exists():
        capture.open(path, cv2.CAP_V4L2 if Path(path).is_char_device() else cv2.CAP_ANY)
    if not capture.isOpened():
        raise MediaError(_why_not(path))
    width, height = next((wish for wish in _WISHES_PX if wish[1] >= size_px), _WISHES_PX[-1])
    for wish, value in (
        (cv2.CAP_PROP_BUFFERSIZE, 1),
        # Uncompressed, most cameras give five such pictures a second over USB.
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, width),
        (cv2.CAP_PROP_FRAME_HEIGHT, height),
        (cv2.CAP_PROP_FPS, 30),
    ):
        capture.set(wish, value)
    return capture


def ask_camera(node: Path) -> CameraInfo | None:
    """What a node tells of itself; None where it gives no pictures or is no camera."""
    try:
        with node.open("rb", buffering=0) as file:
            told = _ioctl(file.fileno(), _QUERYCAP, bytes(_CAPABILITY.size))
            _, card, _, _, whole, own = _CAPABILITY.unpack(told)
            if not (own if whole & _HAS_OWN_CAPABILITIES else whole) & _CAPTURES:
                return None  # most cameras have a second node that gives no pictures
            sizes = {size for of in _pixel_formats(file.fileno()) for size in _sizes(*of)}
    except OSError:
        return None
    name = card.split(b"\0")[0].decode("utf-8", "replace")
    plain = "".join(filter(str.isprintable, name))
    return CameraInfo(str(node), plain, tuple(sorted(sizes, reverse=True)))


def _nodes() -> list[Path]:
    nodes = [node for node in _DEV.glob("video*") if node.name[len("video") :].isdigit()]
    return sorted(nodes, key=lambda node: int(node.name[len("video") :]))


def _why_not(path: str) -> str:
    if not path.isdigit() and not Path(path).exists():
        return f"there is no camera {path}: plug one in"
    if not path.isdigit() and not os.access(path, os.R_OK | os.W_OK):
        return f"no permission to use {path}: sudo usermod -aG video $USER, then log in again"
    return f"camera {path} cannot be opened: close the program that uses it, or try another one"


def _ioctl(fd: int, request: int, argument: bytes) -> bytes:
    import fcntl  # not everywhere

    return fcntl.ioctl(fd, request, argument)


def _pixel_formats(fd: int) -> Iterator[tuple[int, int]]:
    """(fd, pixel format) of each format."""
    for number in range(_MOST):
        try:
            told = _ioctl(fd, _ENUM_FMT, _FORMAT.pack(number, _BUFFERS_OF_CAPTURE, 0, b"", 0, 0))
        except OSError:  # there are no more
            return
        yield fd, _FORMAT.unpack(told)[4]


def _sizes(fd: int, pixel_format: int) -> Iterator[tuple[int, int]]:
    for number in range(_MOST):
        try:
            asked = _FRAME_SIZE.pack(number, pixel_format, *[0] * 7)
            told = _ioctl(fd, _ENUM_FRAMESIZES, asked)
        except OSError:
            return
        _, _, kind, *numbers = _FRAME_SIZE.unpack(told)
        if kind != _DISCRETE:  # least, most, step of the width; least, most, step of the height
            yield numbers[0], numbers[3]
            yield numbers[1], numbers[4]
            return
        yield numbers[0], numbers[1]
