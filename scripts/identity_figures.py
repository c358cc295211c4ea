"""How well faces in LR streams are told apart: owners of adapters against everybody else.

    python scripts/identity_figures.py --own ann=a1.mp4,a2.mp4:a-later.mp4 --others clips/

Of each owner, `identity.choose` keeps what it sees in the first clips; the others, and the clips
behind the colon, then come as LR streams. Prints each owner's least likeness, the others' most, and
the rates of false alarm and of false trust by threshold: the ROC.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from gemino.cli.edge import guard
from gemino.config import Rung
from gemino.faces import shipped
from gemino.frames import prepare
from gemino.identity import SAME_PERSON, Features, choose, describe
from gemino.media import read_frames
from gemino.training.material import list_clips
from gemino.video.lr import LrDecoder, LrEncoder

_PICTURES, _EVERY = 110, 10
_THRESHOLDS = (0.60, 0.65, 0.70, SAME_PERSON, 0.78, 0.82)


def seen(clip: Path, rung: Rung) -> Iterator[Features]:
    """Faces in the first seconds of `clip`, as an LR stream shows them."""
    encoder, decoder, detector = LrEncoder(rung, Fraction(30)), LrDecoder(rung.codec), shipped()
    for at, timed in enumerate(islice(read_frames(clip), _PICTURES)):
        lr = decoder.decode(encoder.encode(prepare(timed.frame, rung.size_px)).data)
        if at % _EVERY == _EVERY // 2:
            found = describe(detector, lr)
            if found is not None:
                yield found


def main(
    own: Annotated[list[str], typer.Option(metavar="NAME=CLIP,...:CLIP,...")],
    others: Annotated[list[Path], typer.Option(help="Folders of clips of other people.")],
    lr_px: Annotated[int, typer.Option(help="Side of the LR pictures.")] = 128,
    lr_kbps: Annotated[float, typer.Option(help="Rate of the LR stream.")] = 8.5,
) -> None:
    rung = Rung("av1", lr_px, lr_kbps)
    kept, later, mine = {}, {}, dict[str, set[str]]()
    for one in own:
        name, _, clips = one.partition("=")
        first, _, then = clips.partition(":")
        learned = [Path(clip) for clip in first.split(",")]
        kept[name] = choose([face for clip in learned for face in seen(clip, rung)])
        later[name] = [Path(clip) for clip in then.split(",")]
        mine[name] = {clip.name for clip in learned + later[name]}
    strangers = {
        clip: np.array(list(seen(clip, rung))) for folder in others for clip in list_clips(folder)
    }

    def alike(name: str, faces: np.typing.NDArray[np.float32]) -> float:
        return float(np.median((faces @ kept[name].astype(np.float32).T).max(axis=1)))

    same, different = [], []
    for name in kept:
        for clip in later[name]:
            same.append(alike(name, np.array(list(seen(clip, rung)))))
            typer.echo(f"{name}, {clip.name}: {same[-1]:.3f}")
        rest = [f for c, f in strangers.items() if c.name not in mine[name] and len(f)]
        different += [alike(name, faces) for faces in rest]
    typer.echo(f"owners: {min(same):.3f} to {max(same):.3f}, {len(same)} clips")
    typer.echo(f"others: at most {max(different):.3f}, {len(different)} pairs")
    typer.echo("| threshold | owners refused | others taken for them |\n|---|---|---|")
    for least in _THRESHOLDS:
        refused = np.mean([x < least for x in same])
        taken = np.mean([x >= least for x in different])
        typer.echo(f"| {least:.2f} | {refused:.1%} | {taken:.1%} |")


if __name__ == "__main__":
    guard(lambda: typer.run(main))
