"""Scores images: Frechet distance to a reference, and what else is worth knowing beside it.

    python eval_fid.py --load_dir runs/digits --features runs/features/digits.npz
    python eval_fid.py --load_dir runs/imagenet --dataset_name imagenet256 --features WEIGHTS.pth
                       --fid_stats data/imagenet256_fidstats_openai.npz --cfg_scale 4
    python eval_fid.py --images folder:PATH --reference cifar10 --features WEIGHTS.pth
    python eval_fid.py --images cifar10 --features WEIGHTS.pth --write_stats cifar10.npz
    python eval_fid.py --load_dir runs/digits --sweep "cfg_scale=1,1.5,2 steps=10,25"
    python eval_fid.py --selftest

Exactly N samples from the averaged weights. WEIGHTS is FID's Inception
(pt_inception-2015-12-05-6726825d.pth). With another network, a small classifier of
train_classifier.py or a published one (utils/recipe_features.py lists them), the number is an
FD[name@hash], comparable to other numbers of that name and N alone, and no FID.
Beside it stands the floor: the same distance for held-out images of the reference.
"""

import argparse
import functools
import importlib.util
import json

from utils import config as flags


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--load_dir", help="workdir of a train script")
    what.add_argument("--images", help="a dataset, folder:PATH or npz:PATH in place of a run")
    what.add_argument("--selftest", action="store_true", help="check the arithmetic, in seconds")
    add("--step", type=int, help="checkpoint; the newest by default")
    add("--features", help="of train_classifier.py (runs/features/DATASET.npz), or published")
    add("--resize", default="tf1", help="to Inception: tf1, pytorch or clean")
    add("--dataset_name", help="reference images (the checkpoint's)")
    add("--reference", help="the same, or folder:PATH, npz:PATH, or a statistics file")
    add(
        "--fid_stats", help="statistics file to compare to, of this script, ADM, EDM, jax-flow, ..."
    )
    add("--write_stats", help="npz for the reference's statistics, or for those of --images alone")
    add("--data_dir", help="where named datasets live (the checkpoint's)")
    add(
        "--num_samples",
        type=int,
        help="how many to draw (as there are held-out images, else 50,000)",
    )
    add("--batch_size", type=int, default=256)
    add("--denoise_timesteps", type=int, help="solver steps (the config's)")
    add("--cfg_scale", type=float, help="guidance; 1 is none (the config's)")
    add("--cfg_interval", default="0,1", help="guide only at noise levels between these two")
    add("--solver", help="ddim, heun, dpm2m, churn (the config's)")
    add("--vae", help="the autoencoder of a latent run, if not where its config says")
    add("--seed", type=int, default=0)
    add("--sweep", help='"cfg_scale=1,1.5 steps=10,25": all combinations, one table and plot')
    add("--fid_inf", action="store_true", help="the distance extrapolated to infinitely many, too")
    add("--out", help="where the score goes (the run's folder, else runs/scores)")
    flags.several(parser)
    return parser.parse_args()


def main():
    args = arguments()

    from utils import cache, hosts, image_sets, places, recipe_features, report_images, sampling

    if args.selftest:
        from utils import selftest

        return print(selftest.run())
    cache.enable()
    hosts.connect(args)
    home = places.Mirror(args.out or args.load_dir or "runs/scores")
    args.load_dir = places.run(args.load_dir, args.step)
    cells = report_images.sweep(args.sweep) if args.sweep else [{}]
    if args.sweep and not args.load_dir:
        raise ValueError("--sweep wants --load_dir, a run that draws")
    restored = functools.cache(
        lambda solver: sampling.restored(args.load_dir, args.step, args.vae, solver=solver)
    )
    run = args.load_dir and restored(args.solver)
    dataset = args.dataset_name or (run.config.dataset_name if run else args.images)
    features = recipe_features.load(
        args.features or recipe_features.default_path(dataset), args.resize
    )
    data_dir = args.data_dir or (run.config.data_dir if run else "datasets")
    sets = image_sets.Sets(
        features, places.Mirror(data_dir).fetch(), args.batch_size,
        run.config.image_size if run else None,
    )  # fmt: skip
    wanted = args.fid_stats or args.reference or args.dataset_name or (run and dataset)
    if not wanted:
        return only_stats(args, sets)
    reference, name = sets.reference(wanted)
    if run and sets.shape not in (None, drawn := run.recipe.space.image_shape):
        raise ValueError(f"{wanted} has images {sets.shape}, {run.name} draws {drawn}")
    if args.write_stats:
        write(args.write_stats, reference)
    folder = home.folder
    folder.mkdir(parents=True, exist_ok=True)
    path, results = folder / ("sweep.json" if args.sweep else "score.json"), []
    for cell in cells:
        now = restored(cell.get("solver", args.solver)) if run else None
        results.append(scored(args, cell, now, sets, reference) | {"reference": name})
        print(report_images.lines(results[-1]), end="\n\n" if args.sweep else "\n", flush=True)
        if hosts.first():
            path.write_text(json.dumps(results if args.sweep else results[0], indent=1))
    if args.sweep:
        print(report_images.table(results))
    if args.sweep and hosts.first() and importlib.util.find_spec("matplotlib"):
        report_images.plot(folder / "sweep.png", results)
    home.send()
    print(f"in {home / path.name}")


def scored(args, cell, run, sets, reference) -> dict:
    """One set of images against the reference, as the command line and a sweep's cell want it."""
    from utils import report_images, sampling, scoring_images

    if run:
        n = args.num_samples
        n = sets.held_out_n or report_images.FULL if n is None else n
        about = {"seed": cell.get("seed", args.seed), "cfg_interval": args.cfg_interval}
        about |= sampling.knobs(
            run, **{"cfg_scale": args.cfg_scale, "steps": args.denoise_timesteps} | cell
        )
        samples = sets.drawn(run, n, about, args.load_dir)
    else:
        samples, about = sets.all(args.images, args.num_samples), {"run": args.images}
    result = {"score": sets.features.title, "resize": sets.features.resize, **about}
    held_out = sets.floor(samples.stats.n)
    result |= scoring_images.compared(reference, samples, held_out, limit=args.fid_inf)
    return result | scoring_images.classified(sets.features, reference, samples, held_out)


def only_stats(args, sets):
    """--images without anything to compare them to: their statistics are written."""
    if not args.write_stats:
        raise ValueError("--images wants a --reference to compare to, or --write_stats PATH")
    write(args.write_stats, sets.all(args.images, args.num_samples))


def write(path, measured):
    from utils import fid_stats, files, hosts

    if hosts.first():
        with files.written(path) as here:
            fid_stats.write(here, measured.stats)
    s = measured.stats
    print(f"statistics of {s.n} images, {s.source}, {s.features}, resize {s.resize}: {path}")


if __name__ == "__main__":
    flags.run(main)
