"""bench.train_image: contestants of the same size that train."""

from functools import partial

import pytest

from bench import checkout, own_step, torch_step, train_image


def test_a_step_of_torch_lowers_the_loss_and_moves_the_average():
    torch = pytest.importorskip("torch", reason="it is torch's")
    torch.manual_seed(0)
    network, told = torch.nn.Linear(3, 1), []

    def loss(net):
        value = (net(torch.ones(4, 3)) - 5.0).square().mean()
        told.append(value.item())
        return value

    run = torch_step.stepping(network, loss)
    assert [run() for _ in range(20)] == [4.0] * 20, "three weights and a bias"
    assert told == sorted(told, reverse=True) and told[-1] < told[0]


def test_every_kind_of_work_has_this_project_first_and_says_its_size():
    for contest in train_image.contests(tiny=False)[:-1]:
        first, *others = contest.contestants
        assert first.name == "this project" and len(others) >= 3
        assert contest.amount in (2, 8, 16) and f"batch {contest.amount}" in contest.title
    last = train_image.contests(tiny=False)[-1]
    depths = [c.setup.keywords["model__depth"] for c in last.contestants]
    assert depths[1] == 2 * depths[0] and last.at_most == 2.4


def test_unets_are_alike_in_size():
    torch = pytest.importorskip("torch", reason="the peers are made of torch")
    from jetson import models
    from models import unet

    for preset, (title, shape, _, _) in train_image.UNETS.items():
        fields = {"groups": 32} | unet.PRESETS[preset]
        fields.pop("dropout", None)
        with torch.device("meta"):
            network = models.create("unet", shape=shape, **fields)
        size = sum(p.numel() for p in network.parameters()) / 1e6
        assert f"{size:.3g}".rstrip("0") in title or f"{size:.2f}" in title


def test_a_checkout_is_recognised_and_loaded_by_its_place(tmp_path):
    (tmp_path / "diffusion_transformer.py").write_text("WIDTH = 7\n")
    found = checkout.recognise([str(tmp_path)], ["jax-flow", "DiT"])
    assert found == {"jax-flow": str(tmp_path)}
    assert checkout.module(found["jax-flow"], "diffusion_transformer.py").WIDTH == 7
    with pytest.raises(ValueError, match="is no checkout of md4 or mdlm"):
        checkout.recognise([str(tmp_path)], ["md4", "mdlm"])
    with pytest.raises(ImportError, match="--peer-path"):
        checkout.module(None, "models.py")


def test_knobs_are_the_configs(monkeypatch):
    seen = []
    monkeypatch.setattr(own_step, "stepping", lambda config, *rest, **more: seen.append(config))
    partial(own_step.image, (8, 8, 3), 2, **{"model__patch_size": 4, "model__depth": 3})()
    assert (seen[0].model.patch_size, seen[0].model.depth, seen[0].batch_size) == (4, 3, 2)


@pytest.mark.slow
@pytest.mark.parametrize("number, kind", enumerate(["DiT", "UNet"]))
def test_whoever_is_here_trains_and_the_mirror_has_as_many_parameters(number, kind):
    pytest.importorskip("torch", reason="the mirror is made of torch")
    contest, found, absent = train_image.contests(tiny=True)[number], {}, {}
    assert contest.title.startswith(kind)
    for contestant in contest.contestants:
        try:
            found[contestant.name] = contestant.setup()()
        except ImportError as error:
            absent[contestant.name] = str(error)
    assert found["this project"] == found["mirror, torch eager"]
    assert min(found.values()) > 5_000
    assert kind == "UNet" or "wants --peer-path" in absent["jax-flow"]
