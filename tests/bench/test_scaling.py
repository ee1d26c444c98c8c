"""bench.scaling: laws of known times, and what a step is made of."""

import json

import pytest

from bench import harness, machine, report, scaling


def results():
    """Depth costs in proportion, width its square; the product does 2 GFLOP in a second."""
    kept = {"memory": None}
    row = lambda name, wall, value: kept | dict(name=name, wall=[wall], cpu=[wall], value=value)
    contest = lambda title, *rows: report.judged(
        harness.Contest(title, [], "step")._asdict() | {"rows": list(rows), "absent": {}}
    )
    facts = {"cpu": "A Processor", "machine_cores": 2, "threads": 1, "rounds": 1, "tiny": False}
    facts |= {"date": "2026-11-25", "commit": "22d8e09", "versions": {"jax": "0.10.2"}}
    facts |= {"load_before": 0.5, "load_after": 1.25}
    contests = [contest(scaling.PRODUCT, row("1000", 1.0, 2e9))]
    contests.append(contest("depth", row("depth 2", 1.0, 1e9), row("depth 8", 4.0, 4e9)))
    contests.append(contest("width", row("width 10", 0.1, 1e8), row("width 40", 1.6, 1.6e9)))
    return {"bench": "scaling", "facts": facts, "contests": contests}


def test_exponents_and_roofs_of_known_times():
    depth, width = scaling.laws(results())
    assert depth["exponent"] == pytest.approx(1.0) and width["exponent"] == pytest.approx(2.0)
    assert depth["roof"] == [0.5, 2.0] and depth["sizes"] == [2, 8]


def test_laws_are_kept_told_and_drawn(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    scaling.save(tmp_path / "scaling", results())
    kept = json.loads((tmp_path / "scaling.json").read_text())
    assert [law["axis"] for law in kept["laws"]] == ["depth", "width"]
    assert "time ~ width^2.00 at [10, 40]; of the roof 50%, 50%" in capsys.readouterr().out
    first, second = scaling.figure(kept).axes
    assert first.get_xscale() == second.get_yscale() == "log"


def test_operations_are_those_of_the_parameters():
    """6 a weight and token where attention and vocabulary are nothing, as is the rule of thumb."""
    weights = weights_of_blocks(depth=3, width=64)
    found = scaling.operations(depth=3, width=64, length=1, batch=1, vocabulary=0)
    assert found == pytest.approx(6 * weights, rel=0.02)


def weights_of_blocks(depth, width):
    """Weights of the matrices that every token goes through."""
    import jax
    import jax.numpy as jnp

    import models

    fields = dict(hidden_size=width, depth=depth, num_heads=1, d_ff=4 * width, vocab_size=8)
    model = models.create("transformer", features=8, **fields)
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32), jnp.ones(1), {}
    )
    blocks = [shapes[f"blocks_{i}"] for i in range(depth)]
    kept = [block[part] for block in blocks for part in ("attention", "up", "down")]
    return sum(a.size for a in jax.tree.leaves(kept) if a.ndim == 2)


def test_every_axis_goes_through_the_base():
    for contest in scaling.contests(tiny=False)[1:]:
        values = scaling.AXES[contest.title]
        assert scaling.BASE[contest.title] in values and len(contest.contestants) == len(values)


@pytest.mark.slow
def test_the_tiny_one_runs_and_stays_under_its_roof(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(machine, "confine", lambda threads: None)
    words = ["--tiny", "--out", str(tmp_path)]
    found = harness.main("scaling", "", scaling.contests, words, save=scaling.save)
    (law,) = found["laws"]
    assert law["axis"] == "batch" and all(
        r < s for r, s in zip(law["roof"], law["seconds"], strict=True)
    )
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
