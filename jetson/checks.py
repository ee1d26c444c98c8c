"""Whether an export says what the trained network says: every file, as it was written.

All outputs are held against Flax's in float32, at noise levels from 1 to 0: those of float32 by
the largest difference, in units of the largest output where that is over 1, and those of float16
by the L2 norm of the difference over that of the output.
"""

import numpy as np

from jetson import resample
from jetson.operators import unreadable
from jetson.package import Package

LEVELS = 9  # noise levels that are tried
ROWS = 4


def passed(run, folder):
    """[(file, what was found)].

    Args:
        run: a trained.Trained.
        folder: of the export.

    Raises:
        ValueError: the first check that fails, with its number.
    """
    package = Package(folder)
    tried = probes(run, package)
    levels = f"at {len(tried)} noise levels"
    said = close(package, tried, "torch", "fp32", "params.safetensors and schedule.npz")
    found = [
        ("schedule.npz", f"{len(package.schedule['times']) - 1} steps"),
        ("params.safetensors", f"with schedule.npz {said} {levels}"),
    ]
    for precision in ERRORS:
        name = f"denoiser_{precision}.onnx"
        readable(folder / name)
        said = close(package, tried, "onnxruntime", precision, name)
        found.append((name, f"{said} {levels}; TensorRT 10.3 knows its operators"))
    return found


def probes(run, package):
    """[(t, what a denoiser takes, what Flax says)] at LEVELS noise levels."""
    rng = np.random.default_rng(0)
    levels, known = package.schedule, package.schedule["labels"]
    out = []
    for i in np.unique(np.linspace(0, len(levels["times"]) - 1, LEVELS).astype(int)):
        label = rng.choice(known, ROWS).astype(np.int32)
        t, x = levels["times"][i], state(run, rng, levels, i)
        theirs = flax(run, x, np.full(ROWS, t), label)
        out.append((float(t), (*x, package.modulation(i, label)), theirs))
    return out


def flax(run, x, t, label):
    """What Flax says of arrays x, f32[B, ...]."""
    x = (a.astype(np.int32) if a.dtype == np.int64 else a for a in x)
    return np.asarray(run.apply(*x, t, label), np.float32)


def state(run, rng, levels, i):
    """Arrays as a network may meet them at noise level i."""
    if "process" in run.config:
        return candidates(run, rng, levels, i)
    return (ids(run, rng, levels["sigma"][i]) if run.tokenizer else images(run, rng, levels, i),)


def images(run, rng, levels, i):
    """Pixels at random with noise on them, f32[ROWS, H, W, C]."""
    shape = (ROWS, *run.config["shape"])
    x0, eps = rng.uniform(-1, 1, shape), rng.standard_normal(shape)
    return (levels["alpha"][i] * x0 + levels["sigma"][i] * eps).astype(np.float32)


def ids(run, rng, hidden):
    """Tokens at random, a share of them hidden, i64[ROWS, L]; half of the rows end in padding."""
    config, (length,) = run.config, run.config["shape"]
    x = rng.integers(0, config["network"]["vocab_size"], (ROWS, length))
    x = np.where(x == config["pad_id"], config["mask_id"], x)
    x = np.where(rng.random(x.shape) < hidden, config["mask_id"], x)
    if config["network"]["pad_id"] is not None:
        x[::2, length - length // 3 :] = config["pad_id"]
    return x.astype(np.int64)


def candidates(run, rng, levels, i):
    """Slots of tokens at random, a share of them noise, and what is believed of them; half of the
    rows end in padding: i64[ROWS, L, K], f32[ROWS, L, K]."""
    size, slots = run.config["network"]["vocab_size"], run.config["process"]["candidates"]
    x = ids(run, rng, 0.0)[..., None]
    noise = rng.random((*x.shape[:2], slots)) < levels["sigma"][i]
    noise &= x != run.config["pad_id"]
    x = np.where(noise, rng.integers(0, size, noise.shape), x)
    level = (np.full((ROWS, 1), levels[name][i]) for name in ("alpha", "sigma"))
    return x, resample.believed(x, resample.log_rho((*level,), size), size)


def close(package, tried, backend, precision, name):
    """The largest error over all noise levels, in words.

    Raises:
        ValueError: it is too large, or not a number.
    """
    measure, most, what = ERRORS[precision]
    denoise, worst, at = package.denoiser(backend, precision), 0.0, 1.0
    for t, inputs, theirs in tried:
        error = measure(denoise(*inputs), theirs)
        worst, at = (error, t) if not error <= worst else (worst, at)
    if not worst <= most:
        raise ValueError(f"{name}: {what} {worst:.1e} at t = {at:.3g}; at most {most:.0e} will do")
    return f"{what} at most {worst:.1e}"


def largest(ours, theirs):
    return np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())


def relative(ours, theirs):
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-6)


ERRORS = {  # precision: (measure, the most that passes, its name)
    "fp32": (largest, 5e-5, "off Flax by"),
    "fp16": (relative, 3e-3, "relative L2 off Flax by"),
}


def readable(path):
    """Raises ValueError with what ONNX's own checker or TensorRT's parser would refuse."""
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    if wrong := unreadable(model):
        raise ValueError(f"{path.name}: TensorRT 10.3 does not read {', '.join(wrong)}")
