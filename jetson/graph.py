"""A network of jetson/models as an ONNX file."""

import logging
import warnings

import torch
from torch import nn

from jetson.operators import OPSET


class Body(nn.Module):
    """The part that runs on the device, as `forward`; with outputs in its own precision."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        return self.network.body(*inputs)


def to_onnx(network, inputs, path, dynamic=False):
    """Writes the network's body.

    Each tensor is of the type it has here (TensorRT's "strongly typed"), so that a half network
    stays half and its float32 parts stay float32.

    Args:
        network: in evaluation mode; see `models.halved`.
        inputs: {name: an example of the batch that is fixed}, in the order of the body.
        path: of the file.
        dynamic: any batch from 1 to 256 instead; the example wants 2 or more then.
    """
    batch = torch.export.Dim("batch", min=1, max=256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations inside torch itself
        logging.disable(logging.WARNING)  # it tells what it leaves to be folded by who runs it
        try:
            program = torch.onnx.export(
                Body(network), tuple(inputs.values()), dynamo=True, opset_version=OPSET,
                verbose=False, input_names=list(inputs), output_names=["out"],
                dynamic_shapes=(tuple({0: batch} for _ in inputs),) if dynamic else None,
            )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]  # lines and paths of the program that exported
    import onnx

    onnx.save(model, path)
