"""Scores a text model: its bound on held-out text, what it writes, and how fast.

    python eval_text.py --load_dir runs/stories
    python eval_text.py --load_dir runs/tinystories --judge stories260K.bin,tok512.bin
    python eval_text.py --load_dir runs/stories --judge runs/stories_ar --latency 32,64x8,32

Beside each number about samples stands the same number for held-out text: a sample is not meant
to be better than that. A table is printed; all of it is in LOAD_DIR/text_score.json.
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
    add("--seed", type=int, default=0)
    add("--out", help="where the JSON goes (LOAD_DIR/text_score.json)")
    return parser.parse_args()


def main():
    args = arguments()

    from data import text
    from utils import cache, recipe_judge, report_text, writing

    cache.enable()
    names = ("solver", "denoise_timesteps", "temperature", "top_k", "top_p", "block_size")
    run = writing.restored(args.load_dir, args.step, **{k: getattr(args, k) for k in names})
    grid = report_text.grid(args.latency)
    judge = recipe_judge.load(args.judge) if args.judge else None
    c = run.config
    corpus = text.load(
        c.dataset_name, args.data_dir or c.data_dir, max_seq_len=c.max_seq_len,
        tokenizer=run.tokenizer, pack=not run.rows["begin"],
    )  # fmt: skip

    result = {"run": run.name, "weights": "ema", "seed": args.seed, "process": c.process.name}
    result["bound"] = report_text.likelihood(run, corpus, args.rows, args.levels, args.seed)
    if args.num_samples:
        rows = report_text.drawn(run, args.num_samples, args.seed, args.batch_size)
        result["sampler"] = {"n": args.num_samples, **c.sampler}
        result["samples"] = report_text.measured(run, rows, judge, corpus)
        real = corpus.valid[: args.num_samples]
        result["held_out"] = report_text.measured(run, real, judge, corpus)
    if grid:
        result["latency"] = report_text.latency(run, grid, args.seed)
    print(report_text.table(result))
    path = Path(args.out or Path(args.load_dir) / "text_score.json")
    path.write_text(json.dumps(result, indent=1, default=str))
    print(f"in {path}")


if __name__ == "__main__":
    flags.run(main)
