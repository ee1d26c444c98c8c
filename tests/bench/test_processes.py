"""bench.processes: what it asks of the scripts, what it keeps, and how it tells what it found."""

import itertools
import json
import subprocess
import sys
import threading
import time

import pytest

from bench import child, plot_processes, processes, row, table_processes

BOUND = {"kind": "bound on -log p", "nats_per_token": 0.4161, "standard_error": 0.0018}
STORIES = {"valid": 0.895, "nats_a_story": 24.0, "different": 1.0, "true_entropy": 25.64}
FACTS = {
    "dataset": "stories", "minutes": 20.0, "seed": 0, "jobs": 1, "cpu": "A Processor", "cores": 2,
    "date": "2026-11-25", "commit": "22d8e09",
}  # fmt: skip


def state(name="masked", bound=(), samples=None, held_out=None, true=0.4006):
    """What row.json holds of a row that is done."""
    score = {"bound": BOUND | {"true_nats_per_token": true} | dict(bound)}
    score |= {"sampler": {"n": 256}, "samples": samples or {"entropy": 3.1, "stories": STORIES}}
    score |= {"held_out": held_out or {"entropy": 3.2}}
    score["latency"] = [{"batch": b, "tokens_per_second": 1000.0 * b} for b in (1, 16)]
    return {
        "name": name, "parameters": "1.38 M", "max_steps": 4400, "spent": 1194.0, "score": score,
        "seconds_a_step": 0.25, "tokens_a_step": 2048,
    }  # fmt: skip


def results(*states, **facts):
    return {"facts": FACTS | facts, "rows": [table_processes.summary(s) for s in states]}


def lines(table):
    return [line for line in table.splitlines() if line.startswith("|")]


# -- the table


def test_the_table_says_what_was_measured_of_stories():
    exact = state("ar", bound={"kind": "-log p", "nats_per_token": 0.4051})
    table = table_processes.markdown(results(exact, state()))
    head, _, ar, masked = lines(table)
    assert head == (
        "| process | parameters | steps | CPU min | nats/token | valid | nats a story | different "
        "| learns, tokens/CPU s | writes, tokens/s |"
    )
    assert ar.startswith("| ar | 1.38 M | 4,400 | 19.9 | 0.4051 ± 0.0018 (exact) |")
    assert masked == (
        "| masked | 1.38 M | 4,400 | 19.9 | 0.4161 ± 0.0018 (bound) | 89.5 % | 24.00 | 100.0 % "
        "| 8,192 | 16,000 |"
    )
    assert "stories, 20 CPU minutes each, seed 0; A Processor, 2 cores" in table
    assert "True entropy: 0.4006 nats/token, 25.64 nats a story." in table


def test_what_was_not_measured_is_a_dash():
    none = STORIES | {"valid": 0.0, "nats_a_story": None, "different": None}
    one = state(samples={"entropy": 3.0, "stories": none}) | {"seconds_a_step": None}
    one["score"].pop("latency")
    assert lines(table_processes.markdown(results(one)))[2].endswith("| 0.0 % | - | - | - | - |")


def test_of_other_texts_the_table_has_what_the_judge_says():
    judge = {"name": "runs/ar, step 800"}
    ours = {"entropy": 2.9, "judge": judge | {"perplexity": 12.3}}
    real = {"entropy": 3.01, "judge": judge | {"perplexity": 7.5}}
    one = state(samples=ours, held_out=real, true=None)
    table = table_processes.markdown(results(one, dataset="shakespeare"))
    assert "| judge's perplexity | entropy |" in table and "valid" not in table
    assert "| 12.30 | 2.900 |" in lines(table)[2]
    assert "Held-out text: entropy 3.010, perplexity 7.50 under runs/ar, step 800." in table


# -- steps for minutes


def reports(*told):
    """Lines of train_text.py with the processor seconds by then: ("8/48", 5.0) or ("24", 30.0)."""
    return [(f"step {number:>9}  loss 1.0", cpu) for number, cpu in told]


def test_neither_compiling_nor_a_look_is_counted_as_a_step():
    said = reports(("8/48", 30.0), ("16/48", 32.0), ("24/48", 34.0), ("24", 60.0), ("32/48", 62.0))
    assert child.seconds_a_step(said) == pytest.approx(0.25)
    between = reports(("8/48", 30.0), ("12", 60.0), ("16/48", 61.0))
    assert child.seconds_a_step(between) == pytest.approx(0.25), "a look between two reports"
    said = [("0 step 1/48 of nothing", 0.0), said[0], ("a warning", 31.9), *said[1:]]
    assert child.seconds_a_step(said) == pytest.approx(0.25), "only reports mark time"


