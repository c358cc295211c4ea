"""Exports a model once it is proven that the graphs draw the pictures that torch draws.

Proven on the model's own example and on pictures that really went through the codec. int8 graphs
cannot draw the same ones: for them the cost in LPIPS is measured, on pictures that they were not
calibrated on.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from gemino.config import Sampling
from gemino.errors import ModelError
from gemino.frames import Frame
from gemino.graphs import GRAPH_NAMES, GraphPrecision, describe, graph_path
from gemino.runtime.base import Synthesizer
from gemino.runtime.export import write_graphs
from gemino.runtime.onnx_runtime import OnnxSynthesizer
from gemino.runtime.perceptual import load_lpips
from gemino.runtime.quantize import QUANTISED, SENSITIVE, Recorder, quantise
from gemino.runtime.torch_runtime import TorchSynthesizer
from gemino.zoo import CONFIG, Fact, ModelFiles, write_export

MOST_LEVELS = 4
"""The float32 graphs may differ so far from torch in any one value: OpenCV warps to a thirty-second
of a pixel, and the last bit of a flow may tip it over."""
MOST_LPIPS = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An LR picture as a receiver decodes it, and the full one that it was made from."""

    lr: Frame
    sampling: Sampling
    log2_bits_per_pixel: float
    original: Frame


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A reference as a receiver decodes it, and pictures to rebuild with it."""

    reference: Frame
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the pictures of two runtimes, in levels of 255: the largest, and the mean."""

    largest: int
    mean: float


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found about an export.

    golden, scenes: float32 against torch, on the model's own example and on coded pictures. lpips:
    of the latter, by torch and by the int8 graphs. kept: convolutions that stayed float32 in these.
    """

    golden: Difference
    scenes: Difference | None = None
    lpips: tuple[float, float] | None = None
    kept: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Fact]:
        found: dict[str, Fact] = {
            "golden_largest_levels": self.golden.largest,
            "golden_mean_levels": round(self.golden.mean, 5),
        }
        if self.scenes is not None:
            found["clips_largest_levels"] = self.scenes.largest
            found["clips_mean_levels"] = round(self.scenes.mean, 5)
        if self.lpips is not None:
            found["int8_lpips_cost"] = round(self.lpips[1] - self.lpips[0], 4)
            found["int8_kept_float32"] = ", ".join(self.kept)
        return found


def export_model(
    files: ModelFiles,
    output_px: int,
    output: Path,
    scenes: Sequence[Scene],
    precision: GraphPrecision,
) -> Proof:
    """Write the graphs of `files` for pictures of this size into the folder `output`.

    scenes: to prove them on, and to calibrate int8 with; int8 needs some. Raises ModelError, and
    writes nothing, where the proof fails; RuntimeUnavailable where a package is missing.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as name:
        folder = Path(name)
        write_graphs(files, output_px, folder)
        exact = TorchSynthesizer(files, output_px, device="cpu", precision="float32")
        graphs = _open(files, output_px, folder, "float32")
        proof = _prove(exact, graphs, golden_scene(files), scenes)
        if precision == "int8":
            proof, folder = _quantise(files, graphs, folder, scenes, proof)
        _publish(files, output_px, precision, folder, output, proof)
    return proof


def play(synthesizer: Synthesizer, scenes: Iterable[Scene]) -> list[Frame]:
    """All pictures of all scenes, rebuilt."""
    shown: list[Frame] = []
    for scene in scenes:
        synthesizer.forget_references()
        synthesizer.add_reference(scene.reference)
        shown += [
            synthesizer.synthesize(picture.lr, picture.sampling, picture.log2_bits_per_pixel)
            for picture in scene.pictures
        ]
    synthesizer.forget_references()
    return shown


def compare(a: Sequence[Frame], b: Sequence[Frame]) -> Difference:
    """How far apart two runs of the same scenes are."""
    apart = [np.abs(x.astype(np.int16) - y) for x, y in zip(a, b, strict=True)]
    return Difference(max(int(x.max()) for x in apart), float(np.mean([x.mean() for x in apart])))


