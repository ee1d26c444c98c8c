"""Random weights in our Inception, in pytorch-fid's and in torch-fidelity's: the same features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench import peers
from models import inception
from utils import recipe_features

# in whole grey levels, which torch-fidelity wants: noise, and waves with a little of it
NOISE = np.random.default_rng(1).integers(0, 256, (2, 299, 299, 3), np.uint8)
WAVES = np.sin(np.arange(299)[:, None, None] / [9, 5, 20] + np.arange(299)[:, None] / 30) + 1
X = np.stack([NOISE[0], 100 * WAVES + NOISE[1] // 8]).astype(np.uint8)


@pytest.fixture(scope="module")
def named():
    """A weights file's arrays."""
    return peers.random_weights(inception.shapes())


@pytest.fixture(scope="module")
def ours(named):
    params = inception.convert(named)
    return jax.tree.map(
        np.asarray, recipe_features.jitted(inception.apply)(params, X.astype(np.float32))
    )


@pytest.fixture(scope="module")
def weights(named):
    torch = pytest.importorskip("torch", reason="the networks held against are torch's")
    return {name: torch.from_numpy(a) for name, a in named.items()}


def heard(module, run):
    """(What `run` gives, what `module` put out meanwhile), as arrays."""
    import torch

    said = []
    hook = module.register_forward_hook(lambda module, inputs, output: said.append(output))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # they wait for each other, which takes minutes on a busy machine
    try:
        with torch.no_grad():
            out = run(torch.from_numpy(X.transpose(0, 3, 1, 2).copy()))
    finally:
        hook.remove()
        torch.set_num_threads(threads)
    return [a.numpy() for a in out], said[0].numpy()


@pytest.fixture(scope="module")
def of_pytorch_fid(named):
    for package in ("torch", "pytorch_fid"):
        pytest.importorskip(package, reason="the network held against is its")
    network = peers.pytorch_fid(named)
    mixed_6d = network.blocks[2][6]
    return heard(mixed_6d.branch1x1, lambda x: network((x.float() - 128) / 128))


@pytest.fixture(scope="module")
def of_torch_fidelity(weights, tmp_path_factory):
    pytest.importorskip("torch_fidelity", reason="the network held against is its")
    import torch
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(weights, path)
    network = theirs.FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
    )
    path.unlink()
    return heard(network.Mixed_6d.branch1x1, network)


def close(a, b):
    """To 1e-5 of the largest, and to 3e-4 of how far images differ, which is what scores see."""
    assert a.shape == b.shape
    error = np.abs(a - b).max()
    assert error < 1e-5 * np.abs(b).max()
    assert error < 3e-4 * np.abs(b[0] - b[1]).mean()


def test_pool3_is_that_of_pytorch_fid(ours, of_pytorch_fid):
    (pool3,), _ = of_pytorch_fid
    assert ours.pool3.shape == (2, 2048)
    close(ours.pool3, pool3[..., 0, 0])


def test_pool3_and_logits_are_those_of_torch_fidelity(ours, of_torch_fidelity):
    (pool3, logits), _ = of_torch_fidelity
    assert ours.logits.shape == (2, 1008)
    close(ours.pool3, pool3)
    close(ours.logits, logits)


@pytest.mark.parametrize("network", ["of_pytorch_fid", "of_torch_fidelity"])
def test_spatial_features_are_seven_channels_of_mixed_6_conv(ours, network, request):
    _, conv = request.getfixturevalue(network)
    assert ours.spatial.shape == (2, 2023)
    close(ours.spatial, conv[:, :7].transpose(0, 2, 3, 1).reshape(2, -1))  # H, W, C


def test_spatial_features_go_height_width_channel():
    x = np.arange(2 * 17 * 17 * 9).reshape(2, 17, 17, 9)
    got = inception.spatial_features(x)
    assert got.shape == (2, 2023)
    assert got[1, (3 * 17 + 5) * 7 + 6] == x[1, 3, 5, 6] and got[0, 7] == x[0, 0, 1, 0]


def test_one_image_has_the_features_it_has_among_others(named, ours):
    alone = recipe_features.jitted(inception.apply)(
        inception.convert(named), X[1:].astype(np.float32)
    )
    for a, b in zip(alone, ours, strict=True):
        np.testing.assert_allclose(a[0], b[1], rtol=1e-4, atol=1e-5)


def test_the_path_of_accelerators_gives_what_that_of_cpus_gives(named, ours):
    """It is plain XLA, so a CPU can run it too: the module by itself."""
    whole = jax.jit(inception.Inception().apply)
    out = whole({"params": inception.convert(named)}, X.astype(np.float32))
    for a, b in zip(out, ours, strict=True):
        close(np.asarray(a), b)


def test_the_last_block_pools_by_maximum_and_the_one_before_by_mean():
    """Each branch_pool made to copy its pool, of an input with one bright corner."""
    x = jnp.zeros((1, 8, 8, 16)).at[:, 0, 0].set(36.0)
    for name, corner in {"Mixed_7b": 36.0 / 4, "Mixed_7c": 36.0}.items():  # 4 places, not 9
        block = inception.Block(inception.BLOCKS[name])
        shapes = jax.eval_shape(block.init, jax.random.key(0), x)["params"]
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
        ones = params["heads" if name == "Mixed_7b" else "branch_pool"]
        ones["kernel"] = jnp.full_like(ones["kernel"], 1 / 16)
        pooled = block.apply({"params": params}, x)[0, ..., -192:]
        np.testing.assert_allclose(pooled[0, 0], corner, rtol=1e-6)
        np.testing.assert_allclose(pooled[4, 4], 0.0)


def test_names_and_shapes_are_those_of_the_published_file():
    """94 convolutions with four arrays of a norm each, and the classes."""
    shapes = inception.shapes()
    assert len(shapes) == 94 * 5 + 2
    assert sum(int(np.prod(s)) for s in shapes.values()) == 23_885_392
    assert shapes["Mixed_6d.branch7x7dbl_4.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7b.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)


def test_arrays_that_are_missing_unknown_or_misshapen_are_named(named):
    def refused(match, changed):
        with pytest.raises(ValueError, match=match):
            inception.convert(changed)

    without = {k: a for k, a in named.items() if k != "Mixed_7c.branch_pool.bn.bias"}
    refused(r"Inception: Mixed_7c.branch_pool.bn.bias missing$", without)
    refused("AuxLogits.fc.weight unknown$", named | {"AuxLogits.fc.weight": np.zeros(3)})
    torchvision = {"fc.weight": np.zeros((1000, 2048)), "fc.bias": np.zeros(1000)}
    refused(
        r"fc.weight \(1000, 2048\) instead of \(1008, 2048\), "
        r"fc.bias \(1000,\) instead of \(1008,\)$",
        named | torchvision,
    )
    refused(r"Conv2d_1a_3x3.conv.weight missing, .* and 467 more$", {})


def test_counts_of_batches_that_torch_keeps_are_passed_over(named):
    inception.convert(named | {"Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros((), np.int64)})


def test_images_of_another_side_or_kind_are_refused(named):
    with pytest.raises(
        ValueError, match=r"want f32\[B, 299, 299, 3\] .* got float32\[1, 32, 32, 3\]"
    ):
        inception.apply({}, jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match=r"got uint8\[2, 299, 299, 3\]"):
        inception.apply({}, X)