def test_one_disturbed_report_does_not_move_the_estimate():
    said = reports(("8/48", 3.0), ("16/48", 5.0), ("24/48", 7.0), ("32/48", 17.0), ("40/48", 19.0))
    assert child.seconds_a_step(said) == pytest.approx(0.25)
    assert child.seconds_a_step(said[:1]) is None
    assert child.seconds_a_step([(text, None) for text, _ in said]) is None


def test_steps_fill_the_minutes_together_with_all_else():
    assert row.fitting(1200.0, 100.0, 0.25) == 4400
    with pytest.raises(row.Failed, match=r"leave no 20 steps.*--minutes 1.75 would do"):
        row.fitting(60.0, 100.0, 0.25)


@pytest.mark.parametrize(
    "words", [["--max_steps", "1_200"], ["--config.max_steps=1200"], ["--lr=1", "--max_steps=1200"]]
)
def test_steps_that_are_given_are_found_in_every_spelling(words):
    assert processes.steps_of(words) == 1200
    assert processes.steps_of(["--model.depth", "12"]) is None


# -- what is run, and what is not run again


class Scripts:
    """Stands for child.Children: notes what it is asked, and leaves what the scripts would."""

    def __init__(self):
        self.said, self.stops, self.fails = [], False, ()

    def run(self, words, log, env=None, heard=lambda line, cpu: None):
        words = [str(w) for w in words]
        flags = dict(itertools.pairwise(words))
        folder = row.Path(flags.get("--workdir") or flags["--load_dir"])
        kind, said = words[0], "done: all"
        name = flags.get("--process.name", "")
        self.said.append((kind, name, int(flags.get("--max_steps", 0)), words))
        if name in self.fails:
            return child.Ended(1, 1.0, 1.0, [("much ado", 0.5), ("train_text.py: no luck", 1.0)])
        if kind == "eval_text.py":
            (folder / "text_score.json").write_text(json.dumps(state()["score"]))
            return child.Ended(0, 7.0, 7.0, [])
        folder.mkdir(parents=True, exist_ok=True)
        config = {"batch_size": 32, "max_seq_len": 64, "process.name": name}
        config["sampler.denoise_timesteps"] = 128
        (folder / "config.json").write_text(json.dumps(config))
        if self.stops and flags["--max_steps"] != str(row.STEPS):
            said = "stopped by signal 15 at step 9, after 0:01; saved."
        out = [("stories: 9 rows; masked, 1.38 M parameters; step 0", 1.0)]
        out += reports(("8/48", 2.0), ("16/48", 4.0), ("24/48", 6.0))
        for text, cpu in out:
            heard(text, cpu)
        return child.Ended(0, 22.0, 11.0, [*out, (said, 22.0)])

    def stop(self):
        pass


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    """Runs the command with scripts that are not run: bench("--only", ...) -> (code, out)."""
    scripts = Scripts()
    monkeypatch.setattr(child, "Children", lambda: scripts)

    def run(*words, minutes="1"):
        front = ["--dataset", "stories", "--minutes", minutes, "--out", str(tmp_path / "out")]
        code = processes.main([*front, *words])
        return code, capsys.readouterr().out

    run.scripts, run.out = scripts, tmp_path / "out"
    return run


def kinds(scripts):
    return [(kind.split("_")[0], steps) for kind, _, steps, _ in scripts.said]


def test_a_row_is_calibrated_trained_and_scored(bench):
    code, out = bench("--only", "masked", "--judge", "j.bin,t.bin")
    steps = int((60.0 - (22.0 - row.STEPS * 0.25)) / 0.25)
    assert code == 0 and kinds(bench.scripts) == [
        ("train", row.STEPS),
        ("train", steps),
        ("eval", 0),
    ]
    train, score = (" ".join(said[-1]) for said in bench.scripts.said[1:])
    assert f"--eval_interval {steps // 2} --save_interval {steps // 2}" in train
    assert "--num_samples 256" in score and "--judge j.bin,t.bin" in score
    assert score.endswith("--latency 64x128")
    kept = json.loads((bench.out / "processes.json").read_text())
    assert kept["rows"][0]["steps"] == steps and kept["failed"] == {}
    assert kept["rows"][0]["cpu_minutes"] == pytest.approx(22.0 / 60.0)
    assert kept["rows"][0]["train_tokens_per_second"] == pytest.approx(2048 / 0.25)
    assert {"cpu", "cores", "commit", "date", "seed"} <= kept["facts"].keys()
    assert f"| masked | 1.38 M | {steps} |" in out and "left" in out


def test_of_a_model_that_writes_on_every_token_is_a_step(bench):
    bench("--only", "ar", "--", "--max_steps", "3")
    assert kinds(bench.scripts) == [("train", 3), ("eval", 0)], "given steps are not found out"
    assert bench.scripts.said[-1][-1][-1] == "64x64"


