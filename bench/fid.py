"""Scoring by FID beside others: the distance, and the features that it is of.

    python -m bench.fid                 about six minutes on one core
    python -m bench.fid --threads 2     --rounds 3, --out FOLDER
    python -m bench.fid --tiny          seconds: 64 features, one image

The distance is of two Gaussians, in float64; others take a general root of S_1 S_2 by scipy, or
its eigenvalues by a solver for matrices without symmetry, as torch-fidelity does. utils.fid keeps
to one thread whatever it is given. The network is pytorch-fid's with random weights, float32, fed
the same images; NHWC ("channels last") and frozen TorchScript are what PyTorch has to make it
faster. Column "difference" is between the first row's answer and another's.
"""

from functools import partial

from bench import harness, peers
from bench.harness import Contest, Contestant


def contests(tiny: bool) -> list[Contest]:
    width, batches = (64, [1]) if tiny else (2048, [8, 32])
    distance = [
        Contestant("utils.fid, the reference's factor kept", partial(ours, width, kept=True)),
        Contestant("utils.fid, both new", partial(ours, width, kept=False)),
        Contestant("scipy.linalg.sqrtm, as pytorch-fid", partial(sqrtm, width)),
        Contestant("numpy.linalg.eigvals, as torch-fidelity", partial(eigvals, width)),
    ]
    return [Contest(f"Frechet distance, {width} features", distance, "distance")] + [
        Contest(
            f"Inception features, batches of {batch}",
            [
                Contestant("models.inception", partial(network, batch)),
                Contestant("pytorch-fid", partial(their_network, batch)),
                Contestant("pytorch-fid, channels last", partial(channels_last, batch)),
                Contestant("pytorch-fid, frozen TorchScript", partial(frozen, batch)),
            ],
            "image",
            batch,
        )
        for batch in batches
    ]


# -- distances


def gaussians(width: int):
    """Means and covariances (mu_1, S_1, mu_2, S_2) of features as behind a relu, whose spectrum
    falls by a power."""
    import numpy as np

    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0]
    scale = np.arange(1, width + 1) ** -0.6
    drawn = lambda size: rng.standard_normal((3 * width, width)) * scale @ turn * size
    sets = [np.maximum(drawn(size) + 0.02, 0) for size in (1.0, 1.2)]
    return [part for x in sets for part in (x.mean(0), np.cov(x.T))]


def ours(width: int, kept: bool):
    from utils import fid

    mu_1, s_1, mu_2, s_2 = gaussians(width)
    reference = fid.Gaussian(mu_1, s_1)
    new = lambda: reference if kept else fid.Gaussian(mu_1, s_1)
    return lambda: fid.frechet(new(), fid.Gaussian(mu_2, s_2))


def by_root_of_product(width: int, trace_root):
    """The distance; trace_root: S_1 S_2 -> the trace of its root."""
    import numpy as np

    mu_1, s_1, mu_2, s_2 = gaussians(width)
    gap = mu_1 - mu_2
    return lambda: float(gap @ gap + np.trace(s_1) + np.trace(s_2) - 2 * trace_root(s_1 @ s_2))


def sqrtm(width: int):
    import scipy.linalg

    return by_root_of_product(width, lambda product: scipy.linalg.sqrtm(product).real.trace())


def eigvals(width: int):
    import numpy as np

    root = lambda product: np.sqrt(np.linalg.eigvals(product).astype(complex)).real.sum()
    return by_root_of_product(width, root)


# -- features; what a run finds is their mean square


def images(batch: int):
    """f32[B, 299, 299, 3] in 0..255: noise over gradients."""
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 128, (batch, 299, 299, 3))
    return (noise + np.linspace(0, 127, 299)[:, None, None]).astype(np.float32)


def weights():
    from models import inception

    return peers.random_weights(inception.shapes())


def network(batch: int):
    import jax
    import numpy as np

    from models import inception
    from utils import recipe_features

    params, x = inception.convert(weights()), images(batch)
    apply = recipe_features.jitted(inception.apply)

    def run():
        pool3 = np.asarray(jax.block_until_ready(apply(params, x)).pool3)
        return float((pool3**2).mean())

    return run


def torch_run(call, x):
    """call: f32[B, 3, 299, 299] in [-1, 1] -> [f32[B, 2048, 1, 1]]."""
    import torch

    @torch.inference_mode()
    def run():
        return float((call((x - 128) / 128)[0] ** 2).mean())

    return run


def torch_images(batch: int):
    import torch

    return torch.from_numpy(images(batch)).permute(0, 3, 1, 2)


def their_network(batch: int):
    return torch_run(peers.pytorch_fid(weights()), torch_images(batch).contiguous())


def channels_last(batch: int):
    import torch

    network = peers.pytorch_fid(weights()).to(memory_format=torch.channels_last)
    return torch_run(network, torch_images(batch))  # NHWC already


def frozen(batch: int):
    import torch

    network, x = peers.pytorch_fid(weights()), torch_images(batch).contiguous()
    with torch.no_grad():
        traced = torch.jit.freeze(torch.jit.trace(network, x, strict=False))
        run = torch_run(torch.jit.optimize_for_inference(traced), x)
    run()  # it is rewritten once more by its first run
    return run


if __name__ == "__main__":
    harness.command("fid", __doc__, contests)
