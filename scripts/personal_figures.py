"""Generic against personal: what adapters are worth to their owners, and to strangers.

    python scripts/personal_figures.py models/personal/ann=ann-later.mp4 models/personal/bob=...

Each adapter is measured on clips of its owner that it did not learn from, at the rates of
docs/personalization.md, as a receiver uses it: where its owner is seen, at the sizes that it
serves. `--stranger CLIP` shows what it would do to somebody else, were it not kept from them.
Writes a table, in Markdown, and all points with --json FILE.
"""

import json
import statistics
from pathlib import Path
from typing import Annotated

import typer

from gemino.adapters import find as find_adapter
from gemino.cli.edge import guard
from gemino.errors import GeminoError
from gemino.evaluation import clips, metrics
from gemino.evaluation.metrics import use_one_thread
from gemino.evaluation.offline import Gemino, Stream
from gemino.nn.lpips import Lpips
from gemino.runtime import Synthesizer, open_synthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.zoo import DEFAULT_MODEL, adapted, find


def main(
    pairs: Annotated[list[str], typer.Argument(metavar="ADAPTER=CLIP,CLIP ...")],
    kbps: Annotated[str, typer.Option(help="Total payloads.")] = "6,10,15,25",
    size: Annotated[int, typer.Option(help="Side of the pictures in px.")] = 512,
    model: Annotated[str, typer.Option(help="The generic model.")] = DEFAULT_MODEL,
    stranger: Annotated[list[Path] | None, typer.Option(help="Clips of other people.")] = None,
    seconds: Annotated[float, typer.Option(help="Of each clip.")] = 8.0,
    play_s: Annotated[float, typer.Option(help="Play forth and back for so long.")] = 8.0,
    every: Annotated[int, typer.Option(help="Measure every so many frames.")] = 15,
    as_json: Annotated[Path | None, typer.Option("--json", help="All points.")] = None,
) -> None:
    use_one_thread()
    network = load_lpips()
    rates = [float(rate) for rate in kbps.split(",")]
    points: list[dict[str, object]] = []
    typer.echo("| adapter | clip | " + " | ".join(f"{rate:g} kbps" for rate in rates) + " | mean |")
    typer.echo("|---|---" + "|---" * (len(rates) + 1) + "|")
    for pair in pairs:
        adapter, equals, names = pair.partition("=")
        if not equals:
            raise GeminoError(f"{pair}: is not of the form ADAPTER=CLIP,CLIP")
        owner = find_adapter(adapter).name
        named = adapted(model, adapter)
        generic, guarded = (open_synthesizer(one, size, runtime="torch") for one in (model, named))
        bare = TorchSynthesizer(find(named), size) if stranger else guarded
        own = [Path(name) for name in names.split(",")]
        for clip in own + (stranger or []):
            footage = clips.load(
                clip, size, every, name=clip.stem, max_seconds=seconds, play_s=play_s
            )
            cells, changes = [], []
            both = generic, guarded if clip in own else bare
            for rate in rates:
                before, after = (lpips(network, one, footage, rate, model) for one in both)
                changes.append(after / before - 1)
                cells.append(f"{before:.4f} -> {after:.4f} ({changes[-1]:+.1%})")
                points.append(
                    {"adapter": owner, "clip": clip.stem, "own": clip in own, "kbps": rate}
                    | {"generic": before, "personal": after}
                )
            who = owner if clip in own else f"{owner}, on a stranger"
            row = [who, clip.stem, *cells, f"{statistics.mean(changes):+.1%}"]
            typer.echo(f"| {' | '.join(row)} |")
    if as_json is not None:
        as_json.write_text(json.dumps(points, indent=1))


def lpips(
    network: Lpips, synthesizer: Synthesizer, footage: clips.Footage, kbps: float, model: str
) -> float:
    """Of the last pass of the play, coded at a total of `kbps`."""
    codec = Gemino("gemino", synthesizer, Stream(ladders=find(model).ladders))
    shown = codec.run(footage, kbps).shown()
    return statistics.fmean(
        metrics.lpips(network, footage.originals[at], frame) for at, frame in shown.items()
    )


if __name__ == "__main__":
    guard(lambda: typer.run(main))
