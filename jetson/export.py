"""A checkpoint as files for a Jetson, each held against the network that was trained.

    python jetson/export.py --load_dir runs/digits
    python jetson/export.py --load_dir runs/stories --denoise_timesteps 64 --dynamic_batch

LOAD_DIR/jetson is there when all of it has passed, or not at all; package.py says what it holds.
It wants pip install '.[edge]'. Where LOAD_DIR is an export, more is added to it, without JAX:

    python jetson/export.py --load_dir runs/digits/jetson --tensorrt     on the device
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

if not __package__:  # run as a file: names are looked up in the folder above, and there first
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import config as flags

MOST = 256 * 2**20  # bytes of the schedule's table


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--load_dir", required=True, help="workdir of a train script, or an export to add to")
    add("--step", type=int, help="checkpoint; the newest by default")
    add("--out", help="folder for what is written (LOAD_DIR/jetson)")
    add("--denoise_timesteps", type=int, help="solver steps (the config's)")
    add("--classes", default="all", help="that can be asked for: such as 3, 0,5,7 or 0-9")
    add("--batch_size", type=int, help="of the graphs (1; with classes 2, for guidance); with "
        "--tensorrt of a graph of any batch, the most rows at once (8)")  # fmt: skip
    add("--dynamic_batch", action="store_true", help="graphs of any batch from 1 to 256")
    add("--torchscript", action="store_true", help="also a trace in float16, for torch alone")
    add("--int8", action="store_true", help="also ONNX with its products in int8")
    add("--tensorrt", action="store_true", help="also an engine, for the GPU of this machine")
    add("--precision", choices=("fp32", "fp16", "int8"), default="fp16", help="of the engine")
    return parser.parse_args()


def main():
    args = arguments()
    if args.batch_size is not None and args.batch_size < 1:
        raise ValueError(f"--batch_size wants at least 1; got {args.batch_size}")
    if args.tensorrt:
        from jetson import engine

        engine.here()  # refuses where there is none, before there is work
    load_dir = Path(args.load_dir)
    if (load_dir / "schedule.npz").exists():
        return add_to(load_dir, args)

    from jetson.trained import trained

    run = trained(args.load_dir, args.step, args.denoise_timesteps)
    batch = args.batch_size or (2 if run.config["num_classes"] else 1)
    out = Path(args.out or Path(args.load_dir) / "jetson")
    if out.exists() and not (out / "config.json").exists():
        raise ValueError(f"{out} is there and is no export; choose another --out")
    halfway = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        halfway.mkdir(parents=True)
        found = write(run, halfway, labels(run, args.classes), batch, args.dynamic_batch)
        found += extras(halfway, args)
        replace(halfway, out)
    finally:
        shutil.rmtree(halfway, ignore_errors=True)
    print(f"{run.name} is in {out}:")
    print(listed(out, found))


def add_to(folder, args):
    """Adds to an export what was asked for."""
    found = extras(folder, args)
    if not found:
        raise ValueError(
            f"{folder} is an export already; --torchscript, --int8 and --tensorrt add to it"
        )
    print(f"added to {folder}:")
    print(listed(folder, found))


def extras(folder, args):
    """[(file, what was found of it)] of what only some devices want."""
    from jetson.package import Package

    package, found = Package(folder), []
    if args.torchscript:
        from jetson import trace

        found.append(trace.add(package))
    if args.int8:
        from jetson import quantize

        found.append(quantize.add(package))
    if args.tensorrt:
        from jetson import engine

        found.append(engine.add(package, args.precision, args.batch_size))
    return found


def listed(folder, found):
    """Lines of [(file, what was found)], with the files' sizes."""
    size = lambda name: f"{(folder / name).stat().st_size / 1e6:.2f} MB"
    return "\n".join(f"  {name:<24}{size(name):>10}   {said}" for name, said in found)


def write(run, folder, labels, batch, dynamic):
    """All files, and then the checks: [(file, what was found)].

    Raises:
        ValueError: a check fails; tells which, and its number.
    """
    import numpy as np
    import torch
    from safetensors.numpy import save

    from jetson import checks, graph, models, package

    fields = dict(run.config["network"])
    network = models.load(models.create(fields.pop("name"), **fields), run.params)
    (folder / "params.safetensors").write_bytes(save(run.params))
    np.savez(folder / "schedule.npz", labels=labels, **tables(run, network, labels), **run.levels)
    if run.tokenizer:
        run.tokenizer.save(folder / "tokenizer.json")
    batch = max(batch, 2) if dynamic else batch
    package.seal(folder, run.config | {"batch": None if dynamic else batch})
    inputs = {
        name: torch.zeros(batch, *shape, dtype=getattr(torch, kind))
        for name, (kind, shape) in package.Package(folder).inputs.items()
    }
    for precision in ("fp32", "fp16"):
        network = models.halved(network) if precision == "fp16" else network
        graph.to_onnx(network, inputs, folder / f"denoiser_{precision}.onnx", dynamic)
    package.seal(folder, package.config_of(folder))
    return checks.passed(run, folder)


def tables(run, network, labels):
    """{name: array} of what noise levels say to the network."""
    from jetson import levels

    if "process" in run.config:  # any level may be met, see levels.py
        return levels.arrays(network.chain())
    found = {"modulation": table(network, run.levels["times"], labels)}
    if "hidden_times" in run.levels:  # for solvers of text that leave the sampling levels
        found["hidden"] = table(network, run.levels["hidden_times"], labels)
    return found


def labels(run, classes):
    """i32[K]: the classes asked for, and the number that stands for none."""
    import numpy as np

    from utils import sampling

    count = run.config["num_classes"]
    if not count:
        return np.zeros(1, np.int32)
    chosen = sampling.class_labels(classes, count, max(count, 1))
    return np.append(np.unique(chosen), count).astype(np.int32)


def table(network, times, labels):
    """f32[S + 1, K, M]: what each noise level says to the network, for each class."""
    import torch

    t, label = torch.tensor(times), torch.tensor(labels).long()
    with torch.no_grad():
        width = network.modulation(t[:1], label[:1]).shape[-1]
        size = 4 * width * len(t) * len(label)
        if size > MOST:
            raise ValueError(
                f"{len(t)} noise levels of {len(label)} classes are a table of {size / 2**20:.0f} "
                f"MiB, the most is {MOST / 2**20:.0f}; --classes exports some of them"
            )
        rows = network.modulation(t.repeat_interleave(len(label)), label.repeat(len(t)))
    return rows.reshape(len(t), len(label), width).numpy()


def replace(new, old):
    """Puts a folder where another may be; whoever reads finds one of the two, whole."""
    aside = old.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)


if __name__ == "__main__":
    flags.run(main)
