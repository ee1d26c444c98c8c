"""Scores a text model: its bound on held-out text, what it writes, and how fast.

    python eval_text.py --load_dir runs/stories
    python eval_text.py --load_dir runs/tinystories --judge stories260K.bin,tok512.bin
    python eval_text.py --load_dir runs/stories --judge runs/stories_ar --latency 32,64x8,32

Beside each number about samples stands the same number for held-out text: a sample is not meant
to be better than that. A table is printed; all of it is in LOAD_DIR/text_score.json.
"""

import argparse
import json

from utils import config as flags


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--load_dir", required=True, help="workdir of train_text.py")
    add("--step", type=int, help="checkpoint; the newest by default")
    add("--data_dir", help="where named corpora live (the checkpoint's)")
    add("--rows", type=int, default=1024, help="held-out rows for the bound; 0: all")
    add("--levels", type=int, default=32, help="noise levels a row")
    add("--num_samples", type=int, default=256, help="texts to draw; 0: none")
    add("--batch_size", type=int, default=64)
    add("--judge", help="a run of train_text.py (autoregressive), or MODEL.bin,TOKENIZER.bin")
    add("--latency", help="LENGTHSxSTEPS to be timed, such as 64,128x16,32")
    add("--solver", help="see configs/text.py (the config's)")
    add("--denoise_timesteps", type=int, help="solver steps (the config's)")
    add("--temperature", type=float, help="of sampling (the config's)")
    add("--top_k", type=int, help="of sampling (the config's)")
    add("--top_p", type=float, help="of sampling (the config's)")
    add("--block_size", type=int, help="of sampling (the config's)")
    add("--rounds", type=int, help="of sampling (the config's)")
    add("--seed", type=int, default=0)
    add("--out", help="where the JSON goes (LOAD_DIR/text_score.json)")
    flags.several(parser)
    return parser.parse_args()


def main():
    args = arguments()
    for name, least in (("rows", 0), ("levels", 1), ("num_samples", 0), ("batch_size", 1)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name} wants {least} or more; got {getattr(args, name)}")

    from data import text
    from utils import cache, hosts, places, recipe_judge, report_text, table_text, writing

    cache.enable()
    hosts.connect(args)
    path = places.place(args.out or f"{args.load_dir}/text_score.json")
    args.load_dir = places.run(args.load_dir, args.step)
    run = writing.restored(args.load_dir, args.step)
    run = writing.changed(run, **{name: getattr(args, name) for name in writing.SAMPLER})
    writing.writer(run)  # refuse now what could not be drawn later
    grid = report_text.grid(run, args.latency)
    judge = recipe_judge.load(args.judge) if args.judge else None
    corpus = text.of(run.config, places.Mirror(args.data_dir or run.config.data_dir).fetch())
    if corpus.hash != run.facts["text"]:
        raise ValueError(
            f"{corpus.name} is not the text that {run.name} was trained on (rows {corpus.hash}, "
            f"wanted {run.facts['text']}): what is held out now may have been learnt"
        )

    result = {"run": run.name, "weights": "ema", "seed": args.seed}
    result |= {"process": run.config.process.name}

    def keep(**parts):
        result.update(parts)
        if hosts.first():
            path.write_text(json.dumps(result, indent=1))

    keep(
        bound=report_text.likelihood(
            run, corpus, args.rows, args.levels, args.seed, args.batch_size
        )
    )
    if args.num_samples:
        n = min(args.num_samples, len(corpus.valid))
        rows = report_text.drawn(run, n, args.seed, args.batch_size)
        keep(
            sampler={"n": n, **writing.sampler_of(run)},
            samples=report_text.measured(run, rows, judge, corpus),
            held_out=report_text.measured(run, corpus.valid[:n], judge, corpus),
        )
    if grid:
        keep(latency=report_text.latency(run, grid, args.seed))
    print(table_text.table(result))
    print(f"in {path}")


if __name__ == "__main__":
    flags.run(main)
