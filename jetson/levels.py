"""What a noise level says to the network, in NumPy, where it may be any and no table can hold it.

Where places have clocks of their own (clocks.py) the network is told their mean, which hardly two
samples share. The way to the modulation is a chain of layers with silu between, see `chain` in
models/transformer.py; schedule.npz holds it as level_kernel_0, level_bias_0, ...
"""

import numpy as np

FEATURES = {  # time_embedding: (t f32[B], width of the first layer) -> f32[B, width]
    "sinusoidal": lambda t, width: waves(t, width),
    "mlp": lambda t, width: t[:, None],
    "table": lambda t, width: np.eye(width, dtype=np.float32)[bucket(t, width)],
}


def arrays(chain):
    """{name: array} of tensors [(kernel [in, out], bias [out])], for schedule.npz."""
    named = {}
    for i, (kernel, bias) in enumerate(chain):
        pair = {f"level_kernel_{i}": kernel, f"level_bias_{i}": bias}
        named |= {name: array.detach().numpy() for name, array in pair.items()}
    return named


def width(schedule):
    """M, of the modulation."""
    count = sum(name.startswith("level_bias") for name in schedule)
    return len(schedule[f"level_bias_{count - 1}"]) if count else 0


def said(schedule, embedding, t):
    """The modulation f32[B, M] of noise levels f32[B]. embedding: a key of FEATURES."""
    h, i = np.zeros((len(t), 0), np.float32), 0
    while f"level_kernel_{i}" in schedule:
        kernel = schedule[f"level_kernel_{i}"]
        h = silu(h) if i else FEATURES[embedding](t, len(kernel))
        h = h @ kernel + schedule[f"level_bias_{i}"]
        i += 1
    return h


def waves(t, width):
    """models/layers.py's fourier."""
    freqs = (1e4 ** (-np.arange(width // 2) / (width // 2))).astype(np.float32)
    angles = np.float32(1000.0) * t[:, None] * freqs
    return np.concatenate([np.cos(angles), np.sin(angles)], -1)


def bucket(t, count):
    return np.clip((t * np.float32(count)).astype(int), 0, count - 1)


def silu(x):
    return x / (np.float32(1.0) + np.exp(-x))
