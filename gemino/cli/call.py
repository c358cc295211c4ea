"""`gemino-call`: a call over WebRTC, between two machines or two processes on this one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gemino.cli import edge
from gemino.errors import CallError, MediaError

_EXAMPLES = """A neural video call over WebRTC.

A small AV1 or VP8 stream and now and then one sharp picture cross the network; the receiver
rebuilds the full-size video from both.

Examples:

  gemino-call --loopback samples/webcam.mp4 -o received.mp4

  gemino-call --loopback clip.mp4 --kbps 20 --size 1024 --json

  gemino signal --host 0.0.0.0 --port 8765        (a meeting place, on any machine)

  gemino-call --peer ROOM --server ws://HOST:8765/ws --input clip.mp4

  gemino-call --peer ROOM --server ws://HOST:8765/ws -o received.mp4
"""

app = edge.new_app(_EXAMPLES)


@app.command(help=_EXAMPLES)
def call(
    loopback_clip: Annotated[
        Path | None,
        typer.Option("--loopback", metavar="CLIP", help="Call between two processes here."),
    ] = None,
    peer: Annotated[
        str | None, typer.Option("--peer", metavar="ROOM", help="Be one peer, in this room.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Signalling server, ws://HOST:PORT/ws.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="For a server that asks for room tokens.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option("--input", metavar="CLIP", help="Send this clip.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write what is received: .mp4, .mkv."),
    ] = None,
    kbps: Annotated[
        float, typer.Option(help="Video payload, references included; sound adds about 6.")
    ] = 15.0,
    size: Annotated[
        int, typer.Option(help="Side of the rebuilt picture: 256, 512, 768 or 1024 px.")
    ] = 512,
    model: Annotated[
        str, typer.Option(help="Network that rebuilds: a name, a folder, or none.")
    ] = "generic-s",
    lr_codec: Annotated[
        Literal["auto", "av1", "vp8"],
        typer.Option(help="Codec of the small stream; auto: AV1 where both peers have it."),
    ] = "auto",
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "classical"],
        typer.Option(help="What runs the model; auto: onnx for an export, else torch."),
    ] = "auto",
    seconds: Annotated[float | None, typer.Option(help="End after so much of the clip.")] = None,
    stats: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append statistics: a JSON line a second and peer."),
    ] = None,
    record_lossless: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mkv",
            help="Every shown frame, bit for bit; with --loopback also FILE.jsonl, which names"
            " the source frame of each.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of --loopback's server; 0: a free one.")
    ] = 0,
    report: Annotated[Path | None, typer.Option(hidden=True)] = None,
    frame_log: Annotated[Path | None, typer.Option(hidden=True)] = None,
    local: Annotated[
        bool, typer.Option(help="With --peer: both peers are here, use 127.0.0.1 alone.")
    ] = False,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    # Imported here so that --help is quick and Ctrl-C meets no half-imported library.
    from gemino.call.options import LoopbackOptions, MediaOptions, PeerOptions

    media = MediaOptions(kbps, size, None if model == "none" else model, seconds, lr_codec, runtime)
    if (loopback_clip is None) == (peer is None):
        raise CallError("give either --loopback CLIP or --peer ROOM; see --help")
    _check_outputs(output, record_lossless)
    from gemino.cli import live

    if loopback_clip is not None:
        live.run_loopback(
            LoopbackOptions(loopback_clip, media, output, record_lossless, stats, port),
            as_json=as_json,
        )
        return
    if server is None or peer is None:
        raise CallError("--peer needs --server ws://HOST:PORT/ws; gemino signal runs one")
    options = PeerOptions(
        room=peer,
        server_url=server,
        media=media,
        token=token,
        clip=clip,
        output=output,
        lossless=record_lossless,
        frame_log=frame_log,
        stats=stats,
        local=local,
        supervised=supervised,
    )
    live.run_peer(options, report, as_json=as_json)


def _check_outputs(output: Path | None, lossless: Path | None) -> None:
    """Say now, not after the call, that a file cannot be written."""
    for path, kinds in ((output, (".mp4", ".mkv")), (lossless, (".mkv", ".nut"))):
        if path is None:
            continue
        if path.suffix not in kinds:
            raise MediaError(f"{path}: cannot write this kind of file; name it {kinds[0]}")
        if not path.parent.is_dir():
            raise MediaError(f"{path}: there is no folder {path.parent}; make it first")


def main() -> None:
    """The command `gemino-call`."""
    edge.run(app)


if __name__ == "__main__":
    main()
