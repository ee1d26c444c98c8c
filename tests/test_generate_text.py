"""generate.py, eval_text.py and prepare_data.py on a text model of a few steps."""

import json
import re
import runpy
import sys

import numpy as np
import pytest

TINY = ["--model.hidden_size", "32", "--model.depth", "1", "--model.num_heads", "2"]
TINY += ["--model.d_ff", "64", "--batch_size", "16", "--log_interval", "100"]
TINY += ["--eval_interval", "100000", "--max_seq_len", "24", "--ema_decay", "0.9"]
TEXT = "the cat sat on the mat. the dog sat on the log. a bird sang to the cat. " * 60


def trained(folder, *words, text=TEXT):
    """The workdir of a short run on a text."""
    (folder / "t.txt").write_text(text)
    argv = ["train_text.py", "--dataset_name", f"text:{folder / 't.txt'}", *TINY]
    argv += ["--workdir", folder / "run", "--max_steps", 60, "--lr", "1e-2", "--warmup", "5"]
    old, sys.argv = sys.argv, [*map(str, argv), *words]
    try:
        runpy.run_path("train_text.py", run_name="__main__")
    finally:
        sys.argv = old
    return folder / "run"


@pytest.fixture(scope="session")
def words_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("words"), "--tokenizer", "words", "--pack")


@pytest.fixture(scope="session")
def padded_run(tmp_path_factory):
    """Rows of several lengths: BOS, a document, EOS, PAD."""
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(TEXT.split(), rng.integers(1, 6))) for _ in range(300)]
    folder, text = tmp_path_factory.mktemp("padded"), "<|endoftext|>".join(documents)
    return trained(folder, "--tokenizer", "characters", "--nopack", text=text)


@pytest.fixture(scope="session")
def ar_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ar")
    return trained(folder, "--tokenizer", "words", "--pack", "--process.name", "autoregressive")


@pytest.fixture
def write(script, words_run, tmp_path):
    """(refusal, texts, what was printed) of generate.py on the words run."""

    def run(*words, load_dir=words_run):
        refusal, out = script(
            "generate.py",
            "--load_dir",
            load_dir,
            "--out",
            tmp_path,
            "--denoise_timesteps",
            6,
            *words,
        )
        path = tmp_path / "samples.txt"
        return refusal, path.read_text().strip("\n").split("\n\n") if path.exists() else [], out

    return run


# -- generate.py


def test_a_checkpoint_directory_is_enough(write):
    refusal, texts, out = write("--num_samples", 3)
    assert refusal == "" and len(texts) == 3 and "3 texts of" in out
    assert all(f"[{n}] {text}" in out for n, text in enumerate(texts, 1))
    assert set(re.findall(r"\w+", " ".join(texts))) <= set(re.findall(r"\w+", TEXT))


@pytest.mark.parametrize("solver", ["ancestral", "confidence", "remask_cap", "first_hitting"])
def test_every_text_begins_with_the_prompt_whatever_the_solver(write, solver):
    refusal, texts, _ = write("--prompt", "the bird sat", "--solver", solver, "--num_samples", 3)
    assert refusal == "" and all(t.startswith("the bird sat") for t in texts)


def test_gaps_are_filled_and_given_words_stay(write):
    _, texts, _ = write("--prompt", "a [2] on the {log|mat} [*] the bird.", "--num_samples", 4)
    assert len(texts) == 4
    for text in texts:
        assert re.match(r"a\b.* on the (log|mat)\b", text) and text.endswith("the bird.")


def test_the_same_seed_writes_the_same_text_in_any_batch(write):
    _, whole, _ = write("--num_samples", 3, "--seed", 5)
    _, single, _ = write("--num_samples", 2, "--seed", 5, "--batch_size", 1)
    assert whole[:2] == single
    _, other, _ = write("--num_samples", 3, "--seed", 6)
    assert other != whole


def test_every_text_satisfies_its_constraints(write):
    refusal, texts, _ = write("--regex", r"(the|a) .*cat.*dog.*", "--num_samples", 6)
    assert refusal == "" and all(re.fullmatch(r"(the|a) .*cat.*dog.*", t) for t in texts)
    _, texts, _ = write("--contain", "bird,log", "--prompt", "the mat", "--num_samples", 4)
    assert all({"bird", "log"} <= set(t.split()) | {w.strip(".") for w in t.split()} for t in texts)
    _, texts, _ = write("--only", "the,cat,sat,on,mat", "--num_samples", 4)
    assert set(re.findall(r"\w+", " ".join(texts))) <= {"the", "cat", "sat", "on", "mat"}


def test_blocks_temperature_and_guidance_by_the_prompt_run(write):
    words = ["--block_size", 6, "--temperature", 0.5, "--top_k", 5, "--top_p", 0.9]
    words += ["--rounds", 2]
    refusal, texts, _ = write(*words, "--prompt", "the cat", "--prompt_scale", 2.0)
    assert refusal == "" and all(t.startswith("the cat") for t in texts)


