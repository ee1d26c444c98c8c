"""Parameters of Flax as parameters of torch, and back, by rules that name no network.

    kernel [in, out]            weight [out, in]
    kernel [H, W, in, out]      weight [out, in, H, W]
    embedding, scale            weight, as it is
    all others                  as they are
    blocks/... [depth, ...]     blocks_0. ..., blocks_1. ...    (layers that were scanned)

So a network of jetson/models fits as soon as its parts are called what they are called in Flax.
"""

import re

import numpy as np

STACKED = "blocks"  # what nn.scan keeps the layers of under, each array with one more axis
LEAVES = {"kernel": "weight", "embedding": "weight", "scale": "weight"}


def flat(tree, path=()):
    """{"a/b": array} of a nested dict of arrays."""
    if not isinstance(tree, dict):
        return {"/".join(path): np.asarray(tree)}
    return {k: v for name, branch in tree.items() for k, v in flat(branch, (*path, name)).items()}


def to_torch(params):
    """{"blocks_0.up.weight": array} of {"blocks_0/up/kernel": array}.

    Raises:
        ValueError: a kernel that is no matrix and no convolution.
    """
    out = {}
    for name, array in unstacked(params).items():
        *path, leaf = name.split("/")
        if leaf == "kernel":
            array = turned(name, array)
        out[".".join([*path, LEAVES.get(leaf, leaf)])] = np.ascontiguousarray(array)
    return out


def turned(name, kernel):
    """A kernel as torch has it: the axis of outputs first, then that of inputs."""
    if kernel.ndim == 2:
        return kernel.T
    if kernel.ndim == 4:
        return kernel.transpose(3, 2, 0, 1)
    raise ValueError(f"{name}: wanted a matrix or a 2-D convolution; got an array {kernel.shape}")


def unstacked(params):
    """Scanned layers as layers of their own; the rest as it is."""
    out = {}
    for name, array in params.items():
        top, _, rest = name.partition("/")
        if top == STACKED:
            out.update({f"{STACKED}_{i}/{rest}": layer for i, layer in enumerate(array)})
        else:
            out[name] = array
    return out


def to_flax(network, stacked=False):
    """{"blocks_0/up/kernel": array} of a torch.nn.Module: the inverse of `to_torch`.

    Args:
        network: what a weight is called in Flax depends on the layer that it belongs to.
        stacked: as a scanned network keeps its layers.
    """
    from torch import nn

    kernels = (nn.Linear, nn.Conv2d)
    out = {}
    for path, module in network.named_modules():
        for leaf, value in module.named_parameters(recurse=False):
            array = value.detach().float().cpu().numpy()
            if leaf == "weight":
                leaf = "embedding" if isinstance(module, nn.Embedding) else "scale"
                if isinstance(module, kernels):
                    leaf = "kernel"
                    array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
            out["/".join([*filter(None, path.split(".")), leaf])] = array
    return restacked(out) if stacked else out


def restacked(params):
    """The inverse of `unstacked`."""
    out, layers = {}, {}
    for name, array in params.items():
        top, _, rest = name.partition("/")
        number = re.fullmatch(STACKED + r"_(\d+)", top)
        if number:
            layers.setdefault(rest, {})[int(number[1])] = array
        else:
            out[name] = array
    for rest, parts in layers.items():
        out[f"{STACKED}/{rest}"] = np.stack([parts[i] for i in range(len(parts))])
    return out
