"""bench.export: contestants that run the same network."""

import pytest

for package in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="the contestants are made of it")

from bench import export  # noqa: E402


def test_every_size_is_the_one_that_is_named():
    full, tiny = export.contests(tiny=False), export.contests(tiny=True)
    assert [c.title for c in full] == [
        "a DiT, width 192, 4 layers, one call",
        "a transformer, width 384, 6 layers, one call",
        "a text, width 384, 6 layers, 25 steps of all its tokens",
    ]
    for contest in (*full, *tiny):
        assert [c.name for c in contest.contestants] == [*export.WAYS.values()]
    assert [c.amount for c in full] == [1, 1, 25]


def test_all_ways_say_the_same():
    """Of a text: its network is the transformer's, so that one export serves both."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, _, text = export.contests(tiny=True)
        found = [contestant.setup()() for contestant in text.contestants]
        fields = text.contestants[0].setup.args[0]
        for way in ("eager", "frozen"):
            mean_square = export.call(fields, way, 4)()
            assert mean_square > 0.1
            found.append(mean_square)
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2] > 4
    assert found[3] == pytest.approx(found[4], rel=1e-4)


@pytest.mark.slow
def test_all_ways_draw_the_same_image():
    dit, _, _ = export.contests(tiny=True)
    found = [contestant.setup()() for contestant in dit.contestants]
    assert found == pytest.approx([found[0]] * 3, rel=1e-4) and found[0] > 0.01
