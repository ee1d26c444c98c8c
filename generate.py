"""Images from a checkpoint directory alone: a grid, the arrays, and a film of the denoising.

    python generate.py --load_dir runs/digits --classes 0-9 --num_samples 100 --cfg_scale 2

Sample i of a seed is the same image whatever --num_samples, --batch_size and the devices are.
"""

import argparse
from pathlib import Path

from utils import config as flags

FRAMES = 50  # of the film, at most


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--load_dir", required=True, help="workdir of a train script")
    add("--step", type=int, help="checkpoint; the newest by default")
    add("--out", help="folder for grid.png, samples.npz, denoising.gif (LOAD_DIR/generated)")
    add("--classes", default="all", help="such as 3, 0,5,7 or 0-9; repeated over the samples")
    add("--num_samples", type=int, default=100)
    add("--batch_size", type=int, default=100)
    add("--denoise_timesteps", type=int, help="solver steps (the config's)")
    add("--cfg_scale", type=float, help="guidance; 1 is none (the config's)")
    add("--cfg_interval", default="0,1", help="guide only at noise levels between these two")
    add("--weak_dir", help="autoguidance: a weaker run, guided away from by --cfg_scale")
    add("--solver", help="ddim, heun, dpm2m, churn (the config's)")
    add("--seed", type=int, default=0)
    add("--no_film", action="store_true", help="leave out the GIF, which costs steps x memory")
    return parser.parse_args()


def main():
    args = arguments()

    import numpy as np

    from data import pipeline
    from utils import cache, pictures, sampling
    from utils.progress import bar

    cache.enable()
    run = sampling.restored(args.load_dir, args.step, solver=args.solver)
    labels = sampling.class_labels(args.classes, run.recipe.num_classes, args.num_samples)
    interval = sampling.guidance_interval(args.cfg_interval)
    weak = sampling.restored(args.weak_dir) if args.weak_dir else None
    draw = sampling.sampler(
        run, steps=args.denoise_timesteps, scale=args.cfg_scale, interval=interval, weak=weak,
        seed=args.seed, batch_size=args.batch_size,
    )  # fmt: skip

    out = Path(args.out or Path(args.load_dir) / "generated")
    out.mkdir(parents=True, exist_ok=True)
    progress = bar(args.num_samples, "image", title="sampling")
    batches = []
    for x in draw(labels):
        batches.append(pipeline.to_bytes(x))
        progress.update(len(x))
    progress.close()
    x = np.concatenate(batches)
    columns = 10 if args.num_samples >= 10 else args.num_samples
    pictures.save_grid(out / "grid.png", x[:400], columns)
    np.savez(out / "samples.npz", x=x, label=labels)
    written = "grid.png, samples.npz"
    if not args.no_film:
        film = draw(labels[: min(100, args.num_samples)], trajectory=True)
        frames = np.concatenate([pipeline.to_bytes(part) for part in film], axis=1)
        frames = frames[np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).astype(int)]
        pictures.save_animation(out / "denoising.gif", frames, columns)
        written += ", denoising.gif"
    print(f"{len(x)} images of {run.name}; {written} in {out}")


if __name__ == "__main__":
    flags.run(main)
