"""Trains a text model: masked, uniform-state, sparse or embedding diffusion, or left to right.

    python train_text.py --config=configs/stories.py
    python train_text.py --dataset_name shakespeare --data_dir PATH --process.name uniform

Running the same command again continues where it stopped.
"""

import sys

from utils import config as flags
from utils import pages

SHOWN = ("loss", "bits_per_char", "masked_accuracy", "mask_rate", "noise_accuracy", "noise_rate")
SHOWN += ("accuracy", "grad_norm")
EVAL_TOKENS, SAMPLE_TOKENS = 32_768, 4_096  # of a look at the model while it trains


def main():
    config = flags.parse(sys.argv, "configs/text.py")

    # What is heavy is imported only once the flags are known to be good.
    import jax

    from data import pipeline
    from utils import cache, checkpoint, devices, flops, hosts, loop, places, recipe_text
    from utils.progress import Reporter
    from utils.wandb import Metrics

    cache.enable()
    hosts.connect(config)
    devices.shareable(config.batch_size, config.accumulate)
    corpus, rows = texts(config)
    batches = in_order(config, corpus)

    build = builder(config, corpus, rows)
    built = build(config)
    key_init, key_train, key_eval = jax.random.split(jax.random.key(config.seed), 3)
    initial = lambda: recipe_text.initial(built, key_init)
    state, step, rate = loop.learner(config, built.loss, initial, key_train)

    home = places.home(config)
    workdir = home.fetch(places.log)
    record = flags.flatten(config)
    facts = {"seed": config.seed, "tokenizer": corpus.tokenizer.hash, "text": corpus.hash}
    saves = checkpoint.Checkpoints(home / "checkpoints", config.keep)
    state, _ = saves.restore(state, flags.agreement(record, facts, home)) or (state, None)
    if hosts.first():
        corpus.tokenizer.save(workdir / "tokenizer.json")
    print(headline(config, corpus, state, home), flush=True)

    metrics = Metrics(workdir, record, dict(config.wandb), config.tensorboard)
    one, length = pipeline.Batches({"x": corpus.valid}, 1)(0), config.max_seq_len
    work = flops.per_example(build(flops.spelt_out(config)).loss, state.params, one)
    report = Reporter(config, metrics, rate, "tokens", int(state.step), length, SHOWN, work)
    look = evaluator(config, built, corpus, rows, key_eval, workdir, report)

    def told(state, m):
        report(state, m | {"bits_per_char": recipe_text.bits(m["loss"], corpus)})

    def save(state, _):
        saves.save(state, record, facts | {"rows": rows, "position": int(state.step)})

    hooks = loop.hooks(config, told, save, look, home.send)
    with batches, saves, metrics, report:
        state, signal = loop.fit(state, step, batches, config.max_steps, hooks)
    report.farewell(int(state.step), signal, home)


def texts(config):
    """(The corpus, which process 0 prepares, and what sampling has to know of its rows)."""
    from data import text
    from utils import hosts, places, writing

    with hosts.first_first():
        corpus = text.of(config, places.Mirror(config.data_dir).fetch())
    return corpus, writing.describe(corpus)


def in_order(config, corpus):
    """The batches of this process, read ahead; where epochs are asked for, how many it takes."""
    import jax

    from data import pipeline

    config.max_steps = pipeline.steps(config, len(corpus.train))
    process, processes = jax.process_index(), jax.process_count()
    batches = pipeline.Batches(
        {"x": corpus.train}, config.batch_size, seed=config.seed, process=process,
        processes=processes,
    )  # fmt: skip
    return pipeline.Ahead(batches, end=config.max_steps)


def builder(config, corpus, rows):
    """config -> recipe, for this corpus."""
    from utils import recipe_table, recipe_text, writing

    padded = writing.ends_in_padding(rows, config.max_seq_len)
    table = recipe_table.rows(config, corpus.tokenizer)
    return lambda c: recipe_text.text(c, corpus.tokenizer.size, padded, table=table)


def headline(config, corpus, state, home) -> str:
    import jax

    size = sum(p.size for p in jax.tree.leaves(state.params))
    return (
        f"{config.dataset_name}: {len(corpus.train)} rows of {config.max_seq_len} tokens, "
        f"vocabulary {corpus.tokenizer.size}; {config.process.name}, "
        f"{size / 1e6:.2f} M parameters; "
        f"{jax.device_count()} {jax.default_backend()} device(s); "
        f"step {int(state.step)} of {config.max_steps}; {home}"
    )


def evaluator(config, built, corpus, rows, key, workdir, report):
    """A hook: the bound on held-out text, and a page of samples; of stories, how many are ones."""
    import numpy as np

    from data import stories
    from data.tokenizer import PAD
    from utils import recipe_text, scoring, text_metrics, writing

    score = recipe_text.scorer(built)
    built = built._replace(ends=writing.sentence_ends(corpus.tokenizer))
    draw = recipe_text.drawer(built, config.sampler.denoise_timesteps)
    length = config.max_seq_len
    held_out = corpus.valid[: max(EVAL_TOKENS // length, 1)].astype(np.int32)
    levels = 1 if config.process.name == "autoregressive" else 8
    known = np.tile(writing.blank(rows, length), (max(SAMPLE_TOKENS // length, 1), 1))
    if config.process.name != "autoregressive":  # which ends where it says so
        ends = writing.behind(rows["lengths"], length, len(known), config.seed)
        known = np.where(ends, PAD, known)

    def evaluate(state, _):
        number = int(state.step)
        found = scoring.bound(score, state.ema, held_out, key, levels=levels)
        drawn = draw(state.ema, key, np.arange(len(known)), known)
        texts = writing.texts(corpus.tokenizer, np.asarray(drawn), first=rows["begin"])
        path = workdir / "samples" / f"{number:07d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(texts) + "\n")
        bits = recipe_text.bits(found.nats, corpus)
        shown = {"nats_per_token": found.nats, "standard_error": found.error}
        shown["valid_bits_per_char"] = bits
        worth, true = "", text_metrics.true_nats(corpus)
        if true:
            shown["valid_stories"] = float(np.mean([stories.parse(t) is not None for t in texts]))
            worth = (
                f" (true entropy {true:.4f})  {shown['valid_stories']:.0%} of samples are stories"
            )
        report.metrics.log(number, **shown)
        report.say(
            f"step {number:6d}  bound {found.nats:.4f} +- {found.error:.4f} nats/token, "
            f"{bits:.3f} bits/char{worth}  samples in {path}\n  {texts[0]!r}"
        )

    return evaluate


if __name__ == "__main__":
    pages.huge()
    flags.run(main)
