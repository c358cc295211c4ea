"""A display without a screen: Xvfb, and the pixels that it would show."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 800, 600
XVFB = shutil.which("Xvfb")
_HEADER_FIELDS = 25  # of XWDFile.h: size, version, format, depth, width, height, ...


@dataclass(frozen=True, slots=True)
class Screen:
    """name: what DISPLAY is to be. frame_buffer: where the server keeps its pixels."""

    name: str
    frame_buffer: Path

    def pixels(self) -> NDArray[np.uint8]:
        """What is shown now, uint8 [HEIGHT, WIDTH, 3] RGB."""
        data = self.frame_buffer.read_bytes()
        fields = struct.unpack(f">{_HEADER_FIELDS}I", data[: 4 * _HEADER_FIELDS])
        header_size, bytes_per_line, colours = fields[0], fields[12], fields[19]
        start = header_size + 12 * colours
        rows = np.frombuffer(data, np.uint8, HEIGHT * bytes_per_line, start)
        bgr = rows.reshape(HEIGHT, bytes_per_line // 4, 4)[:, :WIDTH, :3]
        return np.ascontiguousarray(bgr[:, :, ::-1])


@contextmanager
def virtual_screen(folder: Path) -> Iterator[Screen]:
    """Run an X server for a while, with nothing on its screen."""
    assert XVFB is not None
    read_end, write_end = os.pipe()
    arguments = ["-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-fbdir", str(folder), "-nolisten", "tcp"]
    arguments.append("-noreset")  # what is drawn stays when the last program leaves
    server = subprocess.Popen(
        [XVFB, *arguments, "-displayfd", str(write_end)],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end) as said:
            number = said.readline().strip()
        assert number, "Xvfb does not start"
        yield Screen(f":{number}", folder / "Xvfb_screen0")
    finally:
        server.terminate()
        server.wait()
