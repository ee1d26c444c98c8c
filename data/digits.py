"""The embedded image default: scikit-learn's 1,797 real handwritten digits, 8x8, no network."""

import numpy as np

HELD_OUT = 360  # a fifth, drawn once by a fixed seed


def load():
    """(train x, train label, test x, test label): u8[N, 8, 8, 1] in 0..255, i32[N]."""
    from sklearn.datasets import load_digits  # 2 s to import, so only where it is used

    bunch = load_digits()
    x = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    label = bunch.target.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[:HELD_OUT], order[HELD_OUT:]
    return x[train], label[train], x[test], label[test]
