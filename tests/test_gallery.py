"""The gallery: encrypted, bounded, forgetful on demand; and a second call that finds it."""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gemino.call.album import RECEIVED, SENT, Album, Received
from gemino.call.options import MediaOptions, PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.peer import Peer
from gemino.call.references import ReferenceReceiver, ReferenceSender
from gemino.call.sender import PictureSender
from gemino.call.sources import ClipSource, PatternSource
from gemino.config import REFERENCES_HELD
from gemino.errors import MediaError
from gemino.frames import Frame, resize
from gemino.gallery import MAX_ITEM_BYTES, Gallery
from gemino.likeness import thumbnail
from gemino.video.reference import encode_picture
from gemino.wire import Message, ReferenceChunk, ReferenceHave, ReferenceOffer, ReferenceWish
from test_call import make_clip, pair


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "kept", tmp_path / "keys" / "gallery.key")


def again(gallery: Gallery, key: str = "gallery.key", max_items: int = 128) -> Gallery:
    """Another process's view of the same folder."""
    return Gallery(gallery.folder, gallery.folder.parent / "keys" / key, max_items=max_items)


def only_file(gallery: Gallery) -> Path:
    (path,) = gallery.folder.iterdir()
    return path


def scene(seed: int, size_px: int = 256) -> Frame:
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return resize(coarse, size_px)


def test_what_is_kept_comes_back_by_kind_and_hash(gallery: Gallery) -> None:
    sha256 = gallery.put("sent", b"a face")
    assert sha256 == hashlib.sha256(b"a face").digest()
    assert again(gallery).get("sent", sha256) == b"a face"
    assert gallery.get("received", sha256) is None
    assert gallery.get("sent", bytes(32)) is None
    (item,) = again(gallery).items()
    assert (item.kind, item.sha256, item.size_bytes) == ("sent", sha256, 6)
    gallery.put("sent", b"a face")
    assert len(gallery.items()) == 1


def test_files_say_nothing_and_are_for_their_owner_alone(gallery: Gallery) -> None:
    content = b"a face that nobody else is to see" * 9
    sha256 = gallery.put("sent", content)
    path = only_file(gallery)
    stored = path.read_bytes()
    assert b"a face" not in stored
    assert sha256 not in stored
    assert sha256.hex()[:16] not in path.name
    assert path.stat().st_mode & 0o077 == 0
    assert gallery.folder.stat().st_mode & 0o077 == 0
    first, second = stored, b""
    gallery.put("sent", content)
    second = only_file(gallery).read_bytes()
    assert first[12:] != second[12:]  # another nonce each time


def test_whatever_is_changed_or_of_another_key_counts_as_none(gallery: Gallery) -> None:
    sha256 = gallery.put("sent", b"a face")
    path = only_file(gallery)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert gallery.get("sent", sha256) is None
        path.write_bytes(whole[:at])
        assert gallery.get("sent", sha256) is None
    path.write_bytes(bytes(MAX_ITEM_BYTES + 1000))
    assert gallery.items() == []
    path.write_bytes(whole)
    assert gallery.get("sent", sha256) == b"a face"
    stranger = again(gallery, key="other.key")
    assert stranger.items() == []
    assert stranger.get("sent", sha256) is None
    assert stranger.forget() == 1  # without reading it


def test_what_was_not_used_for_longest_goes_first(gallery: Gallery) -> None:
    small = again(gallery, max_items=3)
    hashes = []
    for number in range(3):
        hashes.append(small.put("sent", bytes([number])))
        os.utime(small._path("sent", hashes[-1]), (number, number))
    assert small.get("sent", hashes[0]) is not None  # used now
    small.put("received", b"new")
    assert small.get("sent", hashes[1]) is None
    assert small.get("sent", hashes[0]) == b"\0"
    assert len(small.items()) == 3


def test_one_item_or_all_can_be_forgotten(gallery: Gallery) -> None:
    for data in (b"one", b"two", b"three"):
        gallery.put("received", data)
    assert gallery.forget(gallery.items()[0]) == 1
    assert len(gallery.items()) == 2
    assert gallery.forget() == 2
    assert list(gallery.folder.iterdir()) == []


