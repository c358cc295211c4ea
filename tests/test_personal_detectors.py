"""Faces by another detector than the shipped one: face-alignment, where it is installed."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gemino import faces
from gemino.cli.main import main
from gemino.errors import ModelError
from gemino.evaluation.landmarks import FaceLandmarker
from gemino.faces import FaceBox, FaceFinder
from gemino.frames import Frame, prepare
from gemino.media import read_frames
from gemino.personal import alignment, footage, program
from gemino.personal.detectors import open_detector
from gemino.personal.looking import find_faces
from gemino.personal.program import PersonalOptions
from gemino.zoo import DEFAULT_MODEL, find
from personal_clips import talk
from training_clips import ADDRESS, WEBCAM

WITH_PACKAGE = pytest.mark.skipif(
    find_spec("face_alignment") is None, reason="needs face-alignment: pip install 'gemino[face]'"
)
LANDMARKER = ADDRESS.parents[1] / ".cache" / "face_landmarker_v2_with_blendshapes.task"
# Where iBUG's 68 points lie on MediaPipe's mesh: jaw, brows, nose, eyes, lips.
ON_THE_MESH = [
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
]


def drawn_face() -> NDArray[np.float64]:
    """68 points of a face between x 100..200 and y 100..220, eyes level at y 130."""
    points = np.full((68, 2), (150.0, 160.0))
    turn = np.linspace(0, np.pi, 17)
    points[:17] = np.column_stack([150 - 50 * np.cos(turn), 120 + 100 * np.sin(turn)])  # the jaw
    points[17:27] = np.column_stack([np.linspace(110, 190, 10), np.full(10, 100.0)])  # brows
    points[36:42] = (125.0, 130.0)
    points[42:48] = (175.0, 130.0)
    return points


def test_landmarks_become_the_box_that_blazeface_draws() -> None:
    box = alignment.box_around(drawn_face())
    assert box is not None
    assert box.side == pytest.approx(1.05 * 120)  # from brows to chin, which is more than across
    assert box.centre == pytest.approx([150, 160 - 0.03 * box.side])
    assert box.eyes == pytest.approx([50, 0])  # from the one on the left to the one on the right


def test_a_turned_face_has_turned_eyes_and_points_in_one_place_are_no_face() -> None:
    turned = drawn_face()[:, ::-1] * (1, -1)  # the head lies on its side
    box = alignment.box_around(turned)
    assert box is not None
    assert box.eyes == pytest.approx([0, -50])
    assert box.side == pytest.approx(1.05 * 120)
    assert alignment.box_around(np.full((68, 2), 7.0)) is None
    assert alignment.box_around(np.full((68, 2), np.nan)) is None


def agree(box: FaceBox, shipped: FaceBox) -> None:
    assert box.side / shipped.side == pytest.approx(1, abs=0.15)
    assert box.centre == pytest.approx(shipped.centre, abs=0.1 * shipped.side)
    assert box.eyes == pytest.approx(shipped.eyes, abs=0.1 * shipped.side)


def pictures(clip: Path) -> Iterator[Frame]:
    for timed in islice(read_frames(clip), 0, 120, 40):
        yield prepare(timed.frame, 512)


@pytest.mark.skipif(
    not LANDMARKER.is_file(), reason="MediaPipe's face landmarker is not in .cache/"
)
@pytest.mark.parametrize("clip", [ADDRESS, WEBCAM])
def test_boxes_from_landmarks_are_those_of_blazeface_on_people(clip: Path) -> None:
    landmarker, shipped = FaceLandmarker(LANDMARKER), faces.shipped()
    for picture in pictures(clip):
        mesh, expected = landmarker.find(picture), shipped.find(picture)
        assert mesh is not None
        assert expected is not None
        box = alignment.box_around(mesh.points[ON_THE_MESH].astype(np.float64))
        assert box is not None
        agree(box, expected)


class Shelf(BaseHTTPRequestHandler):
    """Gives a file, half of it, another one, or none."""

    whole = bytes(range(256)) * 1000

    def do_GET(self) -> None:
        given = {"/whole": self.whole, "/half": self.whole[:100_000], "/other": b"no such thing"}
        if self.path == "/silent":
            self.server.woken.wait(60)  # type: ignore[attr-defined]
            return
        if self.path not in given:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.whole)))
        self.end_headers()
        self.wfile.write(given[self.path])

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def shelf() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    server.woken = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.woken.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


SHA256 = hashlib.sha256(Shelf.whole).hexdigest()


def test_weights_are_fetched_once_and_a_damaged_file_again(shelf: str, tmp_path: Path) -> None:
    path, lines = tmp_path / "hub" / "weights.pth", list[str]()
    for _ in range(2):
        alignment.fetch(f"{shelf}/whole", path, SHA256, lines.append)
    assert path.read_bytes() == Shelf.whole
    assert lines == ["fetching weights.pth from 127.0.0.1"]
    path.write_bytes(Shelf.whole[:1000])  # what somebody else's download may have left
    alignment.fetch(f"{shelf}/whole", path, SHA256, lines.append)
    assert path.read_bytes() == Shelf.whole
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("half", "not that file, or not all of it"),
        ("other", "not that file, or not all of it"),
        ("missing", "cannot be fetched from 127.0.0.1 (Not Found)"),
        ("silent", "cannot be fetched from 127.0.0.1 (timed out)"),
    ],
)
def test_a_download_that_fails_is_said_and_leaves_nothing(
    page: str, said: str, shelf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "_PATIENCE_S", 0.5)
    path = tmp_path / "weights.pth"
    with pytest.raises(ModelError) as refused:
        alignment.fetch(f"{shelf}/{page}", path, SHA256, lambda _: None)
    assert said in str(refused.value)
    assert f"put that file into {tmp_path} yourself, or leave --detector out" in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_without_a_server_or_a_place_it_is_said_too(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fetched from 127\.0\.0\.1 \(Connection refused\)"):
        alignment.fetch("http://127.0.0.1:9/x.pth", tmp_path / "x.pth", SHA256, lambda _: None)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ModelError, match=r"\((Not a directory|File exists)\)"):
        alignment.fetch("http://127.0.0.1:9/", tmp_path / "file" / "x", SHA256, lambda _: None)


@pytest.mark.parametrize(
    "words",
    [
        [str(ADDRESS), "--name", "me"],
        ["--many", "."],
        ["--record", "60", "--name", "me", "--camera", "/dev/null/none"],
    ],
)
def test_without_the_package_it_says_what_to_install(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alignment, "find_spec", lambda _: None)
    asked = ["gemino", "personalize", *words, "--detector", "face-alignment"]
    monkeypatch.setattr("sys.argv", asked)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capfd.readouterr().err == (
        "error: --detector face-alignment needs its package: pip install 'gemino[face]'\n"
    )


def test_nobody_else_loads_the_package(tmp_path: Path) -> None:
    """A package of that name that must not be loaded, first on the path."""
    (tmp_path / "face_alignment.py").write_text("raise SystemExit('was loaded')")
    runs = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from gemino.personal import program
from gemino.personal.detectors import make_ready, open_detector
make_ready("blazeface", print)
print(type(open_detector("blazeface", "auto", print)).__name__)
from gemino.cli.main import main
sys.argv = ["gemino", "personalize", "--help"]
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", runs], capture_output=True, text=True, timeout=110, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "FaceDetector" in ended.stdout
    assert "--detector" in ended.stdout


def test_footage_of_another_detector_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def opening(detector: str, *_: object) -> FaceFinder:
        opened.append(detector)
        return faces.shipped()  # stands in for the other, which may not be installed

    monkeypatch.setattr(footage, "open_detector", opening)
    video = talk(tmp_path / "me.mp4", count=130)
    first = footage.prepare([video], tmp_path / "run", 60, lambda _: None)
    assert first.detector == "blazeface"
    other = footage.prepare([video], tmp_path / "run", 60, lambda _: None, "face-alignment")
    again = footage.prepare([video], tmp_path / "run", 60, lambda _: None, "face-alignment")
    assert opened == ["blazeface", "face-alignment"]
    assert again == other
    assert again.detector == "face-alignment"


def test_a_run_begun_with_another_detector_is_refused(tmp_path: Path) -> None:
    base = find(DEFAULT_MODEL)
    asked = PersonalOptions([ADDRESS], "me", detector="face-alignment", runs=tmp_path)
    program._begin(tmp_path, base, PersonalOptions([ADDRESS], "me", runs=tmp_path))
    sizes = [[ADDRESS.name, ADDRESS.stat().st_size]]
    begun = tmp_path / "begun.json"
    assert json.loads(begun.read_text()) == [base.sha256, asked.rank, sizes]
    program._begin(tmp_path, base, asked)  # nothing was trained yet
    (tmp_path / "checkpoint.safetensors").write_bytes(b"trained")
    program._begin(tmp_path, base, asked)
    with pytest.raises(ModelError, match=r"--detector; go on with those, or begin anew"):
        program._begin(tmp_path, base, PersonalOptions([ADDRESS], "me", runs=tmp_path))


@pytest.fixture
def made_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package's networks with weights made here: S3FD sees a face 64 px large in each bright
    cell of 16 x 16 px, and what FAN-4 sees in it is random."""
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    finder = {name: torch.zeros_like(x) for name, x in s3fd().state_dict().items()}
    for name, values in finder.items():
        if name.endswith("norm.weight"):
            values.fill_(5)  # so much is what is bright, once it is normalised
        elif name.endswith("conf.bias"):
            values[0] = 5
        elif name.startswith("conv1_1.w"):
            values[0, :, 1, 1] = 1 / 3
        elif name.startswith("conv") and name.endswith(".weight") and "mbox" not in name:
            values[0, 0, values.shape[2] // 2, values.shape[3] // 2] = 1
    finder["conv5_3_norm_mbox_conf.weight"][1, 0, 1, 1] = 2
    torch.save(finder, folder / alignment._S3FD)
    torch.manual_seed(3)
    torch.save(FAN(4).state_dict(), folder / alignment._FAN)
    made = {path.name: alignment._sha256(path) for path in folder.iterdir()}
    monkeypatch.setattr(alignment, "_SHA256", made)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many wait for each other where others work too
    yield folder
    torch.set_num_threads(threads)


@WITH_PACKAGE
@pytest.mark.filterwarnings("ignore")  # the package's own
def test_the_package_itself_finds_what_its_networks_see(made_weights: Path) -> None:
    finder = open_detector("face-alignment", "cpu", pytest.fail)  # fetches nothing
    assert finder.find_all(np.zeros((512, 512, 3), np.uint8)) == []
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[320:352, 96:128] = 255
    (box,) = finder.find_all(picture)
    reach = 128 / 195 * 200  # of the package's crop around a box of 128 px, to each side
    assert 1 < box.side <= 1.05 * 2 * reach
    assert np.abs(box.centre - (112, 336)).max() < reach * 1.2
    picture[320:352, 384:416] = 255
    first, second = finder.find_all(picture)
    assert first.side >= second.side
    wide = np.concatenate([picture, np.zeros((512, 512, 3), np.uint8)], axis=1)
    assert all(box.centre[1] < 512 for box in find_faces(finder, wide))
    assert sorted(path.name for path in made_weights.iterdir()) == sorted(alignment._SHA256)


@WITH_PACKAGE
@pytest.mark.filterwarnings("ignore")  # the package's own
def test_the_package_names_the_files_that_are_known_here() -> None:
    from face_alignment import api
    from face_alignment.detection.sfd import sfd_detector

    urls = (sfd_detector.models_urls["s3fd"], api.models_urls["2DFAN-4"])
    assert {url.rsplit("/", 1)[-1] for url in urls} == set(alignment._SHA256)
    assert all(url.startswith("https://") for url in urls)


@WITH_PACKAGE
@pytest.mark.filterwarnings("ignore")  # the package's own
@pytest.mark.parametrize("clip", [ADDRESS, WEBCAM])
def test_it_finds_the_faces_of_both_samples_where_blazeface_does(clip: Path) -> None:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not all((folder / name).is_file() for name in alignment._SHA256):
        pytest.skip(f"face-alignment's weights are not in {folder}")
    finder, shipped = open_detector("face-alignment", "cpu", print), faces.shipped()
    for picture in pictures(clip):
        found, expected = finder.find_all(picture), shipped.find(picture)
        assert expected is not None
        assert len(found) == 1
        agree(found[0], expected)
