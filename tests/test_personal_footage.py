"""From any video to takes: what is used, what is dropped and why, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemino import faces, media
from gemino.errors import MediaError
from gemino.frames import Frame
from gemino.personal.footage import SHEET, Footage, forget, prepare
from gemino.personal.looking import Look, find_faces
from gemino.personal.takes import MARGIN, Selection, Take, limit, select, split
from personal_clips import beside, people, talk, wide, write

pytestmark = pytest.mark.timeout(300)


def looks(count: int, **changes: object) -> list[Look]:
    """A face in the middle of 640 x 480, five times a second, that talks."""
    one = {"x": 320.0, "y": 240.0, "side": 120.0, "faces": 1, "sharpness": 6.0} | {
        "brightness": 120.0,
        "change": 3.0,
    }
    return [Look(at / 5, **(one | changes)) for at in range(count)]  # type: ignore[arg-type]


def selected(seen: list[Look]) -> Selection:
    return select(seen, len(seen) / 5, 640, 480)


def test_a_steady_face_is_one_take_in_a_square_around_it() -> None:
    take = selected(looks(50)).takes[0]
    assert (take.start_s, take.end_s) == (0, 10)
    assert take.side == round(MARGIN * 120)
    assert abs(take.left + take.side / 2 - 320) <= 1
    assert take.top + take.side / 2 < 240  # heads reach further up


@pytest.mark.parametrize(
    ("flaw", "changes"),
    [
        ("no face", {"faces": 0}),
        ("several faces", {"faces": 2}),
        ("small face", {"side": 40.0}),
        ("dark", {"brightness": 20.0}),
        ("blurred", {"sharpness": 2.0}),
        ("drawn", {"flat": 0.8}),
        ("cut", {"cut": True}),
    ],
)
def test_a_moment_that_does_not_serve_is_dropped_and_counted(
    flaw: str, changes: dict[str, object]
) -> None:
    seen = looks(60)
    seen[20:25] = [replace(one, **changes) for one in seen[20:25]]  # type: ignore[arg-type]
    found = selected(seen)
    assert [(t.start_s, t.end_s) for t in found.takes] == [(0, 4), (5, 12)]
    assert found.dropped_s == pytest.approx({flaw: 1.0})


def test_where_the_face_walks_away_another_take_begins() -> None:
    here, there = looks(20), looks(40, x=470.0)[20:]
    found = selected(here + there)
    assert [take.start_s for take in found.takes] == [0, 4]
    assert found.takes[1].left > found.takes[0].left
    assert found.takes[1].left + found.takes[1].side <= 640


def test_takes_that_are_too_short_are_dropped() -> None:
    seen = looks(12)
    for at in (0, 4, 8):
        seen[at] = Look(seen[at].time_s)
    found = selected(seen)
    assert not found.takes
    assert found.dropped_s["restless"] == pytest.approx(1.8)


def test_a_face_that_never_moves_is_a_photo() -> None:
    with pytest.raises(MediaError, match="as a photo does"):
        selected(looks(50, change=0.1))


def take(start_s: float, end_s: float) -> Take:
    return Take(0, start_s, end_s, 0, 0, 300)


def test_the_last_part_is_kept_to_judge_by() -> None:
    learned, judged = split([take(0, 16), take(16, 30)])
    assert judged == [take(24, 30)]
    assert learned == [take(0, 16), take(16, 23.5)]
    learned, judged = split([take(0, 4), take(5, 6.5)])
    assert (learned, judged) == ([take(0, 4)], [take(5, 6.5)])
    with pytest.raises(MediaError, match="film a minute"):
        split([take(0, 2)])


def test_no_more_than_asked_for_is_used() -> None:
    assert limit([take(0, 10), take(10, 20)], 15) == [take(0, 10), take(10, 15)]
    assert limit([take(0, 10), take(10, 20)], 10.5) == [take(0, 10)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("footage")


def used(video: Path, folder: Path, *more: Path) -> tuple[Footage, list[str]]:
    lines: list[str] = []
    return prepare([video, *more], folder / f"{video.stem}-run", 180.0, lines.append), lines


def test_a_wide_video_is_cut_to_the_person_and_remembered(folder: Path) -> None:
    video = talk(folder / "wide.mp4", wide)
    found, lines = used(video, folder)
    assert lines == ["wide.mp4: 5.4 of 5.4 s can be used"]
    assert found.seconds == pytest.approx(5.4, abs=0.1)
    assert found.judged_s == pytest.approx(1.5, abs=0.3)
    assert "a minute" in found.warnings[0]
    assert (folder / "wide-run" / SHEET).stat().st_size > 10_000
    first = next(iter(media.read_frames(found.learned[0]))).frame
    assert first.shape[0] == first.shape[1] <= 192
    box = find_faces(faces.shipped(), first)[0]
    assert box.centre / first.shape[0] == pytest.approx([0.5, 0.55], abs=0.12)
    again, lines = used(video, folder)
    assert (again, lines) == (found, [])  # not looked at again
    forget(folder / "wide-run")
    assert not any(path.exists() for path in found.learned + found.judged)


def test_a_phone_held_upright_and_one_that_breaks_off_are_used(folder: Path) -> None:
    lying = write(folder / "phone.mp4", (np.rot90(frame) for frame in people()), rotation=-90)
    whole = talk(folder / "broken.mp4").read_bytes()
    broken, half, hole = folder / "broken.mp4", len(whole) // 2, len(whole) // 5
    broken.write_bytes(whole[:half] + bytes(hole) + whole[half + hole :])
    found, lines = used(lying, folder, broken)
    assert lines[0] == "phone.mp4: 5.4 of 5.4 s can be used"
    assert len(lines) == 2
    assert found.seconds > 7
    assert "broken after" in found.warnings[0]


def test_flawed_parts_are_told_and_drawn(folder: Path) -> None:
    def shot(frame: Frame, at: int) -> Frame:
        if 30 <= at < 60:
            return np.asarray(frame // 12, np.uint8)
        if 60 <= at < 90:
            return np.asarray(cv2.GaussianBlur(frame, (0, 0), 6), np.uint8)
        return frame

    video = talk(folder / "flawed.mp4", shot, 225)
    found, lines = used(video, folder)
    assert set(found.dropped_s) >= {"dark", "blurred"}
    assert found.dropped_s["dark"] == pytest.approx(1.2, abs=0.5)
    assert "blurred" in lines[0]
    sheet = cv2.imread(str(folder / "flawed-run" / SHEET))
    assert sheet is not None
    assert (np.abs(sheet.astype(int) - (50, 60, 200)).sum(axis=2) == 0).any()  # red: dropped


def noise(count: int = 135) -> Iterator[Frame]:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (192, 192, 3), np.uint8) for _ in range(count))


def cartoon(_: Frame, at: int) -> Frame:
    """Two dots and a line that talk."""
    picture = np.full((256, 256, 3), 255, np.uint8)
    cv2.circle(picture, (128, 128), 80, (255, 220, 120), -1)
    for x in (100, 156):
        cv2.circle(picture, (x, 110), 8, (0, 0, 0), -1)
    cv2.line(picture, (100, 170), (156, 170 + at % 9), (0, 0, 0), 3)
    return picture


def still(frame: Frame, at: int) -> Frame:
    still.first = frame if at == 0 else still.first  # type: ignore[attr-defined]
    return still.first  # type: ignore[attr-defined, no-any-return]


def test_videos_that_do_not_serve_are_refused_with_what_to_do(folder: Path) -> None:
    dark = talk(folder / "dark.mp4", lambda frame, _: np.asarray(frame // 10, np.uint8))
    cases = [
        (write(folder / "noise.mp4", noise()), "no face is seen"),
        (beside(folder / "two.mp4"), "film one person alone"),
        (talk(folder / "short.mp4", count=50), "s are too short; at least 5 s"),
        (dark, "put a light in front of you|no face is seen"),
        (talk(folder / "cartoon.mp4", cartoon), "it is drawn"),
        (talk(folder / "photo.mp4", still), "as a photo does"),
    ]
    for video, said in cases:
        with pytest.raises(MediaError, match=said):
            used(video, folder)


def test_files_that_are_no_videos_are_refused(folder: Path) -> None:
    photo = folder / "photo.png"
    cv2.imwrite(str(photo), next(people()))
    junk, empty = folder / "junk.mp4", folder / "empty.mp4"
    junk.write_bytes(b"no video at all" * 100)
    empty.write_bytes(b"")
    cases = [
        (photo, "is a photo"),
        (junk, "cannot be read as video"),
        (empty, "is empty"),
        (folder / "missing.mp4", "no such file"),
        (folder, "is a directory"),
    ]
    for path, said in cases:
        with pytest.raises(MediaError, match=said):
            used(path, folder)
