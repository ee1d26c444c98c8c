"""Without jax2onnx its check is one line; with it, the two graphs say the same."""

import sys

import pytest

for module in ("torch", "onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason="exports want '.[edge]'")

from jetson import checks, crosscheck  # noqa: E402
from jetson.package import Package  # noqa: E402


def test_without_jax2onnx_it_says_how_to_get_it(exported, monkeypatch):
    run, folder = exported["images"]
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    probe = crosscheck.probes(run, Package(folder))[0]
    with pytest.raises(ValueError, match="jax2onnx is not here .*; --help tells how to install it"):
        crosscheck.by_jax2onnx(run, probe, 23)
    assert "pip install --no-deps --target" in crosscheck.__doc__


@pytest.mark.parametrize("kind", ["images", "text"])
def test_probes_are_what_the_exported_graph_takes(exported, kind):
    run, folder = exported[kind]
    package = Package(folder)
    ours = package.denoiser("onnxruntime")
    for i, x, t, label in crosscheck.probes(run, package):
        said = ours(*x, package.modulation(i, label))
        assert checks.largest(said, run.apply(*x, t, label)) <= 5e-5


def test_both_graphs_say_the_same(process, exported, image_run):
    """In a process of its own: jax2onnx leaves flax.linen changed."""
    pytest.importorskip("jax2onnx", reason="jax2onnx is not installed")
    words = ("-m", "jetson.crosscheck", "--load_dir", image_run, "--export", exported["images"][1])
    said = process(*words).communicate(timeout=600)[0]
    assert "ours and jax2onnx's" in said and "apart" in said.splitlines()[-1]
