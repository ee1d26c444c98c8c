"""A training step on images beside others': time, and memory.

    python -m bench.train_image                    about eight minutes on one core
    python -m bench.train_image --peer-path PATH   also a checkout of jax-flow or of DiT; repeatable
    python -m bench.train_image --tiny             seconds; --threads 2, --rounds 3, --out FOLDER

A step is all of it, from bytes to averaged weights, in float32: noise, loss, gradient, clipping,
AdamW, average; ours as train_flow.py runs it. "mirror" is our network name by name in PyTorch
(jetson/models), with attention as torch's one operator; PyTorch's convolutions go channels last.
Column "difference" is in the number of parameters, which is in the title. The last contest holds
that a network twice as deep costs at most 2.4 times as much.
"""

from functools import partial

from bench import checkout, harness, own_step, peers_image
from bench.harness import Contest, Contestant

CIFAR, MNIST = (32, 32, 3), (28, 28, 1)
DIT = dict(hidden_size=256, num_heads=4, patch_size=2)
UNETS = {  # preset: (title, shape, batch, fields of denoising-diffusion-pytorch's)
    "mnist": ("UNet of 1.54 M, 28x28x1", MNIST, 16, dict(dim=24, dim_mults=(1, 2, 4))),
    "cifar": ("UNet of 35.7 M, 32x32x3", CIFAR, 2, dict(dim=144, dim_mults=(1, 2, 2, 2))),
    "debug": ("UNet of 0.16 M, 8x8x1", (8, 8, 1), 2, dict(dim=8, dim_mults=(1, 2))),
}
TWICE = 2.4  # how much longer a step may take in a network of twice the depth


def contests(tiny: bool, peer_path=()) -> list[Contest]:
    checkouts = checkout.recognise(peer_path, ["jax-flow", "DiT"])
    if tiny:
        small = DIT | {"hidden_size": 32}
        return [dit(2, 2, (8, 8, 3), small, checkouts, compiled=False), unet("debug")]
    return [
        dit(6, 8, CIFAR, DIT, checkouts),
        dit(6, 16, CIFAR, DIT, checkouts),
        dit(12, 8, CIFAR, DIT, checkouts),
        unet("mnist"),
        unet("cifar"),
        twice_as_deep(6, 8),
    ]


def dit(depth, batch, shape, size, checkouts, compiled=True) -> Contest:
    """Of the same network; the arguments are those that `own` and the peers take."""
    fields = size | {"depth": depth}
    work = (shape, batch, fields, 10)
    theirs = [
        Contestant("mirror, torch eager", partial(peers_image.mirror, "dit", *work)),
        Contestant("diffusers DiTTransformer2DModel", partial(peers_image.diffusers_dit, *work)),
        Contestant("DiT", partial(peers_image.facebook_dit, checkouts.get("DiT"), *work)),
        Contestant("jax-flow", partial(peers_image.jax_flow, checkouts.get("jax-flow"), *work)),
    ]
    if compiled:
        build = partial(peers_image.mirror, "dit", *work, compiled=True)
        theirs.insert(1, Contestant("mirror, torch.compile", build))
    title = f"DiT of width {fields['hidden_size']}, depth {depth}, {named(shape)}, batch {batch}"
    return Contest(title, [own("this project", "dit", *work), *theirs], "image", batch)


def unet(preset: str) -> Contest:
    from models import unet as unets

    title, shape, batch, lucidrains = UNETS[preset]
    fields = {"groups": 32} | unets.PRESETS[preset]
    fields.pop("dropout", None)
    work = (shape, batch, fields)
    theirs = [
        Contestant("mirror, torch eager", partial(peers_image.mirror, "unet", *work)),
        Contestant("diffusers UNet2DModel", partial(peers_image.diffusers_unet, *work)),
        Contestant(
            "denoising-diffusion-pytorch",
            partial(peers_image.lucidrains_unet, shape, batch, lucidrains),
        ),
    ]
    rows = [own("this project", "unet", shape, batch, {"preset": preset}), *theirs]
    return Contest(f"{title}, batch {batch}", rows, "image", batch)


def twice_as_deep(depth: int, batch: int) -> Contest:
    rows = [
        own(f"depth {d}", "dit", CIFAR, batch, DIT | {"depth": d}, 10) for d in (depth, 2 * depth)
    ]
    title = f"DiT of width {DIT['hidden_size']}, depth {depth} and {2 * depth}, batch {batch}"
    return Contest(title, rows, "image", batch, at_most=TWICE)


def own(name, network, shape, batch, fields, classes=0) -> Contestant:
    """fields: of a DiT; of a UNet "preset", and dropout is off as it is in the others."""
    knobs = dict(name=network, preset=None, mlp_ratio=4.0, dropout=0.0) | fields
    knobs = {f"model__{k}": v for k, v in knobs.items()}
    return Contestant(name, partial(own_step.image, shape, batch, classes, **knobs), own_step.ENV)


def named(shape) -> str:
    return "x".join(map(str, shape))


if __name__ == "__main__":
    harness.command("train_image", __doc__, contests, flags=checkout.FLAG)
