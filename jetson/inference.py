"""Images or text from an export, without JAX.

    python jetson/inference.py --load_dir runs/digits/jetson --classes 3 --num_samples 16
    python jetson/inference.py --load_dir runs/stories/jetson --prompt "Once upon a time"
    python jetson/inference.py --load_dir runs/stories/jetson --prompt "[*] and a {red|blue} kite."
    python jetson/inference.py --load_dir runs/stories/jetson --backend torch --precision fp16
    python jetson/inference.py --load_dir runs/stories/jetson              on a terminal: asks
    python jetson/inference.py --load_dir runs/stories/jetson --benchmark --num_steps 10,25

It draws what generate.py draws with the same seed, solver, steps and knobs. It wants NumPy, for
images Pillow, of a backend what that is made of, and for a BPE the package tokenizers.
"""

import argparse
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: names are looked up in the folder above, and there first
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from jetson import benchmark, console, device, draw, prompts
from jetson.files import whole
from jetson.opening import opened, started
from jetson.package import BACKENDS, PRECISIONS

ONCE = ("prompt", "classes", "num_samples", "out")  # who gives one of these is not asked
IMAGES = ("classes", "cfg_scale")
TEXT = ("prompt", "temperature", "top_k", "top_p", "block_size", "rounds", "seq_length")


def arguments(words=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--load_dir", required=True, help="folder that export.py wrote")
    add("--out", help="folder for what is written (LOAD_DIR/generated)")
    add("--backend", help=f"{', '.join(BACKENDS)} (onnxruntime; of a benchmark all)")
    add("--precision", help=f"{', '.join(PRECISIONS)} (fp32; of a benchmark both)")
    add("--num_samples", type=int, help="how many (4)")
    add("--seed", type=int, default=0)
    add("--num_steps", "--denoise_timesteps", help="at most those exported (all)")
    add("--solver", help="one of the export's kind (the config's)")
    add("--interactive", action="store_true", help="ask, as on a terminal; :help there")
    add = parser.add_argument_group("images").add_argument
    add("--classes", help="such as 3, 0,5,7 or 0-9; repeated over the samples (all exported)")
    add("--cfg_scale", type=float, help="guidance; 1 is none (the config's)")
    add = parser.add_argument_group("text").add_argument
    add("--prompt", help="given words; gaps as [3], [*] and {one|of|these}")
    add("--temperature", type=float, help="divides the logits (the config's)")
    add("--top_k", type=int, help="(the config's)")
    add("--top_p", type=float, help="(the config's)")
    add("--block_size", type=int, help="fill blocks of so many tokens from left to right")
    add("--rounds", type=int, help="write each place so often (the config's)")
    add("--seq_length", "--length", help="tokens, where rows of several were learnt")
    add = parser.add_argument_group("benchmark").add_argument
    add("--benchmark", action="store_true", help="how fast it is; --num_steps may be 10,25 then")
    add("--device", help=f"{'; '.join(device.DEVICES)} (as it calls itself)")
    add("--seconds", type=float, default=2.0, help="that each number is measured (%(default)g)")
    return parser.parse_args(words)


def main():
    args = arguments()
    package = opened(args.load_dir)
    kind = package.config["kind"]
    strange = [k for k in (TEXT if kind == "images" else IMAGES) if getattr(args, k) is not None]
    if strange:
        raise ValueError(f"{args.load_dir} is a model of {kind}, which has no --{strange[0]}")
    if args.benchmark:
        return benchmark.run(package, args)
    args.num_steps, args.seq_length = single(args, "num_steps"), single(args, "seq_length")
    denoise = started(package, args.backend or "onnxruntime", args.precision or "fp32")
    write = {"images": pictures, "text": texts}[kind]

    def once(args):
        """What is asked for, written and told."""
        n = 4 if args.num_samples is None else args.num_samples
        if n < 1:
            raise ValueError(f"--num_samples wants at least 1; got {n}")
        told(package, args.num_steps)
        out, start = Path(args.out or package.folder / "generated"), time.perf_counter()
        written, units = write(package, denoise, args, n, out)
        seconds = time.perf_counter() - start
        name, what = package.config["run"], "tokens" if kind == "text" else "images"
        rate = f"{n * units / seconds:.3g} {what}/s"
        print(f"{n} samples of {name} in {seconds:.2f} s, {rate}; {written} in {out}")

    alone = all(getattr(args, name) is None for name in ONCE)
    if args.interactive or (alone and sys.stdin.isatty()):
        args.num_samples = args.num_samples or 1
        line_is, others = ("prompt", IMAGES) if kind == "text" else ("classes", TEXT)
        return console.talk(once, args, line_is, others)
    once(args)


def single(args, name):
    """A flag's whole number, or None.

    Raises:
        ValueError: it is none, or a list.
    """
    given = getattr(args, name)
    if given is not None and not given.lstrip("-").isdigit():
        raise ValueError(f"--{name} wants a whole number, of a --benchmark several; got {given!r}")
    return None if given is None else int(given)


def told(package, steps):
    """Says which steps are taken if they are not even."""
    most, count = len(package.schedule["times"]) - 1, draw.counted(package, steps)
    if most % count and draw.limited(package):
        print(f"{steps} of the {most} steps exported, as even as these allow", file=sys.stderr)


def pictures(package, denoise, args, n, out):
    """Writes samples.npz and grid.png as generate.py does; returns their names, and 1."""
    from PIL import Image

    classes = None if args.classes is None else prompts.numbers("--classes", args.classes)
    x, labels = prompts.pictures(
        package, denoise, classes, n, seed=args.seed, steps=args.num_steps,
        scale=args.cfg_scale, solver=args.solver,
    )  # fmt: skip
    grid = prompts.grid(x)
    with whole(out / "samples.npz") as file:
        np.savez(file, arr_0=x, **({"arr_1": labels} if package.config["num_classes"] else {}))
    with whole(out / "grid.png") as file:
        Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid).save(file, "PNG")
    return "grid.png, samples.npz", 1


def texts(package, denoise, args, n, out):
    """Prints the texts and writes samples.txt; returns its name, and the tokens of a row."""
    words = package.words()
    said = prompts.texts(
        package, denoise, words, args.prompt or "", n, seed=args.seed, length=args.seq_length,
        steps=args.num_steps, **{k: getattr(args, k) for k in draw.KNOBS},
    )  # fmt: skip
    with whole(out / "samples.txt") as file:
        file.write(("\n\n".join(said) + "\n").encode())
    print("\n\n".join(said) + "\n")
    return "samples.txt", package.config["shape"][0]


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        raise SystemExit(f"inference.py: {error}") from None
    except ImportError as error:
        raise SystemExit(f"inference.py: wants {error.name}, which is not here") from None