def test_a_key_that_others_may_read_is_refused(gallery: Gallery) -> None:
    key = gallery.folder.parent / "keys" / "gallery.key"
    key.chmod(0o644)
    with pytest.raises(MediaError, match="others may read this key; chmod 600"):
        again(gallery)
    key.chmod(0o600)
    key.write_bytes(b"short")
    with pytest.raises(MediaError, match="is no key of 32 bytes"):
        again(gallery)


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="no gallery can be kept there"):
        Gallery(tmp_path / "file" / "kept", tmp_path / "key")


def converse(sender: ReferenceSender, receiver: ReferenceReceiver) -> list[Message]:
    """Everything the sender says until it has nothing left to say."""
    said: list[Message] = []
    for tick in range(400):
        for message in sender.messages(tick / 10):
            said.append(message)
            assert isinstance(message, ReferenceOffer | ReferenceChunk)
            for answer in receiver.receive(message):
                sender.receive(answer)  # type: ignore[arg-type]  # a receiver says nothing else
    return said


def offer(data: bytes) -> ReferenceOffer:
    return ReferenceOffer(hashlib.sha256(data).digest(), len(data))


def test_a_reference_of_a_former_call_is_used_without_being_sent(gallery: Gallery) -> None:
    held, other, new = bytes(5000), b"x" * 5000, b"y" * 3000
    kept = Received(gallery)
    kept.put(held)
    sender, receiver = ReferenceSender(500.0), ReferenceReceiver(100_000, kept)
    assert receiver.receive(offer(other)) == []
    assert receiver.receive(offer(held)) == [ReferenceHave(offer(held).sha256)]
    sender.send(new)
    said = converse(sender, receiver)
    assert sum(len(one.data) for one in said if isinstance(one, ReferenceChunk)) == len(new)
    assert [receiver.take() for _ in range(3)] == [held, new, None]
    assert gallery.get(RECEIVED, offer(new).sha256) == new  # for the next call


def test_without_a_gallery_nothing_is_held() -> None:
    receiver = ReferenceReceiver(100_000)
    assert receiver.receive(offer(bytes(5000))) == []
    assert receiver.take() is None


@pytest.fixture
def album(gallery: Gallery) -> Album:
    """Of a call after one that sent references of the scenes 1 and 2."""
    former = Album(gallery)
    for seed in (1, 2):
        former.keep(encode_picture(scene(seed), 4000))
        former.keep(encode_picture(scene(seed), 2000))  # a coarse one, which need not be offered
    gallery.put(SENT, b"\x01 no picture")
    album = Album(gallery)
    album.open()
    return album


def test_an_album_offers_what_is_like_the_first_picture(album: Album, gallery: Gallery) -> None:
    album.begin(np.roll(scene(1), 2, 1), 256)
    album.begin(scene(2), 256)  # is not the first any more
    assert album.offers(0.0) == [offer(encode_picture(scene(1), 4000))]
    assert album.offers(0.1) == []
    for unlike in (scene(3), scene(1)):  # nothing alike, and not looked through
        other = Album(gallery)
        other.begin(unlike, 256)
        assert other.offers(0.0) == []
        assert not other.waits(0.0)


def test_what_the_other_side_holds_spares_references_of_the_same_pose(album: Album) -> None:
    album.begin(scene(1), 256)
    (offered,) = album.offers(10.0)
    assert album.waits(10.1)
    assert album.answered(ReferenceHave(bytes(32))) is None
    assert album.waits(10.1)
    seen = album.answered(ReferenceHave(offered.sha256))
    assert seen is not None
    assert not album.waits(10.1)
    assert album.spares(thumbnail(scene(1)))
    assert not album.spares(thumbnail(scene(2)))
    assert album.answered(ReferenceHave(offered.sha256)) is None  # said before


def test_what_newer_references_have_pushed_out_is_not_spared_any_more(album: Album) -> None:
    album.begin(scene(1), 256)
    (offered,) = album.offers(0.0)
    album.answered(ReferenceHave(offered.sha256))
    for number in range(REFERENCES_HELD):
        assert album.spares(thumbnail(scene(1)))
        album.keep(bytes([number]))
    assert not album.spares(thumbnail(scene(1)))


