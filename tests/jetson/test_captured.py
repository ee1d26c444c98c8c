"""A generation that is recorded: what draw.py draws, without ever asking the device."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a graph is captured of torch's work")
for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="exports want '.[edge]'")

from jetson import captured, draw  # noqa: E402
from jetson.package import Package  # noqa: E402

N = 6


@pytest.fixture(params=["torch", "kernels"])
def library(request):
    """None, or the kernels run on this CPU."""
    return request.getfixturevalue("emulated") if request.param == "kernels" else None


@pytest.mark.parametrize("solver", ["ancestral", "confidence"])
def test_text_is_the_same_for_each_seed_that_is_replayed(exported, library, solver):
    """Some tokens are given: where all are hidden all places say the same, and are equally sure
    but for rounding."""
    package = Package(exported["text"][1])
    denoise, known = package.denoiser("torch"), np.full((N, *package.config["shape"]), -1)
    known[np.arange(N), np.arange(N)], known[:, 6], known[2, 7:] = 5, 7, package.config["pad_id"]
    body = captured.network(package, library=library)
    write = captured.Text(package, body, N, solver=solver, library=library, temperature=0.9)
    assert "no CUDA here" in write.why or torch.cuda.is_available()
    for seed, first, temperature in ((0, 0, 0.9), (7, 100, 1.4)):
        index = np.arange(first, first + N)
        ask = dict(seed=seed, temperature=temperature)
        theirs = draw.tokens(package, denoise, index, known, solver=solver, **ask)
        ours = write(index, known, **ask)
        assert (ours == theirs).all()
        assert len({tuple(row) for row in ours}) == N


@pytest.mark.parametrize(
    "solver, scale", [("ddim", 1.0), ("ddim", 2.5), ("heun", 2.5), ("dpm2m", 2.5)]
)
def test_images_are_the_same_for_each_seed_that_is_replayed(exported, solver, scale):
    package = Package(exported["images"][1])
    package.config["sampler"]["clip"] = 1.0
    denoise = package.denoiser("torch")
    body = captured.network(package)
    paint = captured.Images(package, body, N, solver=solver, guided=scale != 1.0)
    for seed, labels in ((0, [0, 2] * 3), (7, [2] * 6)):
        ask = (np.arange(N), np.array(labels, np.int32))
        theirs = draw.images(package, denoise, *ask, seed=seed, scale=scale, solver=solver)
        ours = paint(*ask, seed=seed, scale=scale)
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_nothing_of_a_generation_is_read_back_before_its_end(exported):
    """On torch's "meta" device there is nothing to read: a step that asked would raise."""
    text, images = (Package(exported[kind][1]) for kind in ("text", "images"))
    for solver in ("ancestral", "confidence"):
        body = captured.network(text, "fp16", "meta")
        captured.Text(text, body, N, solver=solver, where="meta").run()
    for solver in ("ddim", "heun", "dpm2m"):
        body = captured.network(images, "fp16", "meta")
        captured.Images(images, body, N, solver=solver, where="meta").run()


class Graph:
    """What torch.cuda.CUDAGraph is to `recorded`, of a machine without one."""

    def __init__(self):
        self.replays = 0

    def replay(self):
        self.replays += 1


class Anything:
    def __init__(self, *_):
        pass

    wait_stream = __enter__ = __exit__ = lambda self, *_: None


def test_where_there_is_cuda_the_steps_are_recorded_once_and_replayed(monkeypatch):
    for name in ("Stream", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, Anything)
    monkeypatch.setattr(torch.cuda, "current_stream", Anything)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    runs = []
    replay, why = captured.recorded(lambda: runs.append(1), "cuda")
    assert why == "" and len(runs) == 2  # to warm up, and to be recorded
    replay(), replay()
    assert replay.__self__.replays == 2 and len(runs) == 2


