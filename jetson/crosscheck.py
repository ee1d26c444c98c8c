"""The exported network once more, by another way: Flax through jax2onnx, beside denoiser_fp32.onnx.

    pip install --no-deps --target ~/jax2onnx \\
        jax2onnx equinox einops dm-pix chex toolz jaxtyping wadler-lindig
    PYTHONPATH=~/jax2onnx python -m jetson.crosscheck --load_dir runs/digits

It goes to a folder of its own since jax2onnx 0.17 pins an older orbax-checkpoint than this project
wants. The run wants to be exported first. Nothing of the mirror in torch, of our conversion of
parameters or of torch.onnx has a part in jax2onnx's graph: where the two say the same, an error
would have to be in both.
"""

import argparse
from pathlib import Path

from utils import config as flags

MOST = 5e-5  # of the difference, in units of the largest output where that is over 1
LEVELS = 5


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--load_dir", required=True, help="workdir of a train script")
    parser.add_argument("--export", help="folder that export.py wrote of it (LOAD_DIR/jetson)")
    parser.add_argument("--opset", type=int, default=23)
    return parser.parse_args()


def main():
    args = arguments()

    from jetson import checks
    from jetson.package import Package
    from jetson.trained import trained

    package = Package(args.export or Path(args.load_dir) / "jetson")
    run = trained(args.load_dir, steps=len(package.schedule["times"]) - 1)
    inputs = probes(run, package)
    flax = [checks.flax(run, *rest) for _, *rest in inputs]  # jax2onnx leaves linen changed
    ask, size = by_jax2onnx(run, inputs[0], args.opset)
    ours, worst = package.denoiser("onnxruntime", "fp32"), 0.0
    print(f"jax2onnx made {size} nodes of opset {args.opset}; apart at each noise level t:")
    for (i, x, t, label), exact in zip(inputs, flax, strict=True):
        said, other = ours(*x, package.modulation(i, label)), ask(*x, t, label)
        apart = checks.largest(said, other)
        worst = max(worst, apart)
        print(
            f"  t {t[0]:.3f}   ours and jax2onnx's {apart:.1e}   jax2onnx's and Flax's "
            f"{checks.largest(other, exact):.1e}"
        )
    if not worst <= MOST:
        raise ValueError(f"the two graphs are {worst:.1e} apart; at most {MOST:.0e} will do")
    print(f"{run.name}: at most {worst:.1e} apart")


def probes(run, package):
    """[(step, x, t f32[B], label i32[B])] at LEVELS noise levels; x is checks.py's."""
    import numpy as np

    from jetson import checks

    rng, levels = np.random.default_rng(1), package.schedule
    out = []
    for i in np.linspace(0, len(levels["times"]) - 1, LEVELS).astype(int):
        x = checks.state(run, rng, levels, i)
        label = rng.choice(levels["labels"], checks.ROWS).astype(np.int32)
        out.append((i, x, np.full(len(label), levels["times"][i], np.float32), label))
    return out


def by_jax2onnx(run, probe, opset):
    """(Flax's network as a function by onnxruntime, how many nodes it has)."""
    try:
        from jax2onnx import to_onnx
    except ImportError as error:
        raise ValueError(
            f"jax2onnx is not here ({error}); --help tells how to install it"
        ) from None
    import jax
    import numpy as np
    import onnxruntime

    _, x, *rest = probe
    arrays = [*(a.astype(np.int32) if a.dtype == np.int64 else a for a in x), *rest]
    names = ["x", "t", "label"] if len(x) == 1 else ["ids", "probs", "t", "label"]
    # "auto" takes layer norms apart as E[x^2] - E[x]^2, which overflows in float16.
    model = to_onnx(
        run.apply.__wrapped__,  # not what jit has traced already
        [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays],
        opset=opset, normalization_mode="prefer_native", input_names=names,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(model.SerializeToString())
    kinds = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(float)": np.float32}

    def ask(*arrays):
        given = dict(zip(names, arrays, strict=True))
        feed = {i.name: given[i.name].astype(kinds[i.type]) for i in session.get_inputs()}
        return session.run(None, feed)[0]

    return ask, len(model.graph.node)


if __name__ == "__main__":
    flags.run(main)
