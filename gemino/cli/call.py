"""`gemino-call`: a call over WebRTC, between two machines or two processes on this one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from gemino.cli import browser as page
from gemino.cli import connectivity, edge, outputs, sound
from gemino.cli.console import NO_MODEL, with_adapter
from gemino.errors import CallError, MediaError

if TYPE_CHECKING:
    from gemino.call.sources import Source

_EXAMPLES = """A neural video call over WebRTC.

A small AV1 or VP8 stream and now and then one sharp picture cross the network; the receiver
rebuilds the full-size video from both.

Examples:

- gemino-call --loopback samples/webcam.mp4 -o received.mp4
- gemino-call --loopback clip.mp4 --kbps 20 --size 1024 --json
- gemino-call --listen --camera --show (says how to answer)
- gemino-call --listen --browser
- gemino-call --listen --input clip.mp4 --loop --record call.mp4
- gemino-call --camera list; gemino-call --mic list

With a meeting place that others run (gemino signal --host 0.0.0.0):

- gemino-call --peer ROOM --server ws://HOST:8765/ws --camera --show
- gemino-call --peer ROOM --server ws://HOST:8765/ws -o received.mp4
"""

app = edge.new_app(_EXAMPLES)

_FIRST_CAMERA, _RANDOM_ROOM, _LIST, _NO_CLIP = "0", "", "list", ""
_PATIENCE_S = 1800.0
"""How long a person waits for another one."""
_PARENTS_PATIENCE_S = 120.0


class _Command(edge.OptionalValues):
    values: ClassVar = {
        "--browser": page.DEFAULT_PORT,
        "--camera": _FIRST_CAMERA,
        "--listen": _RANDOM_ROOM,
        "--loopback": _NO_CLIP,
        "--gallery": outputs.OWN_GALLERY,
        "--mic": sound.DEFAULT,
        "--speaker": sound.DEFAULT,
    }
    panels: ClassVar = {
        "Meeting the other side": (
            *("--loopback", "--listen", "--peer", "--server", "--token"),
            *("--host", "--port", "--local"),
        ),
        "What is sent": ("--camera", "--mic", "--input", "--loop", "--test-pattern", "--browser"),
        "What is seen, heard and kept": (
            *("--show", "--speaker", "--output", "--record", "--gallery", "--virtual-camera"),
        ),
        "Rate and picture": (
            *("--kbps", "--audio-kbps", "--audio-ptime", "--size", "--model", "--adapter"),
            *("--lr-codec", "--runtime", "--device", "--fovea"),
        ),
        "Behind a NAT or a firewall": (
            *("--ice-server", "--ice-policy", "--turn-secret", "--turn-user", "--turn-password"),
        ),
        "End, figures, help": (
            *("--seconds", "--json", "--stats", "--record-lossless", "--time-code", "--help"),
        ),
    }


_Loopback = Annotated[
    str | None,
    typer.Option(
        "--loopback",
        metavar="[CLIP]",
        help="Call between two processes here; without a clip --test-pattern.",
    ),
]
_PeerRoom = Annotated[
    str | None, typer.Option("--peer", metavar="ROOM", help="Be one peer, in this room.")
]
_ListenRoom = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="[ROOM]",
        help="Be one peer and the meeting place: prints what the other side runs.",
    ),
]
_Server = Annotated[
    str | None, typer.Option(metavar="URL", help="Signalling server, ws://HOST:PORT/ws.")
]
_Token = Annotated[str | None, typer.Option(help="For a server that asks for room tokens.")]
_Input = Annotated[Path | None, typer.Option("--input", metavar="CLIP", help="Send this clip.")]
_Loop = Annotated[bool, typer.Option("--loop", help="Send the clip again and again.")]
_CameraName = Annotated[
    str | None,
    typer.Option(
        "--camera",
        metavar="[N|PATH|list]",
        help="Send what a camera sees: the first, the Nth from 0, a device; list: names them.",
    ),
]
_Pattern = Annotated[bool, typer.Option("--test-pattern", help="Send a moving test picture.")]
_Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write what is received: .mp4, .mkv."),
]
_Kbps = Annotated[
    float, typer.Option(help="Video payload, references included; sound adds about 6.")
]
_Size = Annotated[int, typer.Option(help="Side of the rebuilt picture: 256, 512, 768 or 1024 px.")]
_Model = Annotated[str, typer.Option(help="Network that rebuilds: a name, a folder, or none.")]
_Adapter = Annotated[
    str | None,
    typer.Option("--adapter", help="Personal adapter of who is seen; for who receives."),
]
_LrCodec = Annotated[
    Literal["auto", "av1", "vp8"],
    typer.Option(help="Codec of the small stream; auto: AV1 where both peers have it."),
]
_Runtime = Annotated[
    Literal["auto", "torch", "onnx", "classical"],
    typer.Option(help="What runs the model; auto: what is in time here (see gemino doctor)."),
]
_Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"],
    typer.Option(help="Where torch runs it; auto: a CUDA device where there is one."),
]
_Fovea = Annotated[
    bool, typer.Option("--fovea", help="Look closer at the face, and less at the rest; AV1.")
]
_TimeCode = Annotated[
    bool,
    typer.Option(
        "--time-code",
        help="With --loopback: write a time code into the pictures sent, and read from those shown"
        " how old they are.",
    ),
]
_Seconds = Annotated[float | None, typer.Option(help="End so long after the call's start.")]
_Stats = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Append statistics: a JSON line a second and peer."),
]
_Lossless = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.mkv",
        help="Every shown frame, bit for bit; with --loopback also FILE.jsonl, which names"
        " the source frame of each.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
_Host = Annotated[
    str | None, typer.Option(help="Address that --listen's server is at; 0.0.0.0: all of IPv4.")
]
_Port = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port of --listen's server (8765) or --loopback's (a free one); 0: a free one.",
    ),
]
_Local = Annotated[
    bool,
    typer.Option("--local", help="Both peers are on this machine: use 127.0.0.1 alone."),
]
_HiddenPath = Annotated[Path | None, typer.Option(hidden=True)]
_HiddenFlag = Annotated[bool, typer.Option(hidden=True)]


@app.command(help=_EXAMPLES, cls=_Command)
def call(
    ctx: typer.Context,
    loopback_clip: _Loopback = None,
    peer: _PeerRoom = None,
    listen: _ListenRoom = None,
    server: _Server = None,
    token: _Token = None,
    clip: _Input = None,
    loop: _Loop = False,
    camera: _CameraName = None,
    test_pattern: _Pattern = False,
    browser: page.Browser = None,
    output: _Output = None,
    record: outputs.Record = None,
    gallery: outputs.GalleryFolder = None,
    show: outputs.Show = False,
    virtual_camera: outputs.VirtualCamera = False,
    mic: sound.Mic = None,
    speaker: sound.Speakers = None,
    kbps: _Kbps = 15.0,
    audio_kbps: sound.AudioKbps = None,
    audio_ptime: sound.AudioPtime = None,
    size: _Size = 512,
    model: _Model = "generic-s",
    adapter: _Adapter = None,
    lr_codec: _LrCodec = "auto",
    runtime: _Runtime = "auto",
    device: _Device = "auto",
    fovea: _Fovea = False,
    time_code: _TimeCode = False,
    seconds: _Seconds = None,
    stats: _Stats = None,
    record_lossless: _Lossless = None,
    as_json: _Json = False,
    host: _Host = None,
    port: _Port = None,
    ice_server: connectivity.Servers = None,
    ice_policy: connectivity.Policy = "all",
    turn_secret: connectivity.TurnSecret = None,
    turn_user: connectivity.TurnUser = None,
    turn_password: connectivity.TurnPassword = None,
    report: _HiddenPath = None,
    frame_log: _HiddenPath = None,
    local: _Local = False,
    supervised: _HiddenFlag = False,
) -> None:
    from gemino.call.options import LoopbackOptions, MediaOptions, PeerOptions  # --help is quick
    from gemino.call.sound_format import SoundOptions
    from gemino.call.timecode import TimeCoded

    if camera == _LIST:
        _print_cameras()
        return
    if sound.LIST in (mic, speaker):
        sound.print_devices("input" if mic == sound.LIST else "output")
        return
    named = with_adapter(model, adapter)
    network = None if named == NO_MODEL else named
    codec = lr_codec, runtime, fovea, time_code, device
    rates = SoundOptions(audio_kbps, audio_ptime)
    media = MediaOptions(kbps, size, network, seconds, *codec, sound=rates)
    connectivity.check_way(loopback_clip, peer, listen, server, token)
    connectivity.check_address(loopback_clip, peer, host, port)
    ice = connectivity.options(
        *(ice_server, turn_secret, turn_user, turn_password, ice_policy),
        loopback=loopback_clip is not None,
    )
    source = _source(loopback_clip, clip, loop, camera, test_pattern)
    if time_code and loopback_clip is None and not supervised:
        raise CallError("--time-code goes with --loopback: two machines have two clocks")
    if time_code and source is not None:
        source = TimeCoded(source)
    source = sound.with_microphone(source, mic, camera, loopback_clip)
    others = not (source is None and mic is None and speaker is None)
    page_port = page.check(browser, others=others, loopback=loopback_clip is not None)
    _check_outputs(output, record_lossless)
    outputs.check(loopback_clip, record, gallery, virtual_camera=virtual_camera)
    sent = clip or (Path(loopback_clip) if loopback_clip else None)
    outputs.check_apart(sent, (output, record, record_lossless, stats))
    from gemino.cli import live, meeting

    if loopback_clip is not None:
        played = None if test_pattern else Path(loopback_clip)
        asked = (played, media, output, record_lossless, stats, port or 0, loop, show, speaker)
        live.run_loopback(LoopbackOptions(*asked), as_json=as_json)
        return
    told = connectivity.told(ice_server, turn_secret)
    own = None if listen is None else meeting.own_server(host, port, local=local, told=told)
    lent = ctx.with_resource(page.opened(page_port, size, named))
    options = PeerOptions(
        room=peer or listen or meeting.random_room(),
        server_url=server or "",
        media=media,
        token=token,
        source=lent.source or source,
        output=output,
        lossless=record_lossless,
        gallery=outputs.open_gallery(gallery),
        displays=lent.displays
        + ctx.with_resource(
            outputs.opened(
                size,
                show=show,
                record=record,
                both=source is not None,
                virtual_camera=virtual_camera,
            )
        ),
        speaker=lent.speaker or ctx.with_resource(sound.opened_speaker(speaker, shown=show)),
        frame_log=frame_log,
        stats=stats,
        local=local,
        supervised=supervised,
        wait_s=_PARENTS_PATIENCE_S if supervised else _PATIENCE_S,
        ice=ice,
    )
    live.run_peer(options, own, report, as_json=as_json)


def _source(
    loopback_clip: str | None, clip: Path | None, loop: bool, camera: str | None, pattern: bool
) -> "Source | None":
    """What a peer is to send; raises CallError where that is two things at once."""
    from gemino.call.camera import CameraSource
    from gemino.call.devices import check_camera
    from gemino.call.sources import ClipSource, PatternSource

    sources = (clip is not None) + (camera is not None) + pattern
    if loopback_clip == _NO_CLIP and (not pattern or sources > 1 or loop):
        raise CallError("--loopback needs a clip to send, or --test-pattern alone")
    if loopback_clip and sources:
        raise CallError("--loopback CLIP sends that clip: name no other source")
    if sources > 1:
        raise CallError("send one of --camera, --input and --test-pattern")
    if loop and clip is None and loopback_clip is None:
        raise CallError("--loop goes with --input CLIP")
    if camera is not None:
        check_camera(camera)
        return CameraSource(camera)
    if clip is not None:
        return ClipSource(clip, loop)
    return PatternSource() if pattern else None


def _print_cameras() -> None:
    from gemino.call.devices import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        sizes = ", ".join(f"{width}x{height}" for width, height in camera.sizes)
        typer.echo(f"{camera.device}  {camera.name}  {sizes or 'sizes not told'}")
    if not cameras:
        typer.echo("no camera is connected; --input FILE sends a clip, --test-pattern a picture")


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
