"""Scores the samples of a checkpoint: Frechet distance to the training images, class accuracy.

    python eval_fid.py --load_dir runs/digits --features runs/features/digits.npz

Exactly N samples from the averaged weights. The features are a small classifier's
(train_classifier.py), so the number is an FD[name@hash], comparable to other numbers of that
name and N alone, and no FID. Beside it stands the floor: the same distance for held-out images.
"""

import argparse
import json
from pathlib import Path

from utils import config as flags


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--load_dir", required=True, help="workdir of a train script")
    add("--step", type=int, help="checkpoint; the newest by default")
    add("--features", help="npz of train_classifier.py (runs/features/DATASET.npz)")
    add("--dataset_name", help="reference images (the checkpoint's)")
    add("--data_dir", help="where named datasets live (the checkpoint's)")
    add("--num_samples", type=int, help="how many to draw (as many as there are held-out images)")
    add("--batch_size", type=int, default=256)
    add("--denoise_timesteps", type=int, help="solver steps (the config's)")
    add("--cfg_scale", type=float, help="guidance; 1 is none (the config's)")
    add("--cfg_interval", default="0,1", help="guide only at noise levels between these two")
    add("--solver", help="ddim, heun, dpm2m, churn (the config's)")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def main():
    args = arguments()

    import numpy as np

    from data import images, pipeline
    from utils import cache, fid, recipe, sampling

    cache.enable()
    run = sampling.restored(args.load_dir, args.step, solver=args.solver)
    dataset = args.dataset_name or run.config.dataset_name
    features = recipe.load_features(args.features or recipe.features_path(dataset))
    data = images.load(dataset, args.data_dir or run.config.data_dir, run.config.image_size)
    train, test = data["train"], data["test"]
    if train.shape != run.recipe.shape:
        raise ValueError(f"{dataset} has images {train.shape}, {run.name} draws {run.recipe.shape}")
    n = len(test.x) if args.num_samples is None else args.num_samples
    labels = sampling.class_labels("all", run.recipe.num_classes, n)
    if n < 2:
        raise ValueError(f"--num_samples wants at least 2 for a distance; got {n}")
    draw = sampling.sampler(
        run,
        steps=args.denoise_timesteps,
        scale=args.cfg_scale,
        interval=sampling.guidance_interval(args.cfg_interval),
        seed=args.seed,
        batch_size=args.batch_size,
    )

    chunks = lambda x: (x[i : i + args.batch_size] for i in range(0, len(x), args.batch_size))
    drawn = (pipeline.to_bytes(in_range(x)) for x in draw(labels))
    samples, guesses = measured(features, drawn, n, "sampling")
    reference, _ = measured(features, chunks(train.x), len(train.x), "reference")
    some = np.random.default_rng(0).permutation(len(test.x))[:n]
    held_out, _ = measured(features, chunks(test.x[some]), len(some), "floor")
    result = {
        "score": f"FD[{features.name}]",
        "value": fid.frechet(reference, samples),
        "n": samples.n,
        "floor": fid.frechet(reference, held_out),
        "floor_n": held_out.n,
        "reference": f"{dataset} train, {reference.n} images",
        "class_accuracy": float((guesses == labels).mean()) if run.recipe.num_classes else None,
        "classifier_accuracy": features.accuracy,
        "run": run.name,
        "weights": "ema",
        "solver": run.config.sampler.solver,
        "steps": args.denoise_timesteps or run.config.sampler.denoise_timesteps,
        "cfg_scale": run.config.sampler.cfg_scale if args.cfg_scale is None else args.cfg_scale,
        "cfg_interval": args.cfg_interval,
        "seed": args.seed,
    }
    path = Path(args.load_dir) / "score.json"
    path.write_text(json.dumps(result, indent=1))
    print(line(result) + f"\nin {path}")


def measured(features, batches, total, title):
    """(Moments of the features, the classifier's guesses i32[N]) over batches u8[B, H, W, C]."""
    import numpy as np

    from utils import fid
    from utils.progress import bar

    progress, moments, guesses = bar(total, "image", title=title), None, []
    for x in batches:
        logits, f = features.apply(x)
        part = fid.Moments.of(f)
        moments = part if moments is None else moments + part
        guesses.append(np.asarray(logits.argmax(-1)))
        progress.update(len(x))
    progress.close()
    return moments, np.concatenate(guesses)


def in_range(x, margin=0.05, share=0.25):
    """Samples f32[B, H, W, C] as they are, if they are pixels in [-1, 1].

    A solver overshoots at a few pixels, which rounding to bytes cuts off. Where a quarter lies
    outside, the scale is wrong, and clipping would hide it.

    Raises:
        ValueError: with the measured range.
    """
    outside = float((~(abs(x) <= 1 + margin)).mean())  # NaN is outside
    if not outside <= share:
        raise ValueError(
            f"{outside:.0%} of the samples' pixels lie outside [-1, 1] (they range over "
            f"[{x.min():.3g}, {x.max():.3g}]); wanted pixels in [-1, 1]"
        )
    return x


def line(r) -> str:
    """Two lines that say all that the number depends on."""
    correct = ""
    if r["class_accuracy"] is not None:
        real = f"of real held-out images {r['classifier_accuracy']:.1%}"
        correct = f"  class accuracy {r['class_accuracy']:.1%} ({real})"
    return (
        f"{r['score']} n={r['n']}  {r['value']:.3f}  "
        f"floor={r['floor']:.3f} (held-out, n={r['floor_n']}){correct}\n"
        f"not an FID; against {r['reference']}; {r['run']}, {r['weights']} weights, "
        f"{r['solver']} {r['steps']} steps, cfg_scale {r['cfg_scale']}, seed {r['seed']}"
    )


if __name__ == "__main__":
    flags.run(main)