def test_what_is_done_is_not_done_again(bench):
    bench("--only", "masked")
    bench.scripts.said.clear()
    code, out = bench("--only", "masked", "--data_dir", "elsewhere")
    assert code == 0 and bench.scripts.said == [] and "| masked |" in out
    bench("--only", "masked", "--num_samples", "32")
    assert kinds(bench.scripts) == [("eval", 0)], "another score of the same training"


@pytest.mark.parametrize(
    "minutes, words, told",
    [("2", [], "minutes: 1.0 -> 2.0"), ("1", ["--", "--lr", "1"], "flags: .* -> .*--lr 1")],
)
def test_a_row_that_was_asked_for_in_other_words_is_refused(bench, minutes, words, told):
    bench("--only", "masked")
    with pytest.raises(ValueError, match=f"holds masked as it was asked for before.*{told}"):
        bench("--only", "masked", *words, minutes=minutes)


def test_a_stopped_training_goes_on_to_the_same_step_and_its_time_adds_up(bench):
    bench.scripts.stops = True
    code, out = bench("--only", "masked")
    assert code == 1 and "failed: masked: stopped by signal 15" in out
    steps = bench.scripts.said[-1][2]
    bench.scripts.stops = False
    bench.scripts.said.clear()
    code, _ = bench("--only", "masked")
    assert code == 0 and kinds(bench.scripts) == [("train", steps), ("eval", 0)]
    assert json.loads((bench.out / "masked" / "row.json").read_text())["spent"] == 44.0


def test_time_is_kept_while_a_training_goes_on(bench, monkeypatch):
    def killed(words, log, env=None, heard=None):
        for text, cpu in reports(("8/48", 2.0), ("16/48", 4.0)):
            heard(text, cpu)
        raise RuntimeError("and this is where all ended")

    monkeypatch.setattr(bench.scripts, "run", killed)
    bench("--only", "masked", "--", "--max_steps", "48")
    assert json.loads((bench.out / "masked" / "row.json").read_text())["spent"] == 4.0


def test_one_row_that_fails_does_not_stop_the_others(bench):
    bench.scripts.fails = ("masked",)
    code, out = bench("--only", "masked,uniform")
    assert code == 1 and out.strip().splitlines()[-1] == "failed: masked: train_text.py: no luck"
    kept = json.loads((bench.out / "processes.json").read_text())
    assert [r["name"] for r in kept["rows"]] == ["uniform"]
    assert kept["failed"] == {"masked": "train_text.py: no luck"}


def test_a_dry_run_tells_the_plan_and_does_nothing(bench):
    code, out = bench("--dry_run", "--only", "masked,ar", "--", "--model.depth", "1")
    assert code == 0 and bench.scripts.said == [] and not bench.out.exists()
    assert "ar: calibrate, train, score; steps: as many as take 1 CPU minutes" in out
    assert "--process.name masked --seed 0 --model.depth 1" in out
    assert out.index("ar: ") < out.index("masked: "), "in the order of the table"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--only", "ar,maskd"], "no row 'maskd'; did you mean 'masked'. there are ar, masked"),
        (["--jobs", "0"], "--jobs wants 1 to"),
        (["--", "--max_steps", "many"], "--max_steps wants 1 or more; got many"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(bench, words, message):
    with pytest.raises(ValueError, match=message):
        bench(*words)
    with pytest.raises(ValueError, match="--minutes wants more than 0; got 0"):
        bench(minutes="0")
    assert bench.scripts.said == []


@pytest.mark.parametrize("dataset", processes.DATASETS)
@pytest.mark.parametrize("name", processes.ROWS)
def test_train_text_knows_the_flags_of_every_row(script, dataset, name):
    args, extra = processes.arguments(["--dataset", dataset, "--minutes", "1", "--seed", "3"])
    asked = processes.asked(name, args, extra)
    refusal, out = script("train_text.py", f"--config={asked.config}", *asked.flags, "--dry_run")
    assert refusal == "" and f"dataset_name = '{dataset}'" in out and "seed = 3" in out


# -- children


def burn(seconds):
    return f"import time\nwhile time.process_time() < {seconds}: pass\nprint('burnt', flush=True)\n"


def test_processor_time_is_told_and_sleep_is_none(tmp_path):
    script, log = tmp_path / "burn.py", tmp_path / "log.txt"
    script.write_text(f"{burn(0.5)}time.sleep(1)\n")
    ended = child.Children().run([script], log)
    assert ended.code == 0 and ended.last == "burnt" and log.read_text().endswith("burnt\n")
    assert 0.5 <= ended.cpu < 0.9 and ended.wall > 1.5
    if ended.lines[0][1] is not None:  # there is a /proc
        assert 0.45 <= ended.lines[0][1] <= ended.cpu + 0.02


def test_children_are_asked_to_leave_and_no_other_starts(tmp_path):
    script, children = tmp_path / "sleep.py", child.Children()
    script.write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    heard, ended = threading.Event(), []
    work = lambda: ended.append(
        children.run([script], tmp_path / "log", heard=lambda *_: heard.set())
    )
    thread = threading.Thread(target=work)
    thread.start()
    assert heard.wait(30)
    began = time.perf_counter()
    children.stop()
    thread.join(30)
    assert ended[0].code == -15 and time.perf_counter() - began < 20
    with pytest.raises(child.Stopped):
        children.run([script], tmp_path / "log")


@pytest.mark.skipif(len(child.cores()) < 2, reason="one core alone")
def test_rows_at_once_keep_to_a_core_each():
    import queue
    from concurrent.futures import ThreadPoolExecutor

    cores, together = queue.SimpleQueue(), threading.Barrier(2)
    for core in child.cores():
        cores.put(core)
    look = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]

    def seen(_):
        together.wait(30)
        return subprocess.run(look, capture_output=True, text=True).stdout.split()

    with ThreadPoolExecutor(2, initializer=processes.pinned, initargs=(cores,)) as pool:
        one, other = pool.map(seen, range(2))
    assert len(one) == len(other) == 1 and one != other
    assert len(child.cores()) >= 2, "this thread is as free as before"


