"""Images or text from an export, without JAX.

    python jetson/inference.py --load_dir runs/digits/jetson --classes 3 --num_samples 16
    python jetson/inference.py --load_dir runs/stories/jetson --prompt "Once upon a time"
    python jetson/inference.py --load_dir runs/stories/jetson --backend torch --precision fp16

It draws what generate.py draws with the same seed, solver and steps; the steps are those of the
export. Rounds, blocks and constraints of text are generate.py's alone. It wants NumPy and Pillow,
and of a backend what that is made of; a BPE also the package tokenizers.
"""

import argparse
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: names are looked up in the folder above, and there first
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from jetson import draw
from jetson.package import BACKENDS, PRECISIONS, Package


def arguments(words=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--load_dir", required=True, help="folder that export.py wrote")
    add("--out", help="folder for what is written (LOAD_DIR/generated)")
    add("--backend", choices=BACKENDS, default="onnxruntime")
    add("--precision", choices=PRECISIONS, default="fp32")
    add("--num_samples", type=int, default=4)
    add("--seed", type=int, default=0)
    add("--solver", help="images: ddim, heun, dpm2m; text: ancestral, confidence (the config's)")
    add("--classes", help="images: such as 3 or 0,5,7; repeated over the samples (all exported)")
    add("--cfg_scale", type=float, help="images: guidance; 1 is none (the config's)")
    add("--prompt", default="", help="text: given words; gaps as [3] and [*]")
    add("--temperature", type=float, help="text: divides the logits (the config's)")
    return parser.parse_args(words)


def main():
    args = arguments()
    package = Package(args.load_dir)
    if args.num_samples < 1:
        raise ValueError(f"--num_samples wants at least 1; got {args.num_samples}")
    denoise = package.denoiser(args.backend, args.precision)
    out = Path(args.out or package.folder / "generated")
    out.mkdir(parents=True, exist_ok=True)
    kind = package.config["kind"]
    start = time.perf_counter()
    written = {"images": pictures, "text": texts}[kind](package, denoise, args, out)
    seconds = time.perf_counter() - start
    name = package.config["run"]
    print(f"{args.num_samples} samples of {name} in {seconds:.2f} s; {written} in {out}")


def pictures(package, denoise, args, out):
    """Writes samples.npz and grid.png as generate.py does; returns their names."""
    from PIL import Image

    n, known = args.num_samples, package.schedule["labels"]
    asked = known[:-1] if len(known) > 1 else known
    if args.classes is not None:
        asked = numbers(args.classes)
    labels = np.resize(np.asarray(asked, np.int32), n)
    x = draw.images(
        package, denoise, np.arange(n), labels, seed=args.seed, scale=args.cfg_scale,
        solver=args.solver,
    )  # fmt: skip
    x = np.clip(np.round((x + 1.0) * 127.5), 0, 255).astype(np.uint8)
    np.savez(out / "samples.npz", x=x, label=labels)
    columns = min(n, 10)
    blank = np.zeros((-n % columns, *x.shape[1:]), np.uint8)
    _, h, w, c = x.shape
    grid = np.concatenate([x, blank]).reshape(-1, columns, h, w, c).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(-1, columns * w, c)
    Image.fromarray(grid[..., 0] if c == 1 else grid).save(out / "grid.png")
    return "grid.png, samples.npz"


def numbers(text):
    """[0, 5, 7] of "0,5,7"."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--classes wants something like 3 or 0,5,7; got {text!r}") from None


def texts(package, denoise, args, out):
    """Prints the texts and writes samples.txt; returns its name."""
    words = package.words()
    known = asked(package.config, words, args.prompt, args.num_samples, args.seed)
    ids = draw.tokens(
        package, denoise, np.arange(len(known)), known, seed=args.seed, solver=args.solver,
        temperature=args.temperature,
    )  # fmt: skip
    said = ["\n".join(documents(words, row, package.config["rows"]["begin"])) for row in ids]
    (out / "samples.txt").write_text("\n\n".join(said) + "\n")
    print("\n\n".join(said) + "\n")
    return "samples.txt"


def asked(config, words, prompt, n, seed):
    """Given tokens i64[n, L] of a prompt, -1 where nothing is given; sample i's row is as long as
    the one that generate.py draws for (seed, i), with padding behind."""
    from data import template
    from data.tokenizer import PAD

    (length,), rows = config["shape"], config["rows"]
    wish = template.read(prompt, words, length, rows["begin"])
    if wish.options:
        raise ValueError("a choice such as {red|blue} is generate.py's alone; gaps are [3] and [*]")
    lengths = np.array([length] if wish.whole else rows["lengths"])
    fits = lengths[lengths > wish.size]
    lengths = fits if len(fits) else np.array([length])
    shares = [np.random.default_rng((seed, i)).random() for i in range(n)]
    ends = np.array([lengths[int(share * len(lengths))] for share in shares])
    return np.where(np.arange(length) < ends[:, None], wish.known, PAD).astype(np.int64)


def documents(words, row, one):
    """The documents in a row of ids, none empty; of a row that is `one`, what its EOS ends."""
    from data.tokenizer import EOS

    parts = np.split(row, np.flatnonzero(row == EOS) + 1)
    said = (words.decode(part).strip() for part in (parts[:1] if one else parts))
    return [text for text in said if text]


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        raise SystemExit(f"inference.py: {error}") from None
