"""`gemino-call`: a call over WebRTC, between two machines or two processes on this one."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import typer

from gemino.cli import browser as page
from gemino.cli import edge, outputs, sound, usual
from gemino.cli.connectivity import Ice, Meeting
from gemino.cli.figures import Figures
from gemino.cli.grouping import grouped
from gemino.cli.outputs import Kept
from gemino.cli.picture import Picture
from gemino.cli.sending import FIRST_CAMERA, NO_CLIP, OWN_SCREEN, Sending, print_cameras

if TYPE_CHECKING:
    from gemino.call.ice import IceOptions
    from gemino.call.options import LoopbackOptions, MediaOptions, PeerOptions

_EXAMPLES = """A neural video call over WebRTC.

A small AV1 or VP8 stream and now and then one sharp picture cross the network; the receiver
rebuilds the full-size video from both.

Examples:

- gemino-call --loopback samples/webcam.mp4 -o received.mp4
- gemino-call --loopback clip.mp4 --kbps 20 --size 1024 --json
- gemino-call --listen (camera and window, or a browser; says how to answer)
- gemino-call --listen --browser
- gemino-call --listen --input clip.mp4 --loop --record call.mp4
- gemino-call --camera list; gemino-call --mic list

With a signalling server that others run (gemino signal --host 0.0.0.0):

- gemino-call --peer ROOM --server ws://HOST:8765 --camera --show
- gemino-call --peer ROOM --server ws://HOST:8765 -o received.mp4
"""

app = edge.new_app(_EXAMPLES)

_RANDOM_ROOM = ""
_PATIENCE_S = 1800.0
"""How long a person waits for another one."""
_PARENTS_PATIENCE_S = 120.0


class _Command(edge.OptionalValues):
    values: ClassVar = {
        "--browser": page.DEFAULT_PORT,
        "--camera": FIRST_CAMERA,
        "--listen": _RANDOM_ROOM,
        "--loopback": NO_CLIP,
        "--gallery": outputs.OWN_GALLERY,
        "--mic": sound.DEFAULT,
        "--screen": OWN_SCREEN,
        "--speaker": sound.DEFAULT,
    }


@app.command(help=_EXAMPLES, cls=_Command)
@grouped
def call(
    ctx: typer.Context,
    meeting: Meeting,
    sending: Sending,
    served: page.Served,
    kept: Kept,
    picture: Picture,
    ice: Ice,
    figures: Figures,
) -> None:
    if sending.lists_cameras:
        print_cameras()
        return
    if sound.LIST in (sending.mic, kept.speaker):
        sound.print_devices("input" if sending.mic == sound.LIST else "output")
        return
    is_loopback = meeting.is_loopback
    media = picture.media(seconds=figures.seconds, time_code=figures.time_code)
    meeting.check()
    if not is_loopback and figures.record_lossless is None:
        sending, kept = usual.completed(sending, kept)
    servers = ice.options(loopback=is_loopback, listens=meeting.listen is not None)
    source = figures.time_coded(sending.source(meeting.loopback_clip), loopback=is_loopback)
    source = sound.with_microphone(source, sending.mic, sending.camera, meeting.loopback_clip)
    others = not (source is None and sending.mic is None and kept.speaker is None)
    port = page.check(sending.browser, others=others, loopback=is_loopback)
    place = served.place(port)
    kept.check(loopback=is_loopback)
    figures.check()
    sent = sending.clip or (Path(meeting.loopback_clip) if meeting.loopback_clip else None)
    written = kept.output, kept.record, figures.record_lossless, figures.stats
    outputs.check_apart(sent, written)
    from gemino.cli import live  # --help is quick

    if is_loopback:
        sending.lent(loopback=True)
        options = _loopback_options(meeting, sending, kept, media, figures)
        live.run_loopback(options, as_json=figures.as_json)
        return
    lends = sending.lent(loopback=False)
    own = meeting.own_server(ice.told())
    shown = picture.size, picture.network, picture.kbps
    lent = ctx.with_resource(page.opened(served, place, *shown))
    displays = ctx.with_resource(kept.opened(picture.size, both=source is not None))
    speaker = lent.speaker or ctx.with_resource(sound.opened_speaker(kept.speaker, shown=kept.show))
    ends = page.Lent(lent.source or source, lent.displays + displays, speaker)
    peer = _peer_options(meeting, kept, figures, media, servers, ends)
    peer = replace(peer, lends=lends)
    live.run_peer(peer, own, figures.report, as_json=figures.as_json, verbosity=figures.verbosity)


def _loopback_options(
    meeting: Meeting, sending: Sending, kept: Kept, media: "MediaOptions", figures: Figures
) -> "LoopbackOptions":
    from gemino.call.options import LoopbackOptions

    return LoopbackOptions(
        clip=None if sending.test_pattern else Path(meeting.loopback_clip or ""),
        media=media,
        output=kept.output,
        record_lossless=figures.record_lossless,
        stats=figures.stats,
        port=meeting.port or 0,
        loop=sending.loop,
        show=kept.show,
        speaker=kept.speaker,
        verbosity=figures.verbosity,
    )


def _peer_options(
    meeting: Meeting,
    kept: Kept,
    figures: Figures,
    media: "MediaOptions",
    ice: "IceOptions",
    ends: page.Lent,
) -> "PeerOptions":
    """What is asked of a peer. ends: where its pictures and sound come from, and go to."""
    from gemino.call.options import PeerOptions

    return PeerOptions(
        room=meeting.room(),
        server_url=meeting.server or "",
        media=media,
        token=meeting.token,
        source=ends.source,
        output=kept.output,
        lossless=figures.record_lossless,
        gallery=kept.open_gallery(),
        displays=ends.displays,
        speaker=ends.speaker,
        frame_log=figures.frame_log,
        stats=figures.stats,
        local=meeting.local,
        supervised=figures.supervised,
        wait_s=_PARENTS_PATIENCE_S if figures.supervised else _PATIENCE_S,
        ice=ice,
    )


def main() -> None:
    """The command `gemino-call`."""
    edge.run(app)


if __name__ == "__main__":
    main()
