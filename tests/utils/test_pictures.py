import numpy as np
import pytest
from PIL import Image

from utils import pictures
from utils.progress import clock


def test_a_grid_holds_every_image_in_reading_order():
    x = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 3, 1), np.uint8)
    sheet = pictures.grid(x, columns=2, gap=1)
    assert sheet.shape == (3 * 5 + 1, 2 * 4 + 1, 1)
    for i in range(5):
        top, left = 1 + i // 2 * 5, 1 + i % 2 * 4
        assert (sheet[top : top + 4, left : left + 3] == i).all()


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize("side", [8, 32])
def test_a_saved_grid_is_large_enough_to_be_read(tmp_path, channels, mode, side):
    x = np.random.default_rng(0).integers(0, 256, (10, side, side, channels)).astype(np.uint8)
    pictures.save_grid(tmp_path / "a" / "g.png", x, columns=10)
    image = Image.open(tmp_path / "a" / "g.png")
    assert image.mode == mode and 500 <= image.width <= 900


def test_large_images_are_enlarged_by_whole_pixels(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 1)).astype(np.uint8)
    pictures.save_grid(tmp_path / "g.png", x)
    shown = np.asarray(Image.open(tmp_path / "g.png"))[2:-2, 2:-2]
    np.testing.assert_array_equal(shown[::40, ::40], x[0, ..., 0])


@pytest.mark.parametrize(
    "seconds, shown", [(5, "0:05"), (754, "12:34"), (11045, "3:04:05"), (59.7, "1:00")]
)
def test_a_clock_is_read_at_a_glance(seconds, shown):
    assert clock(seconds) == shown
