"""A network of jetson/models as an ONNX file."""

import warnings

import torch
from torch import nn

from jetson.operators import OPSET

INPUTS = ("x", "modulation")


class Body(nn.Module):
    """The part that runs on the device, as `forward`; with outputs in its own precision."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, modulation=None):
        return self.network.body(x, modulation)


def to_onnx(network, x, modulation, path, dynamic=False):
    """Writes the network's body.

    Each tensor is of the type it has here (TensorRT's "strongly typed"), so that a half network
    stays half and its float32 parts stay float32. Inputs are x and, if the noise level has any
    effect, modulation.

    Args:
        network: in evaluation mode; see `models.halved`.
        x, modulation: example inputs, of the batch that is fixed; modulation f32[B, M], M may be 0.
        path: of the file.
        dynamic: any batch from 1 to 256 instead; the example wants 2 or more then.
    """
    inputs = (x, modulation) if modulation.shape[-1] else (x,)
    batch = torch.export.Dim("batch", min=1, max=256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations inside torch itself
        program = torch.onnx.export(
            Body(network), inputs, dynamo=True, opset_version=OPSET, verbose=False,
            input_names=INPUTS[: len(inputs)], output_names=["out"],
            dynamic_shapes=tuple({0: batch} for _ in inputs) if dynamic else None,
        )  # fmt: skip
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]  # lines and paths of the program that exported
    import onnx

    onnx.save(model, path)
