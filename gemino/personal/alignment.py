"""Faces by the package face-alignment (Bulat and Tzimiropoulos 2017): S3FD finds, FAN-4 aligns.

Both networks are the package's own code; their weights, 185 MB, are fetched on first use from where
it says, to where it looks for them. Two things differ from what it would do itself: a download is
taken only if it has the SHA-256 known for it (where a connection breaks off, the package keeps what
came), and nothing in the files can run, since both are read as mere tensors.
"""

import hashlib
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import numpy as np
import torch
from numpy.typing import NDArray

from gemino.errors import ModelError, RuntimeUnavailable
from gemino.faces import FaceBox
from gemino.frames import Frame, resize

LANDMARKS = 68
_INSTALL = "pip install 'gemino[face]'"
_S3FD, _FAN = "s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar"
_SHA256 = {
    _S3FD: "619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
    _FAN: "11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
}
_PATIENCE_S = 30.0
_SEEN_PX = 256
"""S3FD sees faces from 16 px: a 16th of the picture, where BlazeFace sees a tenth. 512 px would
take four times as long."""
_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)  # the person's; in the picture the other way
_SIDE = 1.05
_RAISED = 0.03
"""BlazeFace's box over the landmarks' longer extent, and how far its centre lies above theirs, of
its side: medians of 229 pictures of 58 clips of people."""


def fetch_weights(tell: Callable[[str], None]) -> Path:
    """Fetch what is not there yet, or damaged; returns the folder. tell: gets a line for each file.

    Raises RuntimeUnavailable without the package, ModelError where weights cannot be had.
    """
    api, sfd = _package()
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for url in (sfd.models_urls["s3fd"], api.models_urls["2DFAN-4"]):
        name = Path(urlsplit(url).path).name
        if name not in _SHA256:
            raise RuntimeUnavailable(f"this face-alignment wants {name}, which is new: {_INSTALL}")
        fetch(url, folder / name, _SHA256[name], tell)
    return folder


def fetch(url: str, path: Path, sha256: str, tell: Callable[[str], None]) -> None:
    """Make `path` the file of this SHA-256, from `url` unless it is there already.

    Nothing of a download that fails stays. Raises ModelError.
    """
    host = urlsplit(url).hostname
    try:
        if path.is_file() and _sha256(path) == sha256:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        tell(f"fetching {path.name} from {host}")
        with _patience():
            torch.hub.download_url_to_file(url, str(path), sha256, progress=sys.stderr.isatty())
    except RuntimeError as error:  # another SHA-256
        raise _missing(path, f"what came from {host} is not that file, or not all of it") from error
    except (OSError, HTTPException, ValueError) as error:  # no network, no page, a full disk
        if isinstance(error, HTTPError):
            error.close()  # it is the server's answer as well
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or reason
        raise _missing(path, f"it cannot be fetched from {host} ({why})") from error


class AlignmentDetector:
    """Finds faces with face-alignment.

    device: cpu or cuda. tell: gets a line for each file that is fetched. Raises RuntimeUnavailable
    without the package, ModelError where its weights cannot be had.
    """

    def __init__(self, device: str, tell: Callable[[str], None]) -> None:
        folder = fetch_weights(tell)
        api, _ = _package()
        self._aligner = api.FaceAlignment(
            api.LandmarksType.TWO_D,
            device=device,
            flip_input=False,
            face_detector="sfd",
            face_detector_kwargs={"path_to_detector": str(folder / _S3FD)},
            compile=False,  # would start a C++ compiler, and keep what it made
        )

    def find_all(self, frame: Frame) -> list[FaceBox]:
        """All faces in `frame` [S, S, 3], the largest first: S3FD is sure of each."""
        scale = frame.shape[0] / _SEEN_PX
        found = self._aligner.face_detector.detect_from_image(resize(frame, _SEEN_PX))
        inside = [
            np.asarray(box[:4], np.float64) * scale
            for box in found
            if all(0 <= box[at] + box[at + 2] <= 2 * _SEEN_PX for at in (0, 1))
        ]
        if not inside:
            return []
        points = self._aligner.get_landmarks_from_image(frame, inside)
        boxes = [box_around(np.asarray(one, np.float64)) for one in points]
        return sorted((box for box in boxes if box is not None), key=lambda box: -box.side)


def box_around(landmarks: NDArray[np.float64]) -> FaceBox | None:
    """The box that BlazeFace draws around a face with these landmarks [68, 2], numbered as by iBUG
    (300-W); None where they are all in one place."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = _SIDE * float((high - low).max())
    if not side > 1:
        return None
    centre = (low + high) / 2 - (0, _RAISED * side)
    eyes = landmarks[_LEFT_EYE].mean(axis=0) - landmarks[_RIGHT_EYE].mean(axis=0)
    return FaceBox(centre, side, eyes)


def _package() -> tuple[Any, Any]:
    """face_alignment's modules `api` and `detection.sfd.sfd_detector`."""
    if find_spec("face_alignment") is None:
        raise RuntimeUnavailable(f"--detector face-alignment needs its package: {_INSTALL}")
    try:
        from face_alignment import api
        from face_alignment.detection.sfd import sfd_detector
    except (ImportError, AttributeError, OSError) as error:
        raise RuntimeUnavailable(
            f"--detector face-alignment: its package does not load ({error}); {_INSTALL}"
        ) from error
    return api, sfd_detector


def _missing(path: Path, why: str) -> ModelError:
    return ModelError(
        f"--detector face-alignment needs {path.name}, and {why}: try again later, put that file"
        f" into {path.parent} yourself, or leave --detector out"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _patience() -> Iterator[None]:
    """Connections opened inside give up where nothing comes for long: torch.hub sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
