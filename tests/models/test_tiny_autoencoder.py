"""Tiny autoencoders from the names of their files, held against the same chains in torch."""

import os
from pathlib import Path

import numpy as np
import pytest

from utils import recipe_vae, weights

torch = pytest.importorskip("torch", reason="the networks held against are torch's")

pytestmark = pytest.mark.usefixtures("one_thread")
# a folder with weights/taef2_encoder.pth and taef2_decoder.pth (github.com/madebyollin/taesd) and
# cifar10/test-5k.parquet
DATA = os.environ.get("TANDEM_DATA")


def conv(before, after, side=3, **kwargs):
    return torch.nn.Conv2d(before, after, side, padding=side // 2, **kwargs)


class Block(torch.nn.Module):
    def __init__(self, n, pooled=False):
        super().__init__()
        relu, plain = torch.nn.ReLU(), dict(bias=False)
        self.conv = torch.nn.Sequential(conv(n, n), relu, conv(n, n), relu, conv(n, n))
        wide = [conv(n, 4 * n, 1, **plain), torch.nn.GroupNorm(4, 4 * n), relu]
        self.pool = torch.nn.Sequential(*wide, conv(4 * n, n, 1, **plain)) if pooled else None

    def forward(self, x):
        x = x if self.pool is None else x + self.pool(x)
        return torch.relu(x + self.conv(x))


class Soft(torch.nn.Module):
    def forward(self, z):
        return 3 * torch.tanh(z / 3)


def half(n):
    return conv(n, n, stride=2, bias=False)


def double(before, after):
    return torch.nn.Upsample(scale_factor=2), conv(before, after, bias=False)


def taesd(c, pooled=False, n=64):
    """TAESD (pooled: TAEF2), as github.com/madebyollin/taesd describes it."""
    three = lambda pooled=False: [Block(n, pooled) for _ in range(3)]
    down = [conv(3, n), Block(n), half(n), *three(), half(n), *three(), half(n), *three(pooled)]
    up = [Soft(), conv(c, n), torch.nn.ReLU(), *three(pooled), *double(n, n), *three()]
    up += [*double(n, n), *three(), *double(n, n), Block(n), conv(n, 3)]
    return torch.nn.Sequential(*down, conv(n, c)), torch.nn.Sequential(*up)


def taesana(c, n=4):
    """TAESANA: two halvings more, and wider at the bottom."""
    relu, three = torch.nn.ReLU(), lambda n: [Block(n) for _ in range(3)]
    down = [conv(3, n, stride=2), relu, conv(n, 2 * n, stride=2), relu, Block(2 * n)]
    for _ in range(3):
        down += [half(2 * n), *three(2 * n)]
    up, width = [Soft(), conv(c, 8 * n), relu], 8 * n
    for after in (4 * n, 2 * n, 2 * n, 2 * n, 2 * n):
        up += [*three(width), *double(width, after)]
        width = after
    up += [Block(width), conv(width, 3)]
    return torch.nn.Sequential(*down, conv(2 * n, c)), torch.nn.Sequential(*up)


def saved(pair, folder):
    """The two files of a pair whose norms and biases are not where they start."""
    for name, network in zip(("encoder", "decoder"), pair, strict=True):
        torch.manual_seed(0)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(0.1 * torch.randn(p.shape) * (p.ndim == 1))
        torch.save(network.state_dict(), folder / f"toy_{name}.pth")
    return folder / "toy_encoder.pth"


def assert_same(vae, pair, x, within=1e-4):
    encoder, decoder = pair
    channels_first = lambda a: torch.from_numpy(np.moveaxis(np.asarray(a), -1, 1).copy())
    with torch.no_grad():
        z = encoder((channels_first(x) + 1) / 2).movedim(1, -1).numpy()
        ours = vae.encode(x)
        assert ours.shape == z.shape and np.abs(ours - z).max() <= within * np.abs(z).max()
        back = (2 * decoder(channels_first(z)) - 1).movedim(1, -1).numpy()
    assert np.abs(vae.decode(z) - back).max() <= within * np.abs(back).max()


@pytest.mark.parametrize(
    "pair, name",
    [
        (taesd(4, n=4), "tiny-f8c4"),
        (taesd(32, pooled=True, n=4), "tiny-f8c32"),
        (taesana(32), "tiny-f32c32"),
    ],
    ids=["TAESD", "TAEF2", "TAESANA"],
)
def test_each_kind_is_told_by_its_names_and_is_what_it_is_in_torch(pair, name, tmp_path):
    vae = recipe_vae.load(saved(pair, tmp_path))
    assert vae.name.split("@")[0] == name
    assert_same(vae, pair, np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("f4"))


def test_a_chain_of_another_kind_is_refused(tmp_path):
    encoder, decoder = taesd(4, n=4)
    decoder[3].skip = torch.nn.Conv2d(4, 4, 1)
    with pytest.raises(ValueError, match=r"toy_encoder.pth: decoder.3.skip.weight unknown"):
        recipe_vae.load(saved((encoder, decoder), tmp_path))


@pytest.mark.skipif(not DATA, reason="TANDEM_DATA names no folder with taef2_encoder.pth")
def test_taef2_gives_real_images_back():
    from PIL import Image

    from data import images

    path = Path(DATA, "weights", "taef2_encoder.pth")
    pair = taesd(32, pooled=True)
    for network, name in zip(pair, ("encoder", "decoder"), strict=True):
        named = weights.read(path.with_name(f"taef2_{name}.pth"))
        network.load_state_dict({k: torch.from_numpy(a).float() for k, a in named.items()})
    vae = recipe_vae.load(path)
    assert vae.name == "tiny-f8c32@f8805087"
    real = images.load(f"parquet:{DATA}/cifar10/test-5k.parquet")["train"].x[:16]
    for side, least in ((32, 23.0), (64, 30.0)):
        resized = [np.asarray(Image.fromarray(x).resize((side, side), 3)) for x in real]  # bicubic
        x = np.stack(resized).astype(np.float32) / 127.5 - 1
        assert_same(vae, pair, x)
        error = np.square(np.clip(vae.decode(vae.encode(x)), -1, 1) - x).mean((1, 2, 3))
        psnr = float(np.mean(10 * np.log10(4 / error)))
        print(f"TAEF2: {psnr:.1f} dB on CIFAR-10 at {side} pixels")
        assert psnr > least
