"""Arrays of published networks, under PyTorch's names and in its layout, as parameters of ours."""

import jax.numpy as jnp
import numpy as np

NORM = ("weight", "bias", "running_mean", "running_var")  # of a batch norm


def check(named: dict[str, np.ndarray], wanted: dict[str, tuple], what: str):
    """Counts of batches, which torch keeps beside norms, are passed over.

    Raises:
        ValueError: names that are missing, unknown or of another shape than wanted; the message
            tells five of them.
    """
    found = {k: np.shape(a) for k, a in named.items() if not k.endswith("num_batches_tracked")}
    if wrong := differences(found, wanted):
        raise ValueError(f"not the weights of {what}: {wrong}")


def differences(found: dict[str, tuple], wanted: dict[str, tuple]) -> str:
    """Names that are missing, unknown or of another shape, five of them told; "" of none."""
    wrong = [f"{k} missing" for k in wanted if k not in found]
    wrong += [f"{k} unknown" for k in found if k not in wanted]
    wrong += [
        f"{k} {found[k]} instead of {shape}"
        for k, shape in wanted.items()
        if k in found and found[k] != shape
    ]
    return ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")


def dense(named, name) -> dict:
    """A linear layer."""
    return {"kernel": f32(named[f"{name}.weight"].T), "bias": f32(named[f"{name}.bias"])}


def convolution(named, name) -> dict:
    kernel = named[f"{name}.weight"].transpose(2, 3, 1, 0)
    return {"kernel": f32(kernel), "bias": f32(named[f"{name}.bias"])}


def folded(named, convolution, norm, epsilon) -> dict:
    """A convolution without bias and the batch norm behind it as one convolution with a bias."""
    of = lambda part: np.asarray(named[f"{norm}.{part}"], np.float64)
    gain = of("weight") / np.sqrt(of("running_var") + epsilon)
    kernel = np.asarray(named[f"{convolution}.weight"], np.float64).transpose(2, 3, 1, 0) * gain
    return {"kernel": f32(kernel), "bias": f32(of("bias") - of("running_mean") * gain)}


def f32(array):
    return jnp.asarray(array, jnp.float32)
