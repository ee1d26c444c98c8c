"""Images or text from a checkpoint directory alone.

    python generate.py --load_dir runs/digits --classes 0-9 --num_samples 100 --cfg_scale 2
    python generate.py --load_dir runs/stories --prompt "Once upon a time there was" --watch
    python generate.py --load_dir runs/stories --prompt "[*] and the {bird|duck} sang. [20]"
    python generate.py --load_dir runs/stories --regex ".*Lily.*red kite.*" --num_samples 4
    python generate.py --load_dir runs/stories --mode guided --ar_dir runs/stories_ar --alpha 0.3
    python generate.py --load_dir runs/stories --interactive

Sample i of a seed is the same whatever --num_samples, --batch_size and the devices are.
"""

import argparse

from utils import config as flags

FRAMES = 50  # of the film, at most
IMAGES = ("classes", "cfg_scale", "cfg_interval", "weak_dir", "no_film", "vae")
TEXT = ("prompt", "prompt_scale", "temperature", "top_k", "top_p", "block_size", "rounds", "length")
TEXT += ("regex", "only", "contain", "mode", "ar_dir", "alpha", "watch", "interactive")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--load_dir", required=True, help="workdir of a train script")
    add("--step", type=int, help="checkpoint; the newest by default")
    add("--out", help="folder for what is written (LOAD_DIR/generated)")
    add("--num_samples", type=int, help="how many (100 images, 4 texts)")
    add("--batch_size", type=int, default=100)
    add("--denoise_timesteps", type=int, help="solver steps (the config's)")
    add("--solver", help="one of the config's kind (the config's)")
    add("--seed", type=int, default=0)
    add = parser.add_argument_group("images").add_argument
    add("--classes", default="all", help="such as 3, 0,5,7 or 0-9; repeated over the samples")
    add("--cfg_scale", type=float, help="guidance; 1 is none (the config's)")
    add("--cfg_interval", default="0,1", help="guide only at noise levels between these two")
    add("--weak_dir", help="autoguidance: a weaker run, guided away from by --cfg_scale")
    add("--vae", help="the autoencoder of a latent run, if not where its config says")
    add("--no_film", action="store_true", help="leave out the GIF, which costs steps x memory")
    add = parser.add_argument_group("text").add_argument
    add("--prompt", default="", help="given words; gaps as [3], [*] and {one|of|these}")
    add("--prompt_scale", type=float, default=1.0, help="guidance by the prompt; 1 is none")
    add("--temperature", type=float, help="(the config's)")
    add("--top_k", type=int, help="(the config's)")
    add("--top_p", type=float, help="(the config's)")
    add("--block_size", type=int, help="fill blocks of so many tokens from left to right")
    add("--rounds", type=int, help="write each place so often (the config's)")
    add("--length", type=int, help="tokens, where rows of several lengths were learnt")
    add("--regex", action="append", default=[], help="every text matches it; may be repeated")
    add("--only", help="words, or a file of them: every text is made of these")
    add("--contain", help="word,word: every text has them all")
    add("--mode", default="plain", help="plain, or guided: with a second, autoregressive model")
    add("--ar_dir", help="guided: the workdir of that model, with tokenizer and rows like these")
    add("--alpha", type=float, default=0.3, help="guided: 1 is diffusion alone, 0 the other alone")
    add("--watch", action="store_true", help="shows the text as it fills in")
    add("--interactive", action="store_true", help="asks for prompts; :help there")
    flags.several(parser)
    args = parser.parse_args()
    return args, [name for name in vars(args) if getattr(args, name) != parser.get_default(name)]


def main():
    args, given = arguments()

    from utils import cache, checkpoint, hosts, places

    cache.enable()
    hosts.connect(args)
    args.out = places.Mirror(args.out or f"{args.load_dir}/generated")
    args.load_dir = places.run(args.load_dir, args.step)
    args.weak_dir, args.ar_dir = map(places.run, (args.weak_dir, args.ar_dir))
    text = "max_seq_len" in checkpoint.config_of(args.load_dir, args.step)
    strange = [name for name in given if name in (IMAGES if text else TEXT)]
    if strange:
        kind = "text" if text else "images"
        raise ValueError(f"{args.load_dir} is a model of {kind}, which has no --{strange[0]}")
    lone = [name for name in given if name in ("ar_dir", "alpha")]
    if lone and args.mode != "guided" and not args.interactive:
        raise ValueError(f"--{lone[0]} wants --mode guided")
    (write if text else draw)(args)
    args.out.send()


def draw(args):
    """Images: a grid, the arrays, and a film of the denoising."""
    import numpy as np

    from data import pipeline
    from utils import hosts, pictures, sampling
    from utils.progress import bar

    n = 100 if args.num_samples is None else args.num_samples
    run = sampling.restored(args.load_dir, args.step, args.vae, solver=args.solver)
    labels = sampling.class_labels(args.classes, run.recipe.num_classes, n)
    interval = sampling.guidance_interval(args.cfg_interval)
    weak = sampling.restored(args.weak_dir, vae=args.vae) if args.weak_dir else None
    sampler = sampling.sampler(
        run, steps=args.denoise_timesteps, scale=args.cfg_scale, interval=interval, weak=weak,
        seed=args.seed, batch_size=args.batch_size,
    )  # fmt: skip

    out = args.out.folder
    out.mkdir(parents=True, exist_ok=True)
    progress = bar(n, "image", title="sampling")
    batches = []
    for x in sampler(labels):
        batches.append(pipeline.to_bytes(x))
        progress.update(len(x))
    progress.close()
    x = np.concatenate(batches)
    columns = min(n, 10)
    if hosts.first():
        pictures.save_grid(out / "grid.png", x[:400], columns)
        classes = {"arr_1": labels} if run.recipe.num_classes else {}
        np.savez(out / "samples.npz", arr_0=x, **classes)  # as ADM's evaluator has them
    written = "grid.png, samples.npz"
    if not args.no_film:
        film = sampler(labels[: min(100, n)], trajectory=True)
        frames = np.concatenate([pipeline.to_bytes(part) for part in film], axis=1)
        frames = frames[np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).astype(int)]
        if hosts.first():
            pictures.save_animation(out / "denoising.gif", frames, columns)
        written += ", denoising.gif"
    print(f"{len(x)} images of {run.name}; {written} in {args.out}")


def write(args):
    """Texts: on the terminal, and in a file."""
    from utils import console, hosts

    settings = console.Settings.of(args)
    session = console.Session(args.load_dir, args.step, args.ar_dir)
    if args.interactive:
        return console.talk(session, settings)
    texts = session.write(args.prompt, settings)
    out = args.out.folder
    out.mkdir(parents=True, exist_ok=True)
    if hosts.first():
        (out / "samples.txt").write_text("\n\n".join(texts) + "\n")
    print(f"{len(texts)} texts of {session.run.name}; samples.txt in {args.out}")


if __name__ == "__main__":
    flags.run(main)