def test_watching_shows_a_text_that_fills_in(write):
    refusal, texts, out = write("--watch", "--num_samples", 1, "--prompt", "the cat")
    assert refusal == ""
    blocks = [line.count("░░░") for line in out.splitlines() if line.startswith("the cat")]
    assert blocks[0] == 22 and blocks[-1] == 0 and blocks == sorted(blocks, reverse=True)
    assert texts[0] in out


def test_rows_of_several_lengths_end_where_they_should(write, padded_run):
    refusal, texts, _ = write("--num_samples", 6, "--length", 12, load_dir=padded_run)
    assert refusal == "" and all(len(t) <= 11 for t in texts)
    _, texts, _ = write("--num_samples", 6, load_dir=padded_run)
    assert len({len(t) for t in texts}) > 1
    refusal, *_ = write("--length", 99, load_dir=padded_run)
    assert re.search(r"--length 99: .* learnt rows of \d+ to 24", refusal)
    refusal, *_ = write("--length", 12)
    assert "learnt rows of one length, 24 tokens" in refusal


def test_the_autoregressive_baseline_writes_and_keeps_its_prompt(write, ar_run):
    refusal, texts, _ = write("--prompt", "the bird", "--num_samples", 2, load_dir=ar_run)
    assert refusal == "" and all(t.startswith("the bird") for t in texts)
    refusal, *_ = write("--regex", ".*cat.*", load_dir=ar_run)
    assert re.search("constraints want a masked model; .* is autoregressive", refusal)


def test_a_talk_takes_prompts_settings_and_mistakes(script, words_run, tmp_path, monkeypatch):
    lines = iter(
        [":set num_samples 2", ":set denoise_timesteps 4", "the cat", ":again", "a dragon"]
        + [":set heat 1", ":set top_k many", ":show", ":help", ":fly", ":set regex the dog.*", ""]
    )
    monkeypatch.setattr("builtins.input", lambda _: next(lines, None) or _end(lines))
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path))
    refusal, out = script("generate.py", "--load_dir", words_run, "--interactive")
    assert refusal == ""
    assert len(re.findall(r"\[[12]\] the cat", out)) == 4, "two, and two of the next seed"
    assert "does not know 'dragon'" in out and "no setting 'heat'; there are num_samples" in out
    assert "top_k wants int" in out and "num_samples = 2" in out and "no command ':fly'" in out
    assert len(re.findall(r"\[[12]\] the dog", out)) == 2, "an empty line is a prompt as well"


def _end(lines):
    """An empty line once, then the end of the input."""
    if getattr(_end, "done", False):
        raise EOFError
    _end.done = True
    return ""


@pytest.mark.parametrize(
    "words, message",
    [
        (["--prompt", "the dragon"], "does not know 'dragon'"),
        (["--prompt", "the cat " * 30], "has 60 tokens, and a row of this model 24"),
        (["--regex", "the (cat"], "regular expression"),
        (["--regex", "(the ){40}"], "no text"),
        (["--prompt", "the cat", "--regex", "a .*"], "no text"),
        (["--solver", "best"], "no solver 'best'; there are ancestral, random"),
        (["--denoise_timesteps", "0"], "wants at least 1"),
        (["--num_samples", "0"], "wants at least 1"),
        (["--seed", "-1"], "--seed wants 0 or more"),
        (["--top_k", "-1"], "--top_k wants 0 or more"),
        (["--top_p", "2"], "--top_p wants a share"),
        (["--temperature", "-1"], "--temperature wants 0.0 or more"),
        (["--cfg_scale", "2"], "is a model of text, which has no --cfg_scale"),
    ],
)
def test_bad_input_is_one_line(write, words, message):
    refusal, *_ = write(*words)
    assert re.search(message, refusal) and "\n" not in refusal, refusal


