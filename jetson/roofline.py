"""What a step of an export costs at least: bytes that have to move, and operations.

    bytes = parameters read once, and the output written and read
    FLOP  = 2 a parameter and token, and 4 T^2 D a layer for attention

Of parameters those of the body alone: the noise level's way is a table (jetson/models), and of an
embedding as many rows are read as there are tokens. No device reaches it; it is what a number of
tokens a second is held against. Networks of convolutions and bilateral ones are not counted here.
"""

import json
import math
import struct
from typing import NamedTuple


class Work(NamedTuple):
    """Of one call of the network."""

    parameters: int  # that are read once, whatever the batch
    bytes: float  # of them
    each: float  # bytes of an example
    flop: float  # of an example

    def seconds(self, gigabytes, teraflops, batch=1):
        """At least, at so many GB/s and TFLOP/s."""
        moved, done = self.bytes + batch * self.each, batch * self.flop
        return max(moved / (gigabytes * 1e9), done / (teraflops * 1e12))


def work(package, precision="fp16"):
    """Work of a package.Package; None of a network that is not counted."""
    fields, shape = package.config["network"], package.config["shape"]
    if fields["name"] not in ("dit", "transformer", "candidates"):
        return None
    text, width = fields["name"] != "dit", fields["hidden_size"]
    tokens = shape[0] if text else math.prod(shape[:2]) // fields["patch_size"] ** 2
    read = sum(math.prod(dims) for name, dims in shapes(package) if in_body(name))
    read += fields["features"] * width if text and fields.get("tied") else 0
    out = shape[0] * fields["features"] if text else math.prod(shape)
    slots = package.config.get("process", {}).get("candidates", 1)
    embedded = tokens * slots * width if text else 0
    size = {"fp32": 4, "fp16": 2, "int8": 1}[precision]
    flop = 2 * read * tokens + 4 * tokens**2 * width * fields["depth"]
    return Work(read, size * read, size * (embedded + 2 * out), flop)


def in_body(name):
    """Whether a parameter is read at each step: neither the condition's, nor an embedding."""
    parts = name.split("/")
    return (
        not {"condition", "modulation", "out_modulation"} & set(parts) and parts[-1] != "embedding"
    )


def shapes(package):
    """[(name, dimensions)] from the head of params.safetensors, which is JSON."""
    with open(package.folder / "params.safetensors", "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(length))
    return [(name, info["shape"]) for name, info in head.items() if name != "__metadata__"]
