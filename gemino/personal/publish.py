"""An adapter's folder: the file, a card that says what it is, a picture of before and after."""

import hashlib
from pathlib import Path

import numpy as np

from gemino.adapters import FILE
from gemino.errors import ModelError
from gemino.personal.footage import Footage
from gemino.personal.judging import Verdict
from gemino.personal.sheet import captioned, write_png
from gemino.zoo import ModelFiles

_COLUMNS = ("small picture, upsampled", "generic", "personal", "original")
_GREY = (40, 40, 40)
_CARD = """# Adapter {name}

For {base} (SHA-256 {base_sha256}...) alone; {size:,} bytes, SHA-256 {sha256}.

Trained in {steps} steps, {minutes:.1f} minutes, on {learned:.0f} s of this person's own video, and
judged on the last {judged:.0f} s of it, which it did not learn from (the face was found by
{detector}):

| seen and drawn | LR stream | LPIPS, {base} | LPIPS, with this adapter | |
|---|---|---|---|---|
{rows}
| mean | | {generic:.4f} | {personal:.4f} | {change:+.1%} |

Where it is used (pictures of so many px, from LR pictures of so many): {serves}. Elsewhere {base}
draws alone.

`before-after.png`: {columns}. `contact.png`: the video that was used, and what was dropped.

## Use

    gemino-call --adapter {name} ...        who receives names the adapter of who is seen
    gemino-call --lend {name} ...           or its owner lends it to who receives
    gemino decode call.gem --adapter {name} -o call.mp4

## Limits

It is the likeness of one person: give it to nobody who may not have it, and use none of somebody
who did not agree. It was judged in the light, the room and the clothes of its own video; elsewhere
it gives less, and colours that the video does not have may fade. It holds no picture of the person:
it changes how detail is drawn, and receivers use it only while they see this face.
"""


def publish(
    folder: Path,
    name: str,
    base: ModelFiles,
    data: bytes,
    found: Footage,
    verdict: Verdict,
    trained: tuple[int, float],
) -> Path:
    """Write `data`, an adapter that won, into `folder`, and return it. trained: steps, minutes.

    Raises ModelError where it cannot be written.
    """
    rows = [
        f"| {case.view}, {case.output_px} px | {case.rung.codec}, {case.rung.size_px} px, "
        f"{case.rung.video_kbps:g} kbps | {before:.4f} | {after:.4f} | {after / before - 1:+.1%} |"
        for case, (before, after) in verdict.lpips.items()
    ]
    card = _CARD.format(
        name=name,
        base=base.config.name,
        base_sha256=base.sha256[:16],
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        steps=trained[0],
        minutes=trained[1],
        learned=found.seconds - found.judged_s,
        judged=found.judged_s,
        detector=found.detector,
        rows="\n".join(rows),
        generic=verdict.generic,
        personal=verdict.personal,
        change=-verdict.gain,
        columns=", ".join(_COLUMNS),
        serves=", ".join(
            f"{big} px from LR pictures of {lr}" for big, lr in sorted(verdict.serves)
        ),
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "card.md").write_text(card)
        partial = folder / f"{FILE}.partial"
        partial.write_bytes(data)
        partial.replace(folder / FILE)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({error.strerror})") from error
    strips = [
        np.hstack([captioned(x, text, _GREY) for x, text in zip(row, _COLUMNS, strict=True)])
        for row in verdict.rows
    ]
    write_png(np.vstack(strips), folder / "before-after.png")
    return folder
