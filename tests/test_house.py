"""The rules of the house, read from the imports."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("configs", "data", "diffusion", "models", "utils", "jetson", "bench", "deployment")
SOURCES = sorted(
    p for p in [*ROOT.glob("*.py"), *(f for r in ROOMS for f in (ROOT / r).rglob("*.py"))]
)
SCRIPTS = {p.stem for p in ROOT.glob("*.py")}
LAZY = {
    "datasets",
    "wandb",
    "torch",
    "diffusers",
    "matplotlib",
    "sklearn",
    "pyarrow",
    "tensorboardX",
    "tokenizers",
    "huggingface_hub",
    "array_record",
    "onnxruntime",
    "tensorrt",
}
WORKSTATION = {
    "export.py",
    "trained.py",
    "crosscheck.py",
}  # of jetson/: runs where the network was trained, the rest on a device


def imports(path, top_level_only=False):
    """{"package.module", ...} that a file imports; "from a import b" gives a and a.b."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def roots(path, **kwargs):
    return {name.split(".")[0] for name in imports(path, **kwargs)}


def room(path):
    return path.relative_to(ROOT).parts[0]


FORBIDDEN = {
    "diffusion": {"flax", "models", "data", "utils", "configs", "optax"},
    "models": {"diffusion", "data", "utils", "configs", "optax"},
    "configs": {"jax", "flax", "diffusion", "models", "data", "utils"},
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_imports_only_what_its_room_may(path):
    assert not roots(path) & FORBIDDEN.get(room(path), set())
    if room(path) == "data":
        assert "jax" not in roots(path, top_level_only=True)
    if room(path) == "utils" and not path.name.startswith("recipe"):
        assert not roots(path) & {"diffusion", "models", "configs"}
    assert not roots(path) & SCRIPTS, "nothing imports a script"
    allowed = {"torch"} if room(path) == "jetson" else set()
    assert not roots(path, top_level_only=True) & LAZY - allowed, (
        "heavy packages are imported where they are used"
    )


RUNTIME = [p for p in SOURCES if room(p) == "jetson" and p.name not in WORKSTATION]
RUNTIME += [ROOT / "data" / name for name in ("__init__.py", "template.py", "tokenizer.py")]


@pytest.mark.parametrize("path", RUNTIME, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_runs_on_a_device_needs_no_jax_and_an_old_python_will_do(path):
    others = set(ROOMS) - {"jetson", "data"} | {"jax", "flax", "optax", "orbax", "ml_collections"}
    assert not roots(path) & others
    named = {name for name in imports(path) if name.startswith("data.")}
    assert all(name.startswith(("data.tokenizer", "data.template")) for name in named)
    ast.parse(path.read_text(), feature_version=(3, 10))


def test_only_the_loop_says_pmap():
    said = {p.name for p in SOURCES if re.search(r"\bjax\.pmap\b|[^a-z]pmap\(", p.read_text())}
    assert said == {"loop.py"}


def test_nothing_is_unpickled():
    for path in SOURCES:
        assert not re.search(
            r"pickle\.load|allow_pickle=True|weights_only=False", path.read_text()
        ), path


def test_scripts_import_nothing_heavy_before_their_flags_are_read():
    for name in SCRIPTS:
        heavy = {"jax", "flax", "optax", "numpy", "orbax", "data", "diffusion", "models"}
        assert not roots(ROOT / f"{name}.py", top_level_only=True) & heavy


def test_files_are_short():
    long = {
        str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 320
    }
    assert not long
