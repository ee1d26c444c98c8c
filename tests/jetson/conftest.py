"""Small runs with parameters at random, saved as a train script saves them."""

import contextlib
import types
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from configs import flow, text
from data import tokenizer
from utils import checkpoint, recipe, recipe_text

WORDS = ["the cat sat on the mat and a dog sat on the log while a bird sang"]


class State(NamedTuple):
    step: int
    ema: Any


def save(folder, config, built, facts, initial):
    """A checkpoint of step 7, every parameter drawn: zeros would hide what lies behind them."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: initial(built, key), jax.random.key(0))

    def draw(path, leaf):
        spread = 0.1 if leaf.ndim == 1 else (leaf.size / leaf.shape[-1]) ** -0.5
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jax.numpy.asarray(rng.normal(around, spread, leaf.shape), "float32")

    ema = jax.tree_util.tree_map_with_path(draw, shapes)
    flat = dict(config.items()) | {
        f"{group}.{k}": v
        for group in ("model", "process", "sampler")
        for k, v in config[group].items()
    }
    flat = {k: v for k, v in flat.items() if k not in ("model", "process", "sampler", "wandb")}
    with checkpoint.Checkpoints(folder / "checkpoints") as saved:
        saved.save(State(np.int32(7), ema), flat, facts | {"position": 7})
    return folder


@pytest.fixture(scope="session")
def image_run(tmp_path_factory):
    """Flow matching by a DiT on 8x8 images of three classes."""
    c = flow.get_config()
    with c.unlocked():
        c.model.update(
            preset=None, hidden_size=16, depth=1, num_heads=2, mlp_ratio=2.0, patch_size=4
        )
    c.sampler.denoise_timesteps = 6
    built = recipe.image(c, (8, 8, 1), 3)
    facts = {"shape": [8, 8, 1], "num_classes": 3}
    return save(tmp_path_factory.mktemp("image"), c, built, facts, recipe.initial)


@pytest.fixture(scope="session")
def text_run(tmp_path_factory):
    """Masked text."""
    return of_text(tmp_path_factory.mktemp("text"))


SPARSE = {  # (model, process) of sparse text
    "candidates": ({}, dict(spread=0.6, shift=5.0)),
    "bilateral": (dict(name="bilateral", time_embedding="mlp"), dict(schedule="cosine")),
    "slots": (dict(name="bilateral", full=True, positions="learned"), dict(spread=0.8)),
}


@pytest.fixture(scope="session")
def sparse_runs(tmp_path_factory):
    """{key of SPARSE: run}: clocks of their own and one clock, over all kinds of candidates."""
    process = dict(name="sparse", candidates=3)
    return {
        name: of_text(tmp_path_factory.mktemp(name), model, process | own)
        for name, (model, own) in SPARSE.items()
    }


@pytest.fixture
def text_with(tmp_path):
    """text_with(model, process) -> a run of text of such fields."""
    return lambda *fields: of_text(tmp_path, *fields)


def of_text(folder, model=None, process=None):
    """A run of text in rows of 4 to 10 words, which end in padding."""
    c, words = text.get_config(), tokenizer.train_words(WORDS)
    with c.unlocked():
        c.model.update(hidden_size=16, depth=1, num_heads=2, d_ff=24, dtype="bfloat16")
        c.model.update(model or {})
        c.process.update(process or {})
    c.max_seq_len, c.sampler.denoise_timesteps = 10, 12
    words.save(folder / "tokenizer.json")
    lengths = np.linspace(4, 10, 101).astype(int).tolist()
    facts = {"tokenizer": words.hash, "rows": {"begin": True, "lengths": lengths}}
    built = recipe_text.text(c, words.size, padded=True)
    return save(folder, c, built, facts, recipe_text.initial)


@pytest.fixture(scope="session")
def exported(image_run, text_run, tmp_path_factory):
    """{kind: (run, folder)}, made by the script's own function: the images of a fixed batch, with
    two of their classes, the text of any."""
    from jetson import export
    from jetson.trained import trained

    out = {}
    for kind, source, dynamic in (("images", image_run, False), ("text", text_run, True)):
        run, folder = trained(source), tmp_path_factory.mktemp(kind)
        wanted = export.labels(run, "0,2" if kind == "images" else "all")
        export.write(run, folder, wanted, 2, dynamic)
        out[kind] = run, folder
    return out


@pytest.fixture(scope="session")
def sparse_exports(sparse_runs, tmp_path_factory):
    """{key of SPARSE: (run, folder)}; that of "bilateral" is of a fixed batch."""
    from jetson import export
    from jetson.trained import trained

    out = {}
    for name, source in sparse_runs.items():
        run, folder = trained(source), tmp_path_factory.mktemp(name)
        export.write(run, folder, export.labels(run, "all"), 2, name != "bilateral")
        out[name] = run, folder
    return out


ORIN = {"gpu": "Orin", "capability": "8.7", "multiprocessors": 8}


@pytest.fixture
def device(monkeypatch):
    """A machine with a GPU and TensorRT 10.3, as far as can be seen from Python."""
    import torch

    from jetson import engine, session
    from tests.jetson import fake_tensorrt

    stream = types.SimpleNamespace(cuda_stream=7, synchronize=lambda: None)
    machine = ORIN | {"tensorrt": fake_tensorrt.__version__}
    monkeypatch.setattr(engine, "here", lambda: (fake_tensorrt, machine))
    monkeypatch.setattr(session, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda s: contextlib.nullcontext())
    fake_tensorrt.calls.clear()
    return machine


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """torch's threads wait for each other on a busy machine."""
    try:
        import torch
    except ImportError:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    """The kernels, compiled for this CPU."""
    pytest.importorskip("torch", reason="the kernels' wrappers want torch")
    from jetson import kernels, setup_kernels

    try:
        path = setup_kernels.host(tmp_path_factory.mktemp("kernels") / "tandem_host.so")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return kernels.Kernels(path)
