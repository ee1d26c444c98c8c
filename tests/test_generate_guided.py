"""generate.py --mode guided: two models of a few steps write one text."""

import re
import runpy
import sys

import pytest

TINY = ["--model.hidden_size", "32", "--model.depth", "1", "--model.num_heads", "2"]
TINY += ["--model.d_ff", "64", "--batch_size", "16", "--log_interval", "1000", "--ema_decay", "0.9"]
TINY += ["--eval_interval", "100000", "--lr", "1e-2", "--warmup", "1", "--pack"]
TEXT = "the cat sat on the mat. the dog sat on the log. a bird sang to the cat. " * 60
GREEDY = ("--temperature", 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained("uniform", steps=2) -> the workdir of a short run on a text, each made once."""
    made, folder = {}, tmp_path_factory.mktemp("guided")
    (folder / "t.txt").write_text(TEXT)

    def train(kind, steps=2, tokenizer="words", length=16, pack=None):
        name = f"{kind}_{steps}_{tokenizer}_{length}_{pack}"
        if name not in made:
            words = ["--dataset_name", f"text:{folder / 't.txt'}", "--tokenizer", tokenizer, *TINY]
            words += [] if pack is None else ["--pack", pack]
            words += ["--process.name", kind, "--max_steps", steps, "--max_seq_len", length]
            old, sys.argv = sys.argv, ["train_text.py", *map(str, words)]
            sys.argv += ["--workdir", str(folder / name)]
            try:
                runpy.run_path("train_text.py", run_name="__main__")
            finally:
                sys.argv = old
            made[name] = folder / name
        return made[name]

    return train


@pytest.fixture
def write(script, trained, tmp_path):
    """(refusal, texts, what was printed) of generate.py, by default on a masked run."""

    def run(*words, load_dir=None, guided=True):
        load_dir = load_dir or trained("masked")
        guide = ("--mode", "guided", "--ar_dir", trained("autoregressive", 40)) if guided else ()
        words = ("--out", tmp_path, "--denoise_timesteps", 5, "--num_samples", 2, *guide, *words)
        refusal, out = script("generate.py", "--load_dir", load_dir, *words)
        path = tmp_path / "samples.txt"
        return refusal, path.read_text().strip("\n").split("\n\n") if path.exists() else [], out

    return run


def test_alpha_zero_writes_what_the_autoregressive_run_writes(write, trained):
    prompt = "a bird sat"
    words = ("--prompt", prompt, *GREEDY)
    refusal, texts, _ = write(*words, "--alpha", 0)
    assert refusal == ""
    alone = write(*words, load_dir=trained("autoregressive", 40), guided=False)[1]
    assert texts == alone and texts[0].startswith(prompt) and len(texts[0].split()) > 8
    assert texts != write(*words, guided=False)[1]


def test_alpha_one_writes_what_the_diffusion_run_writes(write):
    words = ("--prompt", "the dog", "--seed", 3)
    one, plain = write(*words, "--alpha", 1)[1], write(*words, guided=False)[1]
    assert one == plain and one != write(*words)[1]


@pytest.mark.parametrize("kind", ["sparse", "embedding"])
def test_it_guides_whatever_the_noise_is(write, trained, kind):
    words = ("--prompt", "a bird", *GREEDY)
    refusal, texts, _ = write(*words, "--alpha", 0, load_dir=trained(kind))
    assert refusal == ""
    assert texts == write(*words, "--alpha", 0)[1], "that of the expert, as with masks"


def test_gaps_constraints_and_watching_go_with_it(write):
    refusal, texts, out = write("--prompt", "a [2] on the {log|mat} [*] cat.", "--watch")
    assert refusal == "" and "░░░" in out
    assert all(re.match(r"a\b.* on the (log|mat)\b.* cat\.$", text) for text in texts)
    refusal, texts, _ = write("--contain", "bird,log", "--prompt_scale", 1.5, "--prompt", "the")
    assert refusal == "" and all(re.match("the.*(bird.*log|log.*bird)", t) for t in texts)


def test_a_talk_changes_alpha_and_mode(script, trained, tmp_path, monkeypatch):
    typed = [":set temperature 0", ":set num_samples 1", "the"]
    typed += [":set mode guided", ":set alpha 0", "the", ":set alpha 7", "the", ":set mode odd"]
    lines = iter([*typed, "the", ":quit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path))
    dirs = ("--load_dir", trained("masked"), "--ar_dir", trained("autoregressive", 40))
    refusal, out = script("generate.py", *dirs, "--interactive", "--denoise_timesteps", 5)
    assert refusal == ""
    plain, guided = re.findall(r"\[1\] (.*)", out)
    assert plain != guided, "plain until it was set"
    assert "--alpha wants 0 to 1; got 7.0" in out and "no mode 'odd'; there are plain" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--mode", "guided"], "--mode guided wants --ar_dir"),
        (["--mode", "best"], "no mode 'best'; there are plain, guided"),
        (["--ar_dir", "{ar}"], "--ar_dir wants --mode guided"),
        (["--mode", "guided", "--ar_dir", "{ar}", "--alpha", "1.5"], "--alpha wants 0 to 1"),
        (["--mode", "guided", "--ar_dir", "{masked}"], "wants an autoregressive .* is masked"),
        (["--mode", "guided", "--ar_dir", "{letters}"], "wants the tokenizer of .*; .* has"),
        (["--alpha", "0.5"], "--alpha wants --mode guided"),
        (["--mode", "guided", "--ar_dir", "{packed}"], "wants the kind of rows .*, .*; .* has .*"),
        (["--mode", "guided", "--ar_dir", "{short}"], "wants the row length of .*, 16; .* has 8"),
        (["--mode", "guided", "--ar_dir", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_guided_is_refused_in_one_line(write, trained, words, message):
    runs = {
        "{ar}": lambda: trained("autoregressive", 40),
        "{masked}": lambda: trained("masked"),
        "{letters}": lambda: trained("autoregressive", tokenizer="characters"),
        "{packed}": lambda: trained("autoregressive", pack=0),
        "{short}": lambda: trained("autoregressive", length=8),
    }
    words = [runs[word]() if word in runs else word for word in words]
    refusal, *_ = write(*words, guided=False)
    assert re.search(message, refusal) and "\n" not in refusal, refusal


def test_an_autoregressive_run_is_not_guided(write, trained):
    refusal, *_ = write(load_dir=trained("autoregressive", 40))
    assert re.search("--mode guided wants a diffusion model; .* is autoregressive", refusal)


@pytest.mark.parametrize("solver", ["content", "openings"])
def test_orders_of_coarse_structure_are_solvers_by_name(write, solver):
    refusal, texts, _ = write("--solver", solver, "--prompt", "the cat", guided=False)
    assert refusal == "" and all(text.startswith("the cat") for text in texts)
    texts = [write("--solver", name, "--seed", 4, guided=False)[1] for name in (solver, "random")]
    assert texts[0] != texts[1]


def test_a_sentence_ends_with_a_mark_or_a_document(trained):
    from data.tokenizer import BOS, EOS
    from utils import writing

    run = writing.restored(trained("masked"))
    pieces = run.tokenizer.pieces()
    ends = {pieces[i] or i for i in range(len(pieces)) if run.recipe.ends[i]}
    assert ends == {".", BOS, EOS}
    assert writing.changed(run, solver="openings").recipe.ends is run.recipe.ends


def test_the_same_seed_writes_the_same_guided_text_in_any_batch(write):
    many = write("--num_samples", 3)[1]
    assert many[:2] == write("--num_samples", 2, "--batch_size", 1)[1]


@pytest.mark.parametrize("kind", ["sparse", "embedding"])
def test_a_score_with_latency_of_every_kind_of_noise(script, trained, kind, tmp_path):
    words = ["--num_samples", 2, "--levels", 2, "--rows", 4, "--denoise_timesteps", 2]
    words += ["--latency", "16x2", "--out", tmp_path / "score.json"]
    refusal, out = script("eval_text.py", "--load_dir", trained(kind), *words)
    assert refusal == "" and "tokens/s" in out
