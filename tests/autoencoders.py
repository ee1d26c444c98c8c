"""Small autoencoders with random weights, as files that need no torch to be written."""

import json

import jax
import numpy as np

from models import autoencoder, torch_names


def write(path, named):
    """A safetensors file of float32 arrays."""
    header, at = {}, 0
    for name, a in named.items():
        end = at + a.nbytes
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [at, end]}
        at = end
    raw = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = b"".join(np.ascontiguousarray(a).tobytes() for a in named.values())
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + numbers)
    return path


def random(shapes, seed):
    rng = np.random.default_rng(seed)
    fan = lambda shape: np.prod(shape[1:]) if len(shape) > 1 else 100
    return {k: rng.normal(0, fan(s) ** -0.5, s).astype(np.float32) for k, s in shapes.items()}


def kl(folder, seed=0):
    """An AutoencoderKL that halves sides once and has 2 channels; its folder."""
    config = dict(block_out_channels=[8, 8], norm_num_groups=4, latent_channels=2)
    network = autoencoder.from_config(config)
    x = np.zeros((1, 8, 8, 3), np.float32)
    tree = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    named = random(torch_names.shapes(tree), seed)
    named = {k: a + 1 if "norm" in k and k.endswith("weight") else a for k, a in named.items()}
    write(folder / "diffusion_pytorch_model.safetensors", named)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def tiny(path, seed=0):
    """A chain of the TAESD kind that halves sides once and has 2 channels; its file."""
    shapes = {
        "encoder.0.weight": (4, 3, 3, 3), "encoder.0.bias": (4,),
        "encoder.1.weight": (4, 4, 3, 3),
        "encoder.2.weight": (2, 4, 3, 3), "encoder.2.bias": (2,),
        "decoder.1.weight": (4, 2, 3, 3), "decoder.1.bias": (4,),
        "decoder.4.weight": (4, 4, 3, 3),
        "decoder.5.weight": (3, 4, 3, 3), "decoder.5.bias": (3,),
    }  # fmt: skip
    return write(path, random(shapes, seed))
