"""LeNet against the same layers in torch and the same pixels of Pillow; with its published weights
it is as right as they are said to be."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from data import images
from models import lenet

# a folder with weights/*.pth, whose sha256 begins with 7b3591ba, and mnist/*-ubyte.gz
DATA = os.environ.get("TANDEM_DATA")
X = np.random.default_rng(1).integers(0, 256, (3, 28, 28, 1), np.uint8)


@pytest.fixture(scope="module")
def named():
    rng = np.random.default_rng(0)
    draw = lambda shape: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return {name: draw(shape).astype(np.float32) for name, shape in lenet.shapes().items()}


def pillows(x):
    """u8[B, 32, 32, 1], as the network was trained on."""
    resized = lambda image: Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)
    return np.stack([np.asarray(resized(image[..., 0])) for image in x])[..., None]


def in_torch(named, x):
    """(features, logits): convolution, ReLU, pool; twice; then 5x5 to 1x1, and two layers."""
    torch = pytest.importorskip("torch", reason="the network held against is made of its layers")
    w = {name: torch.from_numpy(a) for name, a in named.items()}
    f, of = torch.nn.functional, lambda name: (w[f"{name}.weight"], w[f"{name}.bias"])
    h = torch.from_numpy(pillows(x).transpose(0, 3, 1, 2).copy()).float() / 255
    h = f.max_pool2d(f.relu(f.conv2d(h, *of("convnet.c1"))), 2)
    h = f.max_pool2d(f.relu(f.conv2d(h, *of("convnet.c3"))), 2)
    h = f.relu(f.conv2d(h, *of("convnet.c5"))).flatten(1)
    h = f.relu(f.linear(h, *of("fc.f6")))
    return h.numpy(), f.linear(h, *of("fc.f7")).numpy()


def test_pixels_are_those_of_pillow():
    np.testing.assert_array_equal(jax.jit(lenet.resize)(X), pillows(X))


def test_features_and_logits_are_those_of_the_same_layers_in_torch(named):
    seen = jax.jit(lenet.apply)(lenet.convert(named), X)
    assert seen.features.shape == (3, 84) and seen.logits.shape == (3, 10)
    for ours, theirs in zip(seen, in_torch(named, X), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_other_images_and_other_weights_are_refused(named):
    with pytest.raises(ValueError, match=r"wants MNIST's u8\[B, 28, 28, 1\]; got uint8\[1, 32, 32"):
        lenet.apply({}, np.zeros((1, 32, 32, 1), np.uint8))
    with pytest.raises(ValueError, match=r"of LeNet for MNIST: fc.f7.bias missing$"):
        lenet.convert({name: a for name, a in named.items() if name != "fc.f7.bias"})


@pytest.mark.skipif(not DATA, reason="TANDEM_DATA names no folder with LeNet's weights and MNIST")
def test_the_published_weights_are_right_as_often_as_they_are_said_to_be():
    from utils import recipe_features

    found = recipe_features.load(next(Path(DATA, "weights").glob("*lenet*.pth")))
    assert found.name == "lenet-mnist@7b3591ba"
    test = images.load("mnist", DATA)["test"]
    guesses = np.concatenate(
        [np.asarray(found.apply(x).logits).argmax(-1) for x in np.split(test.x, 10)]
    )
    assert (guesses == test.label).mean() == pytest.approx(0.9907, abs=2e-4)
