"""Floating-point operations of a training step, and the share of a device's peak that they make.

Counted, in the traced loss and not by a formula for each network, are matrix products (attention's
among them) and convolutions: 2 operations a multiply-add, and padding as if it were there. Forward
once; the backward pass transposes the tangents' products, which are two for one, less what no
gradient flows through. A scanned layer counts as often as it runs, branches by their mean: masked
text projects those pieces of its places that are hidden, half of them under the linear schedule.

Left out: norms, softmax, activations, look-ups, random numbers, the optimiser, averaged weights,
and what `remat` does twice; so the share is of useful work, the MFU of arXiv:2204.02311, app. B.
"""

import math

import jax
from jax.interpreters import partial_eval

# Dense bf16 FLOP/s of a device by its `device_kind`, of which the first that it starts with counts.
# TPUs: cloud.google.com/tpu/docs, system architecture of v4, v5e ("v5 lite"), v5p ("v5"), v6e.
# GPUs: NVIDIA's datasheets of A100, H100 and H200, halved where they are told with sparsity.
PEAKS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}

RARE = "uneven"  # a jitted function that no training step comes to, see diffusion/readouts.py


def per_example(loss, params, batch) -> float:
    """Of a training step, forward and backward.

    Args:
        loss: (params, key, batch) -> (f32[], metrics). Its attention has to be spelt out, see
            `spelt_out`: a fused kernel hides its products.
        params: arrays, or their shapes.
        batch: {"index": i32[B], ...}; what is counted is divided by B.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    shape = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype)
    params, batch = jax.tree.map(shape, (params, batch))

    def both(params, key, batch):
        return jax.jvp(lambda p: loss(p, key, batch)[0], (params,), (params,))

    return forward(both, params, key, batch) / batch["index"].shape[0]


def forward(f, *args) -> float:
    """Of f(*args), whose arguments may be shapes; what comes to nothing is not counted."""
    jaxpr = jax.make_jaxpr(f)(*args).jaxpr
    return products(needed(jaxpr, [True] * len(jaxpr.outvars)))


def needed(jaxpr, outputs):
    """What of a program those outputs, a list of bools, want."""
    return partial_eval.dce_jaxpr(jaxpr, outputs)[0]


def products(jaxpr) -> float:
    """Of all matrix products and convolutions.

    Raises:
        ValueError: some are in a loop of unknown length.
    """
    total = 0
    for equation in jaxpr.eqns:
        inner = [products(part) for part in parts(equation)]
        match equation.primitive.name:
            case "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                left = equation.invars[0].aval.shape
                total += 2 * size(equation) * math.prod(left[i] for i in contracted)
            case "conv_general_dilated":
                kernel = equation.invars[1].aval.shape
                outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
                total += 2 * size(equation) * math.prod(kernel) // outputs
            case "scan":
                total += equation.params["length"] * sum(inner)
            case "cond":
                total += sum(inner) / len(inner)
            case "custom_lin":  # tangents of what has gradients of its own, which stand for them
                total += products(backward(equation))
            case "jit" if equation.params["name"] == RARE:
                continue
            case "while" if any(inner):
                raise ValueError("products in a while loop cannot be counted; take a scan")
            case _:
                total += sum(inner)
    return total


def backward(equation):
    """The program of a custom_vjp's gradients, of the inputs that have any."""
    kept = [v.aval for v in equation.invars[: equation.params["num_res"]]]

    def gradients(*arrays):
        found = equation.params["bwd"].call_wrapped(*arrays)
        wanted = zip(found, equation.params["in_zeros"], strict=True)
        return [g for g, zero in wanted if not zero and isinstance(g, jax.Array)]

    jaxpr = jax.make_jaxpr(gradients)(*kept, *(v.aval for v in equation.outvars)).jaxpr
    return needed(jaxpr, [True] * len(jaxpr.outvars))


def size(equation) -> int:
    return math.prod(equation.outvars[0].aval.shape)


def parts(equation):
    """The programs inside of an equation: a loop's body, branches, what is jitted."""
    for value in equation.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            one = getattr(one, "jaxpr", one)  # of a closed one
            if hasattr(one, "eqns"):
                yield one


def spelt_out(config):
    """The config with attention in products, as the CPU has it anyway."""
    config = config.copy_and_resolve_references()
    config.model.attention = "xla"
    return config


def speed(per_second: float) -> dict:
    """{"flops_per_second": of all devices, "mfu": its share of their peak, where that is known}."""
    peak = peak_of(jax.devices()[0].device_kind)
    found = {"flops_per_second": per_second}
    return found | ({"mfu": per_second / (peak * jax.device_count())} if peak else {})


def peak_of(device_kind: str) -> float | None:
    """Dense bf16 FLOP/s; None where it is not known."""
    return next((peak for kind, peak in PEAKS.items() if device_kind.startswith(kind)), None)