# -- the picture


def drawn(*states):
    pytest.importorskip("matplotlib")
    return plot_processes.figure(results(*states))


def words_of(axes):
    return [text.get_text() for text in axes.texts]


def test_the_picture_holds_bounds_with_their_errors_and_the_entropy():
    left, right = drawn(state("ar", bound={"kind": "-log p"}), state("masked")).axes
    ar, masked = left.containers
    assert ar[0].get_markerfacecolor() != "white" and masked[0].get_markerfacecolor() == "white"
    assert masked[0].get_ydata() == [0.4161] and left.lines[-1].get_linestyle() == "--"
    low, high = masked[1]
    assert high.get_ydata()[0] - low.get_ydata()[0] == pytest.approx(2 * 0.0018)
    assert list(left.lines[-1].get_ydata()) == [0.4006, 0.4006]
    assert right.containers[0][0].get_xdata() == [24.0] and {"ar", "masked"} <= {*words_of(right)}


def test_a_process_without_a_valid_story_is_named_and_not_drawn():
    none = STORIES | {"valid": 0.0, "nats_a_story": None}
    right = drawn(state("uniform", samples={"entropy": 3.0, "stories": none}), state()).axes[1]
    assert "uniform" not in words_of(right) and "no valid story: uniform" in right.get_title()


def test_without_stories_and_judge_there_is_one_panel():
    assert len(drawn(state(samples={"entropy": 2.9}, true=None)).axes) == 1
    judge = {"entropy": 2.9, "judge": {"name": "j", "perplexity": 9.0}}
    judged = drawn(state(samples=judge, held_out=judge, true=None)).axes
    assert len(judged) == 2 and "held-out text" in words_of(judged[1])


def test_names_of_points_that_lie_together_do_not_cover_each_other():
    right = drawn(*(state(name) for name in ("ar", "masked", "sdd_m"))).axes[1]
    named = [text for text in right.texts if text.get_text() in ("ar", "masked", "sdd_m")]
    assert len({text.xyann for text in named}) == 3


def test_the_picture_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    plot_processes.save(tmp_path / "a" / "p.png", results(state("ar"), state("masked")))
    picture = Image.open(tmp_path / "a" / "p.png").convert("L")
    assert picture.width > 1200 and picture.getextrema()[0] < 50 < 250 < picture.getextrema()[1]


# -- all of it


@pytest.mark.slow
def test_a_row_from_the_command_to_the_picture(tmp_path):
    (tmp_path / "t.txt").write_text("the cat sat on the mat. " * 400)
    words = ["--dataset", "stories", "--minutes", "0.3", "--only", "masked", "--rows", "8"]
    words += ["--out", str(tmp_path / "out"), "--num_samples", "4", "--"]
    words += ["--dataset_name", f"text:{tmp_path / 't.txt'}", "--tokenizer", "characters", "--pack"]
    words += ["--max_seq_len", "16", "--model.depth", "1", "--model.hidden_size", "32"]
    words += ["--model.num_heads", "2", "--model.d_ff", "64", "--sampler.denoise_timesteps", "4"]
    command = [sys.executable, "-m", "bench.processes", *words]
    for again in (False, True):
        ended = subprocess.run(command, cwd=child.ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ("calibrate" in ended.stdout) != again
        kept = json.loads((tmp_path / "out" / "processes.json").read_text())
        (r,) = kept["rows"]
        assert r["kind"] == "bound" and 0.1 < r["cpu_minutes"] < 0.9, "near what was asked"
        assert r["steps"] >= row.LEAST and r["write_tokens_per_second"] > 0
        assert f"| {r['name']} | {r['parameters']} | {r['steps']:,d} |" in ended.stdout
