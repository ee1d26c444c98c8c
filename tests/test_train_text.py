"""train_text.py as a user runs it: every process and config for three steps, resuming, refusals."""

import json
import re

import numpy as np
import pytest

TINY = ["--model.hidden_size", "32", "--model.depth", "2", "--model.num_heads", "2"]
TINY += [
    "--model.d_ff",
    "64",
    "--batch_size",
    "8",
    "--log_interval",
    "1",
    "--sampler.denoise_timesteps",
    "2",
]


@pytest.fixture(autouse=True)
def few_stories(monkeypatch):
    from data import documents

    monkeypatch.setattr(documents, "STORIES", {"train": (0, 200), "valid": (1, 40)})


@pytest.fixture
def train(script):
    return lambda workdir, *words: script("train_text.py", "--workdir", workdir, *TINY, *words)


def logged(workdir, name="loss"):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: r[name] for r in rows if name in r}


@pytest.mark.parametrize(
    "process",
    [
        ["masked"], ["uniform"], ["autoregressive"], ["sparse", "--model.name", "bilateral"],
        ["sparse", "--process.candidates", "2", "--process.loss", "bound"],
        ["embedding", "--process.dim", "16"],
        ["embedding", "--process.dim", "16", "--process.learned", "1"],
        ["masked", "--process.self_conditioning", "topk"],
        ["sparse", "--process.self_conditioning", "topk"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_three_steps_of_every_process(train, tmp_path, process):
    refusal, out = train(tmp_path, "--max_steps", "3", "--process.name", *process)
    assert refusal == "" and "done: 3 steps" in out
    assert re.search(r"bound [\d.]+ \+- [\d.]+ nats/token.*true entropy 0.4006", out)
    bound = logged(tmp_path, "nats_per_token")[3]
    assert np.isfinite(bound) and bound > 0.7 * np.log(399), "it has learnt nothing yet"
    assert len((tmp_path / "samples" / "0000003.txt").read_text().split("\n\n")) == 64
    assert (tmp_path / "tokenizer.json").exists()


FILES = {
    "tinystories_cpu": ("train.txt", "heldout.txt"),
    "tinystories": ("train.txt", "heldout.txt"),
    "tinystories_sdd": ("train.txt", "heldout.txt"),
    "shakespeare": ("input.txt",),
    "shakespeare_embedding": ("input.txt",),
    "text8": ("text8",),
}


@pytest.mark.parametrize("name", ["stories", "stories_sparse", "stories_embedding", *FILES])
def test_three_steps_of_every_config(script, tmp_path, name):
    rng, words = (
        np.random.default_rng(0),
        ["once", "upon", "a", "time", "there", "was", "an", "old", "owl"],
    )
    folder = tmp_path / name.split("_")[0]
    folder.mkdir()
    for file in FILES.get(name, ()):
        (folder / file).write_text(" ".join(rng.choice(words, 3000)))
    words = [f"--config=configs/{name}.py", "--data_dir", tmp_path, "--workdir", tmp_path / "run"]
    words += [*TINY, "--vocab_size", "300", "--max_steps", "3"]
    refusal, out = script("train_text.py", *words)
    assert refusal == "" and "done: 3 steps" in out
    line = next(line for line in out.splitlines() if line.startswith("step      3/3"))
    noise = "mask" if "masked_accuracy" in line else "noise"
    for told in ("loss", "bits_per_char", f"{noise}_rate", "accuracy", "tokens/s", "left"):
        assert told in line
    assert (noise == "noise") == name.endswith(("_sparse", "_embedding", "_sdd"))


def test_padding_is_seen_by_nobody(tmp_path):
    """The bound of a row does not change with the room behind it."""
    import jax

    from utils import config as flags
    from utils import recipe_text

    words = ["x", *TINY, "--model.positions", "rope", "--max_seq_len", "12"]
    config = flags.parse(words, "configs/text.py")
    built = recipe_text.text(config, 20, padded=True)
    params = recipe_text.initial(built, jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(1), 99))
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(next(keys), p.shape), params)
    x = np.random.default_rng(0).integers(5, 20, (4, 12))
    longer = np.pad(x, ((0, 0), (0, 7)))
    t = np.full(4, 0.5, np.float32)
    short, long = (built.apply(params, row, t, {}) for row in (x, longer))
    np.testing.assert_allclose(long[:, :12], short, rtol=1e-4, atol=1e-4)
    unaware = recipe_text.text(config, 20).apply(params, longer, t, {})
    assert abs(unaware[:, :12] - short).max() > 1e-2


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(train, tmp_path):
    words = ["--lr_schedule", "constant", "--eval_interval", "100000"]
    train(tmp_path / "a", *words, "--max_steps", "6")
    train(tmp_path / "b", *words, "--max_steps", "3")
    refusal, out = train(tmp_path / "b", *words, "--max_steps", "6")
    assert refusal == "" and "step 3 of 6" in out
    assert logged(tmp_path / "a") == logged(tmp_path / "b")


def test_a_small_text_is_learnt(train, tmp_path):
    """One sentence over and over: the bound falls far below that of a uniform guess."""
    (tmp_path / "t.txt").write_text("the cat sat on the mat. " * 400)
    words = ["--dataset_name", f"text:{tmp_path / 't.txt'}", "--tokenizer", "characters"]
    words += [
        "--max_seq_len",
        "24",
        "--max_steps",
        "150",
        "--lr",
        "1e-2",
        "--warmup",
        "5",
        "--pack",
    ]
    refusal, _ = train(tmp_path / "run", *words, "--ema_decay", "0.9", "--log_interval", "50")
    assert refusal == ""
    assert logged(tmp_path / "run", "nats_per_token")[150] < 0.6 * np.log(17)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--dataset_name", "storys"], "no text corpus 'storys'; did you mean stories"),
        (["--dataset_name", "text:/nowhere.txt"], "/nowhere.txt"),
        (["--process.name", "maskd"], "no process.name 'maskd'; did you mean 'masked'"),
        (["--process.schedule", "ddpm"], "no process.schedule 'ddpm'.*linear"),
        (["--sampler.solver", "greedy"], "no solver 'greedy'; there are ancestral"),
        (["--model.positions", "none"], "no positions 'none'; there are rope, sincos"),
        (["--model.preset", "huge"], "no transformer preset 'huge'; there are debug, tiny"),
        (["--tokenizer", "letters"], "no tokenizer 'letters'"),
    ],
)
def test_bad_input_is_one_line_that_says_what_there_is(train, tmp_path, words, message):
    refusal, _ = train(tmp_path / "run", "--max_steps", "2", *words)
    assert re.search(message, refusal) and "\n" not in refusal, refusal
    assert not (tmp_path / "run").exists(), "nothing is left behind"
