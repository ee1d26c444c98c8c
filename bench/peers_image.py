"""Training steps of other people's image networks, at a size of ours; each is a `setup`.

A step is bench.torch_step's, flow matching, but where a checkout of jax-flow brings JAX.
"""

from bench import checkout, peers, torch_mirror, torch_step


def mirror(kind: str, shape, batch: int, fields: dict, classes=0, compiled=False):
    """jetson/models' network of that kind, name by name our own, with torch's own attention."""
    import torch

    from jetson import models

    network = torch_mirror.fused(models.create(kind, shape=shape, num_classes=classes, **fields))
    if kind == "unet":
        network = network.to(memory_format=torch.channels_last)
    return torch_step.stepping(network, torch_step.flow(shape, batch, classes), compiled)


def diffusers_dit(shape, batch: int, fields: dict, classes: int, compiled=False):
    """DiTTransformer2DModel; each of its blocks has its own network for the noise level."""
    peers.importable()
    from diffusers import DiTTransformer2DModel

    network = DiTTransformer2DModel(
        num_attention_heads=fields["num_heads"],
        attention_head_dim=fields["hidden_size"] // fields["num_heads"],
        in_channels=shape[2], num_layers=fields["depth"], sample_size=shape[0],
        patch_size=fields["patch_size"], num_embeds_ada_norm=classes,
    )  # fmt: skip
    flow = torch_step.flow(shape, batch, classes, channels_last=False)
    asked = lambda net: lambda x, t, y: net(x, timestep=1000 * t, class_labels=y).sample
    return torch_step.stepping(network.train(), lambda net: flow(asked(net)), compiled)


def diffusers_unet(shape, batch: int, fields: dict):
    """UNet2DModel, laid out as google/ddpm-cifar10-32 is; channels last."""
    peers.importable()
    import torch
    from diffusers import UNet2DModel

    widths = tuple(fields["width"] * m for m in fields["multipliers"])
    attends = [shape[0] // 2**i in fields["attention_sides"] for i in range(len(widths))]
    network = UNet2DModel(
        sample_size=shape[0], in_channels=shape[2], out_channels=shape[2],
        block_out_channels=widths, layers_per_block=fields["num_res_blocks"],
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        attention_head_dim=None, norm_num_groups=fields["groups"], norm_eps=1e-6,
        downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
    )  # fmt: skip
    network = network.train().to(memory_format=torch.channels_last)
    flow = torch_step.flow(shape, batch, channels_last=False)
    asked = lambda net: lambda x, t, _: net(x, 1000 * t).sample
    return torch_step.stepping(network, lambda net: flow(asked(net)))


def lucidrains_unet(shape, batch: int, fields: dict):
    """denoising-diffusion-pytorch's Unet: another network, with linear attention at each level."""
    peers.importable()
    import torch
    from denoising_diffusion_pytorch import Unet

    network = Unet(channels=shape[2], **fields).train().to(memory_format=torch.channels_last)
    flow = torch_step.flow(shape, batch, channels_last=False)
    asked = lambda net: lambda x, t, _: net(x, 1000 * t)
    return torch_step.stepping(network, lambda net: flow(asked(net)))


def facebook_dit(path, shape, batch: int, fields: dict, classes: int):
    """facebookresearch/DiT, from a checkout of it."""
    peers.importable()
    module = checkout.module(path, "models.py")
    network = module.DiT(
        input_size=shape[0], in_channels=shape[2], num_classes=classes, learn_sigma=False, **fields
    )
    flow = torch_step.flow(shape, batch, classes, channels_last=False)
    asked = lambda net: lambda x, t, y: net(x, 1000 * t, y)
    return torch_step.stepping(network.train(), lambda net: flow(asked(net)))


def jax_flow(path, shape, batch: int, fields: dict, classes: int):
    """kvfrans/jax-flow's network, from a checkout of it, in a step that does what its own does:
    Adam, an average of the weights, three norms, and nothing donated. (Its script wants packages
    that are on no index.)"""
    import contextlib
    import io

    import jax
    import jax.numpy as jnp
    import optax

    module = checkout.module(path, "diffusion_transformer.py")
    network = module.DiT(class_dropout_prob=0.1, num_classes=classes, mlp_ratio=4.0, **fields)
    key, adam = jax.random.key(0), optax.adam(1e-4, b1=0.9, b2=0.99)
    x = jax.random.uniform(key, (batch, *shape), minval=-1.0)
    label = jax.random.randint(key, (batch,), 0, classes)

    def loss(params, key):
        key_label, key_t, key_eps = jax.random.split(key, 3)
        t = jax.nn.sigmoid(jax.random.normal(key_t, (batch,)))
        eps = jax.random.normal(key_eps, x.shape)
        s = jnp.clip(t, 0.0, 0.99)[:, None, None, None]
        out = network.apply(
            {"params": params}, (1.0 - s) * eps + s * x, t, label,
            train=True, rngs={"label_dropout": key_label},
        )  # fmt: skip
        return jnp.square(out - (x - eps)).mean()

    @jax.jit
    def step(params, ema, opt, key):
        key, now = jax.random.split(key)
        value, grads = jax.value_and_grad(loss)(params, now)
        updates, opt = adam.update(grads, opt, params)
        params = optax.apply_updates(params, updates)
        ema = jax.tree.map(lambda p, e: 1e-4 * p + 0.9999 * e, params, ema)
        norms = [optax.global_norm(tree) for tree in (grads, updates, params)]
        return (params, ema, opt, key), (value, norms)

    with contextlib.redirect_stdout(io.StringIO()):  # it tells its shapes whenever it is traced
        params = jax.jit(network.init)(
            {"params": key, "label_dropout": key}, x, jnp.ones(batch), label
        )["params"]
    state = (params, params, adam.init(params), key)
    size = float(sum(p.size for p in jax.tree.leaves(params)))

    def run():
        nonlocal state
        with contextlib.redirect_stdout(io.StringIO()):
            state, told = step(*state)
        jax.block_until_ready((state, told))
        return size

    return run
