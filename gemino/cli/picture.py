"""The options about the rate, and about how the picture is rebuilt."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from gemino.cli import sound
from gemino.cli.console import NO_MODEL, with_adapter

if TYPE_CHECKING:
    from gemino.call.options import MediaOptions


@dataclass(frozen=True, slots=True)
class Picture:
    """At which rate, and rebuilt by what."""

    heading: ClassVar[str] = "Rate and picture"

    kbps: Annotated[
        float, typer.Option(help="Video payload, references included; sound adds about 6.")
    ] = 15.0
    audio_kbps: sound.AudioKbps = None
    audio_ptime: sound.AudioPtime = None
    size: Annotated[
        int, typer.Option(help="Side of the rebuilt picture: 256, 512, 768 or 1024 px.")
    ] = 512
    model: Annotated[
        str, typer.Option(help="Network that rebuilds: a name, a folder, or none.")
    ] = "generic-s"
    adapter: Annotated[
        str | None,
        typer.Option(help="Personal adapter of the person seen; for the receiving side."),
    ] = None
    lr_codec: Annotated[
        Literal["auto", "av1", "vp8"],
        typer.Option(help="Codec of the small stream; auto: AV1 where both peers have it."),
    ] = "auto"
    runtime: Annotated[
        Literal["auto", "torch", "onnx", "classical"],
        typer.Option(
            help="What runs the model; auto: what is fast enough here (see gemino doctor)."
        ),
    ] = "auto"
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"],
        typer.Option(help="Where torch runs it; auto: a CUDA device where there is one."),
    ] = "auto"
    fovea: Annotated[
        bool, typer.Option("--fovea", help="Sample the face more densely than the rest; AV1 only.")
    ] = False

    @property
    def network(self) -> str:
        """The model with the adapter, by name, or NO_MODEL; raises GeminoError."""
        return with_adapter(self.model, self.adapter)

    def media(self, *, seconds: float | None, time_code: bool) -> "MediaOptions":
        """What both peers agree on; raises GeminoError. seconds, time_code: as the call's."""
        from gemino.call.options import MediaOptions
        from gemino.call.sound_format import SoundOptions

        network = self.network
        return MediaOptions(
            self.kbps,
            self.size,
            None if network == NO_MODEL else network,
            seconds,
            self.lr_codec,
            self.runtime,
            self.fovea,
            time_code,
            self.device,
            sound=SoundOptions(self.audio_kbps, self.audio_ptime),
        )
