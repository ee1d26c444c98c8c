"""Each way of resizing against the code that it is named after, below, at and above 299 pixels."""

import jax
import numpy as np
import pytest
from PIL import Image

from data import resize
from data.resize import MODES, SIDE

SIZES = [(8, 8), (28, 28), (32, 32), (64, 64), (256, 256), (299, 299), (512, 512), (26, 341)]
ROUNDING = 1e-4  # of 255: a few ulps of float32, which has 1.5e-5 there


def noise(height, width, channels=3, number=2):
    return np.random.default_rng(0).integers(0, 256, (number, height, width, channels), np.uint8)


def ours(x, mode):
    out = np.asarray(resize.resize(x, mode))
    assert out.shape == (len(x), SIDE, SIDE, 3) and out.dtype == np.float32
    return out


def in_torch(function, x):
    torch = pytest.importorskip("torch", reason="the resize held against runs in it")
    planes = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).float()
    return function(planes).numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tf1_is_tensorflow_as_torch_fidelity_has_it(size):
    pytest.importorskip("torch_fidelity", reason="the resize held against is its")
    from torch_fidelity import interpolate_compat_tensorflow as tensorflow

    resized = lambda x: tensorflow.interpolate_bilinear_2d_like_tensorflow1x(
        x, size=(SIDE, SIDE), align_corners=False
    )
    x = noise(*size)
    np.testing.assert_allclose(ours(x, "tf1"), in_torch(resized, x), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pytorch_is_its_bilinear_interpolation(size):
    def resized(x):
        from torch.nn.functional import interpolate

        return interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False)

    x = noise(*size)
    np.testing.assert_allclose(ours(x, "pytorch"), in_torch(resized, x), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_clean_is_pillows_bicubic_of_each_channel_in_float(size):
    def resized(plane):
        image = Image.fromarray(plane.astype(np.float32), mode="F")
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))

    x = noise(*size)
    theirs = np.stack([np.stack([resized(image[..., c]) for c in range(3)], -1) for image in x])
    theirs = theirs.clip(0, 255)  # clean-fid does, Pillow does not
    np.testing.assert_allclose(ours(x, "clean"), theirs, rtol=0, atol=ROUNDING)


def test_clean_is_clean_fids():
    pytest.importorskip("cleanfid", reason="the resize held against is its")
    from cleanfid.resize import build_resizer

    x, theirs = noise(64, 400), build_resizer("clean")
    wanted = np.stack([theirs(image) for image in x])
    np.testing.assert_allclose(ours(x, "clean"), wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("size", [(32, 32), (512, 300)], ids=str)
def test_bicubic_is_torchs_antialiased_which_overshoots(size):
    def resized(x):
        from torch.nn.functional import interpolate

        return interpolate(x, size=(224, 224), mode="bicubic", antialias=True)

    x = noise(*size)
    got = np.asarray(resize.bicubic(x, 224))
    # torch finds places in float32
    np.testing.assert_allclose(got, in_torch(resized, x), rtol=0, atol=1e-2)
    assert max(size) > 224 or got.min() < 0 < 255 < got.max()


@pytest.mark.parametrize("mode", MODES)
def test_a_place_is_where_the_mode_says(mode):
    """Of a ramp whose pixel k has grey 10 k, place 140 of 299 in 23 pixels (13 places each)."""
    ramp = np.broadcast_to(10 * np.arange(23, dtype=np.uint8)[None, :, None], (1, 23, 23, 1))
    start, centre = 140 / 13, 140.5 / 13 - 0.5
    wanted = {"tf1": 10 * start, "pytorch": 10 * centre, "clean": 10 * centre}[mode]
    np.testing.assert_allclose(ours(ramp, mode)[0, 140, 140], wanted, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_one_colour_stays_and_299_pixels_stay(mode):
    flat = np.full((1, 40, 500, 3), [3, 200, 255], np.uint8)
    np.testing.assert_allclose(ours(flat, mode), [[[[3, 200, 255]] * SIDE] * SIDE], atol=ROUNDING)
    x = noise(SIDE, SIDE)
    assert (ours(x, mode) == x).all()


@pytest.mark.parametrize("mode", MODES)
def test_grey_becomes_three_equal_channels(mode):
    grey = noise(28, 28, 1)
    np.testing.assert_array_equal(ours(grey, mode), ours(np.repeat(grey, 3, -1), mode))


def test_height_and_width_are_not_mixed_up():
    x = noise(20, 50)
    turned = ours(x.swapaxes(1, 2), "clean").swapaxes(1, 2)
    np.testing.assert_allclose(ours(x, "clean"), turned, atol=ROUNDING)
    np.testing.assert_array_equal(ours(x[:1], "tf1")[0], ours(x, "tf1")[0])


def test_clean_is_clipped_where_the_cubic_overshoots_and_not_rounded():
    edge = np.full((1, 32, 32, 1), 10, np.uint8)
    edge[:, :, 16:] = 250
    out = ours(edge, "clean")
    assert out.min() == 0 and out.max() == 255
    assert (out != np.round(out)).any()


def test_it_may_be_compiled():
    x = noise(32, 32)
    compiled = jax.jit(resize.resize, static_argnums=1)(x, "tf1")
    np.testing.assert_allclose(compiled, ours(x, "tf1"), rtol=0, atol=ROUNDING)


def test_other_modes_and_other_images_are_refused():
    x = noise(8, 8)
    with pytest.raises(ValueError, match="no resize mode 'bicubic'; there are tf1, pytorch, clean"):
        resize.resize(x, "bicubic")
    for wrong in (x[0], x[..., :2], x.astype(np.float32)):
        with pytest.raises(ValueError, match=r"want uint8\[B, H, W, 1 or 3\]; got "):
            resize.resize(wrong, "tf1")
