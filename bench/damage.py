"""What scores make of real images that were damaged on purpose.

    python -m bench.damage --dataset mnist --data_dir PATH --features runs/features/mnist.npz LENET
    python -m bench.damage --dataset cifar10 --data_dir PATH --features RESNET --num_reference 10000

A score is worth something if it grows with damage, and leaves its floor where a model would be at
fault. Held-out images are damaged, and scored against training images as eval_fid.py scores those
of a model; undamaged they are the floor. Each network has a table; all of it is in OUT/damage.md
and OUT/damage.json.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

from bench import child, row

BATCH = 250


def noise(x, label, sigma):
    """Gaussian, in grey levels."""
    return x + np.random.default_rng(0).normal(0, sigma, x.shape), label


def blur(x, label, sigma):
    """Gaussian, in pixels."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(x.astype(np.float32), (0, sigma, sigma, 0)), label


def without_last(x, label):
    some = label != label.max()
    return x[some], label[some]


def few(x, label, times=1):
    """The first tenth, `times` times."""
    one = np.arange(len(x) // 10)
    return x[np.tile(one, times)], label[np.tile(one, times)]


DAMAGES = {  # of held-out images: (pixels, labels) -> pixels, not yet bytes, and labels
    "held-out images": lambda x, label: (x, label),
    **{f"noise, sigma {s}": partial(noise, sigma=s) for s in (10, 25, 50)},
    **{f"blur, sigma {s}": partial(blur, sigma=s) for s in (0.5, 1)},
    "inverted": lambda x, label: (255 - x, label),
    "last class missing": without_last,
    "a tenth, each ten times": partial(few, times=10),
    "a tenth": few,
}


def damaged(images, damage):
    """What a damage makes of data.images.Images."""
    x, label = damage(images.x, images.label)
    return images._replace(x=np.clip(np.round(x), 0, 255).astype(np.uint8), label=label)


def arguments(words: list[str]):
    parser = argparse.ArgumentParser(
        prog="bench.damage", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--dataset", required=True, help="see train_flow.py --help")
    add("--data_dir", default="datasets", help="where named datasets live")
    add("--features", nargs="+", required=True, help="as of eval_fid.py, one table each")
    add("--num_reference", type=int, help="training images to compare to (all)")
    add("--num_images", type=int, help="held-out images to damage (all)")
    add("--out", type=Path, help="where all of it goes (runs/damage/DATASET)")
    args = parser.parse_args(words)
    if args.num_images is not None and args.num_images < 100:
        raise ValueError(f"--num_images wants 100 or more; got {args.num_images}")
    args.out = args.out or Path("runs/damage") / args.dataset
    return args


def scored(features, data, args) -> list[dict]:
    """A row each damage, by one network."""
    from utils import image_sets, scoring_images

    sets = image_sets.Sets(features, args.data_dir, BATCH, None)
    first = lambda images, n: images._replace(x=images.x[:n], label=images.label[:n])
    train, test = first(data["train"], args.num_reference), first(data["test"], args.num_images)
    reference, floor = sets.seen(train, "reference"), sets.seen(test, "held-out images")

    def row(name, found):
        seen = sets.seen(found, name)
        out = scoring_images.compared(reference, seen, floor)
        return {"images": name} | out | scoring_images.classified(features, reference, seen, floor)

    rows = [row(name, damaged(test, damage)) for name, damage in DAMAGES.items()]
    return [*rows, row("training images", first(train, len(test.x)))]


def shown(x) -> str:
    return "-" if x is None else f"{x:.0f}" if x >= 100 else f"{x:.2f}"


COLUMNS = {
    "images": lambda r: r["images"],
    "n": lambda r: f"{r['n']:,d}",
    "FD": lambda r: f"{shown(r['value'])} ± {shown(r['standard_error'])}",
    "KID": lambda r: shown(r["kid"]),
    "precision": lambda r: shown(r["precision"]),
    "recall": lambda r: shown(r["recall"]),
    "nearest training image": lambda r: shown(r.get("copies_ratio")),
    "chi2 of classes": lambda r: shown(r.get("class_chi2")),
    "class accuracy": lambda r: f"{r['class_accuracy']:.1%}" if r.get("class_accuracy") else "-",
}


def table(network: dict) -> str:
    """Of one network's rows, in markdown."""
    head = [network["score"] if name == "FD" else name for name in COLUMNS]
    lines = [head, ["---"] * len(head)]
    lines += [[column(r) for column in COLUMNS.values()] for r in network["rows"]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(words: list[str]):
    args = arguments(words)

    from data import images
    from utils import cache, recipe_features

    cache.enable()
    data = images.load(args.dataset, args.data_dir)
    if data["test"].num_classes < 2:
        raise ValueError(f"{args.dataset} has no classes, of which one could be missing")
    networks, facts = [], {"dataset": args.dataset, "date": row.today(), "commit": child.commit()}
    for features in [recipe_features.load(path) for path in args.features]:
        networks.append({"score": features.title, "rows": scored(features, data, args)})
        print(table(networks[-1]), end="\n\n", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "damage.md").write_text("\n\n".join(map(table, networks)) + "\n")
    (args.out / "damage.json").write_text(json.dumps(facts | {"networks": networks}, indent=1))
    print(f"in {args.out / 'damage.md'} and damage.json")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        raise SystemExit(f"bench.damage: {error}") from None
