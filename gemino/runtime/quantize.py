"""What is done to graphs once torch has written them: folded, and quantised to int8.

Quantised are convolutions alone (weights by output channel, symmetric; activations by tensor), with
QuantizeLinear and DequantizeLinear around them, calibrated on what goes through them; what lies
between stays float32. With additions in int8 too LPIPS rose by 0.14, without them by 0.001.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from gemino.errors import RuntimeUnavailable
from gemino.runtime.onnx_runtime import Array, Graph

QUANTISED = ("align", "draw")
"""The reference is encoded once in a while; its graph stays float32."""
SENSITIVE = ("/flow8/", "/flow4/", "/gate8/", "/gate4/", "/residual/")
"""What may have to stay float32, by its path in the network, which is in the name of a node."""
_QUANTISED_TYPE = "Conv"
_QUIET = 4  # only what is fatal; everything else arrives as an exception


class Recorder:
    """A graph that keeps what goes into it."""

    def __init__(self, graph: Graph) -> None:
        self.fed: list[Mapping[str, Array]] = []
        self._graph = graph

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        self.fed.append(feeds)
        return self._graph(feeds)


class _Reader:
    """Hands what was recorded to onnxruntime, one by one."""

    def __init__(self, fed: Sequence[Mapping[str, Array]]) -> None:
        self._fed: Iterator[Mapping[str, Array]] = iter(fed)

    def get_next(self) -> dict[str, Array] | None:
        return dict(next(self._fed, {})) or None


def fold(path: Path) -> None:
    """Rewrite the graph without what depends on constants alone, four fifths of its nodes.

    Raises RuntimeUnavailable where what writes graphs is not installed.
    """
    check()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = _QUIET
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def check() -> None:
    """Raise RuntimeUnavailable where what writes graphs is not installed."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise RuntimeUnavailable(
            f"{' and '.join(missing)} is not installed; pip install 'gemino[export]'"
        )


def quantise(
    source: Path, target: Path, fed: Sequence[Mapping[str, Array]], kept: Sequence[str]
) -> None:
    """Write the int8 graph of `source`, calibrated on `fed`; `kept` convolutions stay float32."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load(source)
    add_pre_process_metadata(model)  # `fold` did it; without this a warning asks for it
    names = [node.name for node in model.graph.node if node.op_type == _QUANTISED_TYPE]
    quantize_static(
        model,
        target,
        _Reader(fed),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[_QUANTISED_TYPE],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[name for name in names if any(part in name for part in kept)],
    )