def test_a_receiver_that_wishes_for_a_reference_gets_one(gallery: Gallery) -> None:
    media = MediaOptions(size_px=256, model=None)
    feed = PatternSource().open(256, media.kbps, None)
    first = feed.pictures.peek()
    assert first is not None
    Album(gallery).keep(encode_picture(first.frame, 12_000))
    options = PeerOptions("room", "", media, source=PatternSource(), gallery=gallery)
    outgoing = Outgoing(options, feed)
    try:
        outgoing.prime()
        (offered,) = offers_of(outgoing, first.frame, 0.0, 6)  # sooner than it would not wait
        outgoing.receive(ReferenceHave(offered.sha256))
        assert offers_of(outgoing, first.frame, 1.0) == []
        outgoing.receive(ReferenceWish())
        assert len(offers_of(outgoing, first.frame, 4.0)) == 1
    finally:
        outgoing.close()


def offers_of(
    outgoing: Outgoing, frame: Frame, now: float, ticks: int = 30
) -> list[ReferenceOffer]:
    """Those that come with so many of `frame`, 30 a second; references are coded in a thread."""
    offers = []
    for tick in range(ticks):
        at = now + tick / 30
        pictures = outgoing._pictures
        pictures.encode(frame, at, False)
        under_way = pictures._encoder._under_way if isinstance(pictures, PictureSender) else None
        if under_way is not None:
            under_way.result()
        offers += [one for one in outgoing.messages(at) if isinstance(one, ReferenceOffer)]
    return offers


def test_no_answer_is_waited_for_long(album: Album) -> None:
    album.begin(scene(1), 256)
    assert album.offers(10.0)
    assert not album.waits(10.5)
    assert not album.spares(thumbnail(scene(1)))


def test_only_an_answer_that_may_spare_references_is_waited_for(album: Album) -> None:
    album.begin(np.roll(scene(1), 3, 1), 256)
    assert album.offers(0.0)
    assert not album.waits(0.0)


def test_a_gallery_that_cannot_be_written_warns_once(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    gallery.folder.rmdir()
    gallery.folder.touch()
    kept, album = Received(gallery), Album(gallery)
    for _ in range(3):
        kept.put(b"data")
        album.keep(b"data")
    assert caplog.text.count("references are not kept: ") == 2


async def test_the_second_call_begins_with_what_the_first_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, key = make_clip(tmp_path / "clip.mkv", 20), tmp_path / "key"
    mine, theirs = Gallery(tmp_path / "mine", key), Gallery(tmp_path / "theirs", key)
    sent, held = [], []
    for number in range(2):
        output = tmp_path / f"{number}.mp4"
        sends = {"source": ClipSource(clip), "gallery": mine}
        async with pair(monkeypatch, sends, {"output": output, "gallery": theirs}) as peers:
            await run_both(*peers)
            assert peers[0].outgoing is not None
            sent.append(peers[0].outgoing.counters.reference_bytes)
            assert peers[1].incoming is not None
            held.append(peers[1].incoming.counters.references)
    assert sent[0] > 0
    assert sent[1] == 0
    assert min(held) > 0
    assert {item.kind for item in mine.items()} == {SENT}
    assert {item.kind for item in theirs.items()} == {RECEIVED}


async def run_both(sender: Peer, receiver: Peer) -> None:
    await asyncio.gather(sender.run(), receiver.run())


_COMMAND = "from gemino.cli.main import main; main()"


def gemino(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", _COMMAND, "gallery", *arguments],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_lists_and_forgets(tmp_path: Path) -> None:
    assert "nothing is kept" in gemino(tmp_path, "list").stdout
    assert gemino(tmp_path, "forget", "--all").stdout == "forgot 0\n"
    assert list(tmp_path.iterdir()) == []  # who looks for a gallery does not make one
    folder = tmp_path / ".local" / "share" / "gemino" / "gallery"
    kept = Gallery(folder, tmp_path / ".config" / "gemino" / "gallery.key")
    names = [kept.put("received", data).hex()[:8] for data in (b"one", b"two" * 500)]
    listed = gemino(tmp_path, "list").stdout.splitlines()
    assert sorted(line.split()[-1] for line in listed) == sorted(names)
    assert any("1,500 bytes" in line for line in listed)
    assert gemino(tmp_path, "forget").returncode == 2
    wrong = gemino(tmp_path, "forget", "00000000")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)
    assert gemino(tmp_path, "forget", names[0]).stdout == f"forgot {names[0]}\n"
    assert gemino(tmp_path, "forget", "--all").stdout == "forgot 1\n"
    assert kept.items() == []
    absent = gemino(tmp_path, "list", "--gallery", str(tmp_path / "absent"))
    assert (absent.returncode, "there is no such folder" in absent.stderr) == (2, True)
    assert not (tmp_path / "absent").exists()
