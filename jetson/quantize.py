"""The network's body with its products in int8, as ONNX that TensorRT and onnxruntime read alike.

Each product with a matrix of parameters gets a QuantizeLinear and DequantizeLinear before it (QDQ):
symmetric, one scale for each output of a matrix and one for each activation, which is its largest
value in samples that the float32 network drew. Attention's own products stay as they are, and of
images the last layer, as in float16. Sources: onnxruntime's guide on quantisation (QDQ, static),
and TensorRT's on explicit quantisation (symmetric only, biases in floating point).
"""

import logging
import tempfile
from pathlib import Path

import numpy as np

from jetson import package as packages
from jetson import states
from jetson.operators import unreadable

NAME = "denoiser_int8.onnx"
SEEDS = (1, 2)  # of the samples that scales are taken from, and of those that the result is held to
ROWS = 16
MOST = 0.15  # relative L2 error; 0.02 to 0.09 was met
LEAST = 0.75  # share of places of text with the same likeliest token


def add(package):
    """Writes denoiser_int8.onnx; returns (the file's name, what was found).

    Raises:
        ValueError: it is too far off, or TensorRT would not read it.
    """
    import onnx

    model = quantized(package, states.visited(package, "onnxruntime", seed=SEEDS[0], rows=ROWS))
    data = model.SerializeToString()
    onnx.checker.check_model(model, full_check=True)
    if wrong := unreadable(model):
        raise ValueError(f"{NAME}: TensorRT 10.3 does not read {', '.join(wrong)}")
    denoise = packages.by_session(data)
    met = states.visited(package, "onnxruntime", seed=SEEDS[1])
    error = states.relative(met, denoise)
    found = f"relative L2 off float32 by at most {error:.1e}"
    if not error <= MOST:
        raise ValueError(f"{NAME}: {found}; at most {MOST} will do")
    if package.config["kind"] == "text":
        share = states.same_choice(met, denoise)
        found += f", the same likeliest token at {share:.1%} of places"
        if not share >= LEAST:
            raise ValueError(f"{NAME}: {found}; at least {LEAST:.0%} will do")
    package.add(NAME, data)
    return NAME, found


def quantized(package, met):
    """The float32 graph with QDQ pairs, scaled by states [State]; an onnx.ModelProto."""
    import onnx
    from onnxruntime import quantization

    path = package.file("denoiser_fp32.onnx")
    graph = onnx.load(path).graph
    names = [value.name for value in graph.input]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / NAME
        logging.disable(logging.WARNING)  # it advises a pre-processing that the exporter has done
        try:
            quantization.quantize_static(
                str(path),
                str(target),
                Reader(met, package.config["batch"], names),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_quantize=products(graph, package.config["kind"]),
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm", "Conv"],
                },
            )
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(target)


def products(graph, kind):
    """Names of the nodes that multiply by parameters; of images all but the last."""
    weights = {value.name for value in graph.initializer}
    names = [
        node.name
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm", "Conv") and node.input[1] in weights
    ]
    return names[:-1] if kind == "images" else names


class Reader:
    """onnxruntime's CalibrationDataReader: inputs of one call after the other, then None."""

    def __init__(self, met, batch, names):
        self.calls = iter(self.batches(met, batch, names))

    @staticmethod
    def batches(met, batch, names):
        for state in met:
            count = len(state.inputs[0])
            size = batch or count
            for first in range(0, count, size):
                rows = state.rows(np.minimum(np.arange(first, first + size), count - 1))
                yield dict(zip(names, rows, strict=False))  # no empty modulation

    def get_next(self):
        return next(self.calls, None)
