"""bench.mfu: both sides train the same network by the same loss, and it is counted once."""

import math
from functools import partial

import jax
import pytest

from bench import mfu, report
from tests.bench.test_harness import competed, results

torch = pytest.importorskip("torch", reason="the other side is made of torch")
KINDS = {"image": 1.0 + 1.0 / 3.0, "text": math.log(mfu.WORDS)}  # losses of who knows nothing


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Several wait for each other, which takes minutes on a busy machine; and rows are short."""
    monkeypatch.setattr(mfu, "LENGTH", 64)
    threads, device = torch.get_num_threads(), torch.get_default_device()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_default_device(device)


def work(kind):
    return partial(mfu.build, kind, "debug", 4)


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_begins_as_ours_does_and_learns(kind):
    run = mfu.torch_mirror.training(work(kind), 1, "cpu", compiled=False)
    assert run() == pytest.approx(KINDS[kind], rel=0.3), "of four examples, with chance in it"
    with pytest.raises(ImportError, match="not made for a tpu"):
        mfu.torch_mirror.training(work(kind), 1, "tpu", compiled=False)


@pytest.mark.parametrize("kind", KINDS)
def test_both_networks_are_of_one_size_and_pytorch_counts_the_same(kind):
    """Its text projects all places, ours those that are hidden: half of them."""
    from torch.utils.flop_counter import FlopCounterMode

    config, built, batch = work(kind)()
    network = mfu.torch_mirror.mirror(config)  # spelt out: what is fused on a CPU is not counted
    ours = jax.eval_shape(lambda: mfu.initial(built))
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.size for p in jax.tree.leaves(ours)
    )
    loss = mfu.torch_mirror.LOSSES[config.model.name]
    with FlopCounterMode(display=False) as counter:
        loss(network, {k: torch.as_tensor(v) for k, v in batch.items()}).backward()
    spared = 3 * 4 * mfu.LENGTH * 64 * mfu.WORDS if kind == "text" else 0
    counted = mfu.operations(work(kind)) + spared
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_leaves_nothing_on_the_processor(kind, monkeypatch):
    """As would fail on a GPU; the device without numbers stands for it."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda device, dtype: autocast("cpu", dtype))
    config, _, batch = work(kind)()
    torch.set_default_device("meta")
    network = mfu.torch_mirror.fused(mfu.torch_mirror.mirror(config))
    batch = {k: torch.as_tensor(v).to("meta") for k, v in batch.items()}
    found = mfu.torch_mirror.LOSSES[config.model.name](network, batch)
    found.backward()
    assert found.device.type == "meta"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_traces_the_loss_as_one_graph(kind):
    config, _, batch = work(kind)()
    torch.set_default_device("cpu")
    loss = partial(
        mfu.torch_mirror.LOSSES[config.model.name],
        mfu.torch_mirror.fused(mfu.torch_mirror.mirror(config)),
    )
    call = torch.compile(loss, backend="aot_eager", fullgraph=True)
    found = call({k: torch.as_tensor(v) for k, v in batch.items()})
    assert float(found.detach()) == pytest.approx(KINDS[kind], rel=0.3)


def test_fused_attention_is_attention():
    config, _, batch = work("text")()
    network = mfu.torch_mirror.mirror(config)
    torch.manual_seed(0)
    for p in network.parameters():
        p.data.normal_(0.0, 0.1)
    x, t = torch.as_tensor(batch["x"]).long()[:, :8], torch.full((4,), 0.5)
    network.cos, network.sin = network.cos[:8], network.sin[:8]
    plain = network(x, t)
    torch.testing.assert_close(mfu.torch_mirror.fused(network)(x, t), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ours_is_the_product_s_step_and_begins_there_too(kind):
    run = mfu.ours(work(kind), 2, scan_layers=True)
    first = run()
    assert first == pytest.approx(KINDS[kind], rel=0.3)
    assert run() != first, "it goes on from where it was"


def test_all_rows_are_held_against_the_same_work(monkeypatch):
    assert mfu.device_here() == ("cpu", "cpu")
    monkeypatch.setattr(mfu, "device_here", lambda: ("gpu", "NVIDIA H200"))
    monkeypatch.setattr(mfu, "operations", lambda work: 7.0)
    found = mfu.contests(tiny=False, batch=3)
    assert [c.title.split(",")[0] for c in found] == [*mfu.IMAGES, *mfu.TEXTS]
    assert found[0].title == "DiT-B, 3 images a step, on NVIDIA H200"
    assert all((c.operations, c.peak, c.amount) == (70.0, 989e12, 10) for c in found)
    assert [c.name for c in found[0].contestants] == [*mfu.WAYS, "torch.compile"]


def test_the_table_tells_the_share_of_the_peak_or_why_not():
    """Of "a" a run takes 2 s in the median, of "b" 8."""
    known = report.markdown(results(competed(operations=4e12, peak=8e12)))
    assert "| difference | TFLOP/s | MFU |" in known and "no MFU" not in known
    assert "| 2.00 | 25.0% |" in known and "| 0.500 | 6.2% |" in known
    unknown = report.markdown(results(competed(operations=4e12)))
    assert "| 2.00 | - |" in unknown and "no MFU: the peak of this device is not known" in unknown
    assert "MFU" not in report.markdown(results(competed()))
