"""bench.scaling_samples: what is counted, what is fitted, and that it runs."""

import json

import numpy as np
import pytest

from bench import scaling_samples
from bench.sample_text import Size


def test_a_power_law_is_found():
    x = np.array([1, 2, 4, 8])
    assert scaling_samples.exponent(x, 0.3 * x**1.7) == pytest.approx(1.7)


def test_work_grows_with_what_is_called_and_ends_at_a_call_a_place():
    work = lambda **fields: scaling_samples.work(Size(64, 1)._replace(**fields))
    assert work(batch=8) / work() == pytest.approx(8.0, rel=0.03)
    assert work(steps=2) / work(steps=1) == pytest.approx(2.0, rel=0.35)
    assert work(steps=10**7) == pytest.approx(work(steps=10**5), rel=1e-2)
    last = work(steps=10**7) - work(steps=10**7, depth=3)
    d, length = 256, 128
    assert last == pytest.approx(length * length * (24 * d * d + 4 * length * d), rel=1e-3)


def test_the_command_writes_numbers_and_a_picture(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="there is a picture")
    monkeypatch.setattr(scaling_samples.machine, "confine", lambda threads: None)
    scaling_samples.main(["--tiny", "--rounds", "1", "--out", str(tmp_path)])
    curves = json.loads((tmp_path / "scaling_samples.json").read_text())["curves"]
    assert [curve["grows"] for curve in curves] == ["steps", "length", "batch"]
    assert all(min(curve["wall"]) > 0 for curve in curves)
    assert (tmp_path / "scaling_samples.png").stat().st_size > 1000
    assert "of the roof" in capsys.readouterr().out
