"""bench.sample_image: contests that run."""

import pytest

from bench import sample_image


@pytest.mark.slow
def test_every_contestant_runs():
    pytest.importorskip("torch", reason="the peers are made of torch")
    pytest.importorskip("diffusers", reason="one peer is its network")
    (contest,) = sample_image.contests(tiny=True)
    assert contest.amount == 2 and len(contest.contestants) == 4
    for contestant in contest.contestants:
        assert contestant.setup()() is None
