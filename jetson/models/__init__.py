"""The networks of models/ in torch, their parts called what they are called in Flax.

Each is cut in two where the noise level enters:

    modulation(t f32[B], label i64[B] or None) -> f32[B, M]     what t and the class say
    body(*x, modulation)                       -> out           the rest

where x is two arrays, ids and probs, of networks of candidates: `inputs` has the names.
A sampler visits few noise levels, so the first half is a table made ahead of time, and what runs on
the device neither sees t nor holds a third of the weights. M is 0 where the level has no effect.
"""

import inspect

import torch

from jetson import convert
from jetson.models import bilateral, dit, transformer, unet

NETWORKS = {
    "dit": dit.DiT, "unet": unet.UNet, "transformer": transformer.Transformer,
    "candidates": bilateral.Candidates, "bilateral": bilateral.Bilateral,
}  # fmt: skip


def create(name, **fields):
    """A network in float32, in evaluation mode.

    Raises:
        ValueError: no such network, a field it does not have or lacks; tells what there is.
    """
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r} in torch; there are {', '.join(NETWORKS)}")
    known = fields_of(name)
    strange = [field for field in fields if field not in known]
    lacking = [k for k, p in known.items() if p.default is p.empty and k not in fields]
    if strange or lacking:
        raise ValueError(
            f"{name} wants {', '.join(known)}; "
            f"got {', '.join(strange) or 'all but ' + ', '.join(lacking)}"
        )
    return NETWORKS[name](**fields).eval()


def fields_of(name):
    """{field: inspect.Parameter} of a network, those that it hands on to its parent included."""
    out = {}
    for part in reversed(NETWORKS[name].__mro__):
        if part.__module__.startswith(__name__) and "__init__" in vars(part):
            out |= inspect.signature(part).parameters
    return {k: p for k, p in out.items() if p.kind is not p.VAR_KEYWORD}


def load(network, params):
    """The network with parameters {"a/b/kernel": array} as Flax has them.

    Raises:
        RuntimeError: torch's, where names or shapes are not the network's.
    """
    state = {name: torch.from_numpy(a.copy()) for name, a in convert.to_torch(params).items()}
    network.load_state_dict(state)
    return network


def fused(network, library):
    """The network with what stands between its matrix products done by kernels, in place.

    library: kernels.Kernels of the device that the network is on.
    """
    for module in network.modules():
        if hasattr(module, "steps"):
            module.steps = library
    return network


def halved(network):
    """The network with its body in float16, in place.

    What makes the modulation stays float32: sines of 1000 t lose all meaning at 11 bits. So do the
    first and the last layer of images, since near the data the noise that is to be found is little
    beside x; and the sum that branches are added to, which is rounded at each of them otherwise.
    """
    exact = {id(p) for part in network.exact() for p in part.parameters()}
    for p in network.parameters():
        if id(p) not in exact:
            p.data = p.data.half()
    return network