def test_a_body_that_cannot_be_captured_runs_step_by_step(monkeypatch):
    for name in ("Stream", "stream", "graph", "current_stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, Anything)

    def run():
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    replay, why = captured.recorded(run, "cuda")
    assert replay is run
    assert why.startswith("no CUDA graph: operation not permitted") and "more" not in why


@pytest.mark.parametrize(
    "kind, fields, message",
    [
        (
            "text",
            {"solver": "margin"},
            "made for --solver ancestral and confidence and .* got margin",
        ),
        ("text", {"top_k": 3}, "got ancestral, 1.0, --top_k 3"),
        ("text", {"temperature": 0.0}, "above 0, other backends for more; got ancestral, 0.0"),
        ("text", {"noise": "gumbel"}, "gumbel noise is drawn by the kernels alone: python jetson/"),
        (
            "images",
            {"solver": "churn"},
            "no solver 'churn' in a graph; there are ddim, dpm2m, heun",
        ),
    ],
)
def test_what_is_not_captured_is_said_in_a_line(exported, kind, fields, message):
    package = Package(exported[kind][1])
    make = {"text": captured.Text, "images": captured.Images}[kind]
    with pytest.raises(ValueError, match=message):
        make(package, captured.network(package), 1, **fields)


@pytest.mark.parametrize("steps", [None, 3])
def test_as_a_backend_it_draws_what_the_others_draw(exported, steps, capsys):
    text, images = (Package(exported[kind][1]) for kind in ("text", "images"))
    index, known = np.arange(2), np.full((2, *text.config["shape"]), -1)
    labels = np.array([2, 0], np.int32)
    drawn = {}
    for name in ("torch", "graph"):
        denoise = text.denoiser(name)
        ask = dict(seed=5, steps=steps, temperature=0.8)
        ids = [draw.tokens(text, denoise, index, known, **ask) for _ in range(2)]
        denoise = images.denoiser(name)
        x = [draw.images(images, denoise, index, labels, scale=s, steps=steps) for s in (1.0, 3.0)]
        drawn[name] = (*ids, *x)
    for ours, theirs in zip(drawn["graph"], drawn["torch"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    assert "no CUDA here: torch does what the kernels would do" in capsys.readouterr().err
    denoise, allowed = text.denoiser("graph"), np.ones((10, 17), bool)
    with pytest.raises(ValueError, match="a graph knows no choices such as .red|blue."):
        draw.tokens(text, denoise, index, known, allowed=allowed)


class Session:
    """What an engine does, by torch: it reads and writes the tensors that it is bound to."""

    def __init__(self, package, batch):
        self.body = captured.network(package, where="cpu")
        shape, width = package.config["shape"], package.schedule["modulation"].shape[-1]
        size = package.config["network"]["features"]
        self.tensors = {
            "x": torch.zeros(batch, *shape, dtype=torch.int64),
            "modulation": torch.zeros(batch, width),
            "out": torch.zeros(batch, *shape, size),
        }

    def enqueue(self, stream):
        assert stream == "current"
        self.tensors["out"].copy_(self.body(self.tensors["x"], self.tensors["modulation"]))


def test_the_body_may_be_an_engine_that_is_bound_to_tensors(exported, emulated, monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "current")
    package = Package(exported["text"][1])
    known = np.full((N, *package.config["shape"]), -1)
    by = dict(library=emulated, where="cpu")
    theirs = captured.Text(package, captured.network(package, where="cpu"), N, **by)
    ours = captured.Text(package, captured.bound(Session(package, N)), N, **by)
    assert (ours(np.arange(N), known) == theirs(np.arange(N), known)).all()


def test_guidance_that_was_not_recorded_is_refused(exported):
    package = Package(exported["images"][1])
    paint = captured.Images(package, captured.network(package), 1, guided=False)
    with pytest.raises(ValueError, match="recorded without guidance: --cfg_scale wants 1; got 2.0"):
        paint(np.arange(1), np.zeros(1, int), scale=2.0)
    with pytest.raises(ValueError, match="class 1 was not exported; there are 0, 2"):
        paint(np.arange(1), np.ones(1, int))