def test_a_tokenizer_that_is_not_the_runs_own_is_refused(write, words_run, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(words_run, other)
    (other / "tokenizer.json").write_text('{"type": "words", "words": [" a"]}')
    refusal, *_ = write(load_dir=other)
    assert re.search("is not what .* was trained with: its hash is", refusal)
    (other / "tokenizer.json").unlink()
    refusal, *_ = write(load_dir=other)
    assert "no tokenizer at" in refusal


def test_a_prompt_finds_a_row_that_has_room_for_it(write, padded_run):
    """Lengths are drawn, but never one that the prompt or the constraint does not fit into."""
    from data.tokenizer import PAD
    from utils import writing

    known, _ = writing.asked(writing.restored(padded_run), "the cat [9]", 20)
    room = (known != PAD).sum(-1)
    assert (room > 1 + 7 + 9).all() and len(set(room.tolist())) > 1
    refusal, texts, _ = write("--regex", "[a-z .]{15}", "--num_samples", 6, load_dir=padded_run)
    assert refusal == "" and all(len(t) == 15 for t in texts)


def test_sampling_of_a_model_without_masks_has_no_orders(write, ar_run):
    refusal, *_ = write("--solver", "confidence", load_dir=ar_run)
    assert re.search("--solver wants a masked model; .* is autoregressive", refusal)
    refusal, *_ = write("--rounds", 2, load_dir=ar_run)
    assert re.search("--rounds wants masked text, or .*; .* is autoregressive", refusal)
    refusal, *_ = write("--prompt", "the cat", "--prompt_scale", 2, load_dir=ar_run)
    assert "--prompt_scale wants a masked model" in refusal


# -- eval_text.py


def test_the_score_of_a_model_is_a_table_and_a_json(script, words_run, ar_run, tmp_path):
    out_path = tmp_path / "score.json"
    words = ["--num_samples", 8, "--levels", 8, "--rows", 16, "--judge", ar_run]
    words += ["--latency", "12,24x2", "--denoise_timesteps", 6, "--out", out_path]
    refusal, out = script("eval_text.py", "--load_dir", words_run, *words)
    assert refusal == ""
    r = json.loads(out_path.read_text())
    assert r["bound"]["kind"] == "bound on -log p" and 0 < r["bound"]["nats_per_token"] < 5
    assert r["bound"]["perplexity"] == pytest.approx(np.exp(r["bound"]["nats_per_token"]))
    assert (
        all(0 <= right <= 1 for _, right in r["bound"]["accuracy"])
        and len(r["bound"]["accuracy"]) == 8
    )
    for part in ("samples", "held_out"):
        assert 0 < r[part]["distinct_1"] <= r[part]["distinct_3"] <= 1
        assert r[part]["judge"]["nats"] > 0
    assert r["held_out"]["judge"]["nats"] < np.log(20), "the judge has learnt something"
    assert len(r["latency"]) == 4 and all(t["tokens_per_second"] > 0 for t in r["latency"])
    assert "nats/token" in out and "held out" in out and "tokens/s" in out


def test_the_same_score_twice(script, words_run, tmp_path):
    found = []
    for name in "ab":
        words = ["--num_samples", 4, "--levels", 4, "--rows", 8, "--denoise_timesteps", 4]
        script("eval_text.py", "--load_dir", words_run, *words, "--out", tmp_path / name)
        found.append((tmp_path / name).read_text())
    assert found[0] == found[1]


def test_of_an_autoregressive_model_the_likelihood_is_exact(script, ar_run, tmp_path):
    words = ["--num_samples", 0, "--rows", 16, "--out", tmp_path / "s.json"]
    refusal, out = script("eval_text.py", "--load_dir", ar_run, *words)
    assert refusal == "" and "-log p of" in out and "bound" not in out.split("in ")[0]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--judge", "nowhere"], "nowhere is not there"),
        (["--judge", "model.bin"], "wants its tokenizer too"),
        (["--latency", "64"], "wants LENGTHSxSTEPS"),
        (["--levels", "0"], "--levels wants 1 or more"),
        (["--denoise_timesteps", "0"], "wants at least 1"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(script, words_run, words, message):
    refusal, _ = script("eval_text.py", "--load_dir", words_run, *words)
    assert re.search(message, refusal) and "\n" not in refusal, refusal


def test_text_that_is_not_the_runs_own_is_refused(script, tmp_path):
    run = trained(tmp_path, "--tokenizer", "words", "--pack", "--max_steps", "2")
    (tmp_path / "t.txt").write_text(TEXT.replace("cat", "dog"))
    refusal, _ = script("eval_text.py", "--load_dir", run)
    assert "is not the text that" in refusal and "may have been learnt" in refusal


def test_a_diffusion_model_is_no_judge(script, words_run):
    refusal, _ = script("eval_text.py", "--load_dir", words_run, "--judge", words_run)
    assert "is masked; a judge wants --process.name autoregressive" in refusal


# -- prepare_data.py


def test_a_corpus_is_prepared_once(script, tmp_path):
    (tmp_path / "t.txt").write_text(TEXT)
    words = ["--dataset_name", f"text:{tmp_path / 't.txt'}", "--tokenizer", "characters"]
    for _ in range(2):
        refusal, out = script("prepare_data.py", *words, "--max_seq_len", 16)
        assert refusal == "" and "rows to train on" in out and "of 16 tokens" in out
    refusal, _ = script("prepare_data.py", *words, "--max_seq_len", 100_000)
    assert "less than a row of 100000" in refusal
    (tmp_path / "t.txt").write_text("")
    refusal, _ = script("prepare_data.py", *words)
    assert "has no text to" in refusal
