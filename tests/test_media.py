"""Real files through real codecs: what is read is what was written, and broken files say so."""

import gc
import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gemino.errors import MediaError
from gemino.frames import Frame, prepare
from gemino.media import DamagedMediaError, MovieWriter, probe, read_audio, read_frames

SAMPLES = Path(__file__).parent.parent / "samples"
WEBCAM = SAMPLES / "webcam.mp4"
ADDRESS = SAMPLES / "address.mp4"


def noise(count: int, width: int, height: int) -> list[Frame]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def write_clip(
    path: Path,
    frames: list[Frame],
    *,
    codec: str = "mpeg4",
    pix_fmt: str = "yuv420p",
    rotation: tuple[int, bool] | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.bit_rate = 20_000_000
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1])
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def corner_colours(frame: Frame) -> list[str]:
    """Names of the colours at the top left, top right, bottom left and bottom right."""
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    height, width = frame.shape[:2]
    at = [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
    pixels = [frame[int(height * y), int(width * x)] > 127 for y, x in at]
    return [names[int(p[0]), int(p[1]), int(p[2])] for p in pixels]


def test_a_clip_says_what_it_is() -> None:
    webcam, address = probe(WEBCAM), probe(str(ADDRESS))
    assert (webcam.width, webcam.height, webcam.fps, webcam.frames) == (720, 720, Fraction(30), 240)
    assert (address.width, address.height, address.fps, address.frames) == (
        450,
        450,
        Fraction(25),
        252,
    )
    assert webcam.has_audio
    assert webcam.duration_s == pytest.approx(8.0)


def test_all_frames_and_all_sound_of_a_clip_are_read() -> None:
    frames = list(read_frames(ADDRESS))
    times = [frame.time_s for frame in frames]
    assert len(frames) == 252
    assert times[0] == 0.0
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
    samples = np.concatenate(list(read_audio(ADDRESS, 16000)))
    assert samples.dtype == np.int16
    assert samples.size == pytest.approx(10.0 * 16000, abs=1600)
    assert np.abs(samples).max() > 1000


@pytest.mark.parametrize(
    ("rotation", "corners"),
    [
        ((90, False), ["green", "white", "red", "blue"]),
        ((-90, False), ["blue", "red", "white", "green"]),
        ((180, False), ["white", "blue", "green", "red"]),
        ((0, True), ["green", "red", "white", "blue"]),
    ],
)
def test_frames_are_turned_as_the_display_matrix_says(
    tmp_path: Path, rotation: tuple[int, bool], corners: list[str]
) -> None:
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[:16, :32, 0] = frame[:16, 32:, 1] = frame[16:, :32, 2] = 255
    frame[16:, 32:] = 255
    clip = write_clip(tmp_path / "turned.mp4", [frame], rotation=rotation)
    shown = next(read_frames(clip)).frame
    assert corner_colours(shown) == corners
    assert shown.shape[:2] == ((64, 32) if rotation[0] in (90, -90) else (32, 64))
    assert (probe(clip).width, probe(clip).height) == (shown.shape[1], shown.shape[0])


@pytest.mark.parametrize("kind", ["mkv", "nut"])
def test_lossless_movie_gives_back_every_bit_and_every_time(tmp_path: Path, kind: str) -> None:
    frames, times = noise(4, 64, 48), [0.0, 0.033, 0.5, 0.512]
    sound = (np.sin(np.arange(24000) / 20) * 9000).astype(np.int16)
    path = tmp_path / f"a.{kind}"
    with MovieWriter(path, (64, 48), Fraction(30), audio_rate_hz=48000) as movie:
        for frame, time_s in zip(frames, times, strict=True):
            movie.write(frame, time_s)
        movie.write_audio(sound[:10000])
        movie.write_audio(sound[10000:])
    back = list(read_frames(path))
    assert [frame.time_s for frame in back] == pytest.approx(times, abs=1e-6)
    assert all(np.array_equal(b.frame, f) for b, f in zip(back, frames, strict=True))
    assert np.array_equal(np.concatenate(list(read_audio(path))), sound)


def test_mp4_movie_keeps_picture_times_and_sound_together(tmp_path: Path) -> None:
    clip = [frame for frame, _ in zip(read_frames(ADDRESS), range(30), strict=False)]
    sound = np.concatenate(list(read_audio(ADDRESS)))[: 48000 * 6 // 5]
    with MovieWriter(tmp_path / "a.mp4", 256, Fraction(25), audio_rate_hz=48000) as movie:
        for timed in clip:
            movie.write(prepare(timed.frame, 256), timed.time_s)
        movie.write_audio(sound)
    back = list(read_frames(tmp_path / "a.mp4"))
    assert [b.time_s for b in back] == pytest.approx([c.time_s for c in clip], abs=1e-4)
    errors = [
        np.square(b.frame.astype(float) - prepare(c.frame, 256)).mean()
        for b, c in zip(back, clip, strict=True)
    ]
    assert 10 * np.log10(255**2 / np.mean(errors)) > 36.0
    heard = np.concatenate(list(read_audio(tmp_path / "a.mp4")))[: sound.size - 4800]
    assert np.corrcoef(heard, sound[: heard.size])[0, 1] > 0.99
    with av.open(str(tmp_path / "a.mp4")) as container:
        names = {stream.codec_context.name for stream in (*container.streams,)}
    assert names == {"libdav1d", "aac"} or names == {"vp9", "aac"}


def test_mp4_of_a_killed_writer_is_playable(tmp_path: Path) -> None:
    script = (
        "import sys, os, numpy as np\n"
        "from fractions import Fraction\n"
        "from gemino.media import MovieWriter\n"
        "movie = MovieWriter(sys.argv[1], 128, Fraction(30))\n"
        "for i in range(100):\n"
        "    movie.write(np.full((128, 128, 3), i, np.uint8), i / 30)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "killed.mp4"
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert len(list(read_frames(path))) >= 60


def test_times_that_do_not_move_on_still_make_a_movie(tmp_path: Path) -> None:
    with MovieWriter(tmp_path / "a.mkv", 64, Fraction(30)) as movie:
        for frame, time_s in zip(noise(3, 64, 64), (0.0, 0.0, -1.0), strict=True):
            movie.write(frame, time_s)
    assert len(list(read_frames(tmp_path / "a.mkv"))) == 3


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name", "width", "height"),
    [
        ("ffv1", "yuv420p10le", "ten-bit.mkv", 64, 64),
        ("ffv1", "bgr0", "odd.mkv", 61, 35),
        ("mpeg4", "yuv420p", "wide.mp4", 320, 180),
    ],
)
def test_unusual_pictures_are_read(
    tmp_path: Path, codec: str, pix_fmt: str, name: str, width: int, height: int
) -> None:
    grey = np.full((height, width, 3), 100, np.uint8)
    clip = write_clip(tmp_path / name, [grey], codec=codec, pix_fmt=pix_fmt)
    frames = list(read_frames(clip))
    assert len(frames) == 1
    assert frames[0].frame.shape == (height, width, 3)
    assert np.abs(frames[0].frame.astype(int) - 100).max() <= 3
    assert not probe(clip).has_audio
    assert list(read_audio(clip)) == []


def test_a_truncated_clip_gives_its_good_frames_and_then_says_so(tmp_path: Path) -> None:
    whole = WEBCAM.read_bytes()
    short = tmp_path / "short.mp4"
    short.write_bytes(whole[: len(whole) // 3])
    count = 0
    with pytest.raises(DamagedMediaError, match="after") as caught:  # noqa: PT012
        for _ in read_frames(short):
            count += 1
    assert 0 < count < 240
    assert caught.value.frames_read == count


def test_files_that_are_no_video_are_one_line_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.txt").write_text("Just words.\n" * 1000)
    (tmp_path / "junk.mp4").write_bytes(np.random.default_rng(1).bytes(50000))
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:8,\n{WEBCAM.resolve()}\n")
    (tmp_path / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile {WEBCAM.resolve()}\n")
    names = ("empty.mp4", "text.txt", "junk.mp4", "list.m3u8", "list.ffconcat", "missing.mp4", "")
    for path in [tmp_path / name for name in names] + [Path("/dev/zero")]:
        for read in (probe, lambda p: list(read_frames(p)), lambda p: list(read_audio(p))):
            with pytest.raises(MediaError) as caught:
                read(path)
            assert "\n" not in str(caught.value)
            assert str(path) in str(caught.value)


def test_a_url_is_not_fetched() -> None:
    with pytest.raises(MediaError, match="no such file"):
        probe("http://127.0.0.1:9/clip.mp4")


def test_pictures_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    wide = write_clip(
        tmp_path / "wide.mkv", [np.zeros((16, 8208, 3), np.uint8)], codec="ffv1", pix_fmt="bgr0"
    )
    with pytest.raises(MediaError, match="8192"):
        next(read_frames(wide))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_what_cannot_be_written_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError, match="cannot be written"):
        MovieWriter(tmp_path / "nowhere" / name, 64, Fraction(30))
    full = tmp_path / name
    full.symlink_to("/dev/full")
    with pytest.raises(MediaError, match="No space left"):  # noqa: SIM117, PT012
        with MovieWriter(full, 64, Fraction(30)) as movie:
            for index, frame in enumerate(noise(200, 64, 64)):
                movie.write(frame, index / 30)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_movie_of_nothing_leaves_no_file_and_what_was_there_stays(
    tmp_path: Path, name: str
) -> None:
    MovieWriter(tmp_path / name, 64, Fraction(30), audio_rate_hz=48_000).close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / name).write_text("dear")
    MovieWriter(tmp_path / name, 64, Fraction(30)).close()
    assert (tmp_path / name).read_text() == "dear"
    with MovieWriter(tmp_path / name, 64, Fraction(30)) as movie:
        movie.write(np.zeros((64, 64, 3), np.uint8), 0.0)
    assert [timed.frame.shape for timed in read_frames(tmp_path / name)] == [(64, 64, 3)]


def test_only_known_kinds_of_movie_are_written(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"\.mp4 or \.mkv"):
        MovieWriter(tmp_path / "a.avi", 64, Fraction(30))


def test_reading_a_clip_keeps_no_pictures() -> None:
    """Not even until the garbage collector comes by: that would be hundreds of megabytes."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(8):  # as a call does with a clip in a loop
            assert sum(1 for _ in itertools.islice(read_frames(WEBCAM), 15)) == 15
        frames = [one for one in gc.get_objects() if type(one) is av.VideoFrame]
        assert len([one for one in frames if one.width == probe(WEBCAM).width]) < 3
    finally:
        gc.enable()