def golden_scene(files: ModelFiles) -> Scene:
    """The model's own example (`golden.npz`); ModelError where it is missing or damaged."""
    path = files.path / "golden.npz"
    try:
        with np.load(path, allow_pickle=False) as golden:
            lr, reference = golden["lr"], golden["reference"]
            level = float(golden["log2_bits_per_pixel"])
            return Scene(reference, [Picture(lr, Sampling(lr.shape[0]), level, golden["output"])])
    except (OSError, EOFError, KeyError, ValueError, TypeError, IndexError) as exc:
        raise ModelError(f"{path}: is no example of this model; fetch the model again") from exc


def _open(
    files: ModelFiles, output_px: int, folder: Path, precision: GraphPrecision
) -> OnnxSynthesizer:
    stored = describe(folder, output_px, precision)
    return OnnxSynthesizer(replace(files, path=folder, graphs=stored), output_px)


def _prove(
    exact: Synthesizer, graphs: Synthesizer, golden: Scene, scenes: Sequence[Scene]
) -> Proof:
    own = compare(play(exact, [golden]), play(graphs, [golden]))
    coded = compare(play(exact, scenes), play(graphs, scenes)) if scenes else None
    largest = max(difference.largest for difference in (own, coded) if difference is not None)
    if largest > MOST_LEVELS:
        raise ModelError(
            f"the graphs draw other pictures than torch: {largest} levels apart, more than "
            f"{MOST_LEVELS}; nothing was written"
        )
    return Proof(own, coded)


def _quantise(
    files: ModelFiles,
    graphs: OnnxSynthesizer,
    folder: Path,
    scenes: Sequence[Scene],
    proof: Proof,
) -> tuple[Proof, Path]:
    """int8 graphs beside those in `folder`: of all convolutions, or else of all but the delicate.

    Every other picture calibrates, the others judge.
    """
    judging = [replace(scene, pictures=scene.pictures[1::2]) for scene in scenes]
    fed = {name: Recorder(graphs.graphs[name]) for name in QUANTISED}
    network = load_lpips()

    def lpips(synthesizer: Synthesizer) -> float:
        originals = [picture.original for scene in judging for picture in scene.pictures]
        pairs = zip(play(synthesizer, judging), originals, strict=True)
        with torch.inference_mode():
            return float(np.mean([network(_tensor(a), _tensor(b)) for a, b in pairs]))

    exact = lpips(graphs)
    graphs.graphs.update(fed)
    play(graphs, [replace(scene, pictures=scene.pictures[::2]) for scene in scenes])
    target = folder / "int8"
    target.mkdir()
    shutil.copyfile(graph_path(folder, "encode"), graph_path(target, "encode"))
    for kept in ((), SENSITIVE):
        for name in QUANTISED:
            quantise(graph_path(folder, name), graph_path(target, name), fed[name].fed, kept)
        cost = lpips(_open(files, graphs.output_px, target, "int8"))
        if cost - exact <= MOST_LPIPS:
            return replace(proof, lpips=(exact, cost), kept=kept), target
    raise ModelError(
        f"int8 costs {cost - exact:.4f} of LPIPS, more than {MOST_LPIPS}; nothing was written: "
        "calibrate on other clips, or export float32"
    )


def _tensor(frame: Frame) -> Tensor:
    return torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255


def _publish(
    files: ModelFiles,
    output_px: int,
    precision: GraphPrecision,
    folder: Path,
    output: Path,
    proof: Proof,
) -> None:
    """Move the graphs to where they belong; config.toml is gone first and there last."""
    output.mkdir(exist_ok=True)
    (output / CONFIG).unlink(missing_ok=True)
    for name in GRAPH_NAMES:
        graph_path(folder, name).replace(graph_path(output, name))
    write_export(output, files, describe(output, output_px, precision), proof.facts)
