"""The options about a call's end and its figures, and those by which a parent starts a peer."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from gemino.cli.console import check_folder
from gemino.cli.outputs import check_writable
from gemino.errors import CallError

if TYPE_CHECKING:
    from gemino.call.sources import Source


@dataclass(frozen=True, slots=True)
class Figures:
    """When it ends, and what is written down of it.

    report, frame_log, supervised: what `gemino.call.loopback` asks of its two peers.
    """

    heading: ClassVar[str] = "End, figures, help"

    seconds: Annotated[
        float | None, typer.Option(help="End so many seconds after the call's start.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False
    stats: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append statistics: a JSON line a second and peer."),
    ] = None
    record_lossless: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mkv",
            help="Every shown frame, bit for bit; with --loopback also FILE.jsonl, which names"
            " the source frame of each.",
        ),
    ] = None
    time_code: Annotated[
        bool,
        typer.Option(
            "--time-code",
            help="With --loopback: write a time code into the pictures sent, and read from those"
            " shown how old they are.",
        ),
    ] = False
    verbosity: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            metavar="",
            show_default=False,
            help="Say what happens; -vv: in more detail.",
        ),
    ] = 0
    report: Annotated[Path | None, typer.Option(hidden=True)] = None
    frame_log: Annotated[Path | None, typer.Option(hidden=True)] = None
    supervised: Annotated[bool, typer.Option(hidden=True)] = False

    def check(self) -> None:
        """Raise MediaError for a file that cannot be, before anything starts."""
        if self.record_lossless is not None:
            check_writable(self.record_lossless, (".mkv", ".nut"))
        if self.stats is not None:
            check_folder(self.stats)

    def time_coded(self, source: "Source | None", *, loopback: bool) -> "Source | None":
        """`source`, its pictures with a time code where one is asked for; raises CallError."""
        from gemino.call.timecode import TimeCoded

        if self.time_code and not loopback and not self.supervised:
            raise CallError("--time-code goes with --loopback: two machines have two clocks")
        return TimeCoded(source) if self.time_code and source is not None else source
