"""The README's examples, as they stand there."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffusion
import models
from data import images, sources
from diffusion import draws
from models import layers

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def example(heading, **names):
    """The indented code under `## heading`, executed; what it defined."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("    ") or not line.strip()]
    exec(textwrap.dedent("\n".join(lines)), names)
    return names


def test_the_process_of_the_readme_trains_and_samples():
    Dropped = example("Add a process", dataclass=dataclass, draws=draws, jnp=jnp)["Dropped"]
    keep = lambda params, x, t, cond, keys: params * x
    batch = {"x": jnp.ones((64, 4, 4, 1))}
    loss, _ = diffusion.diffusion_loss(Dropped(), keep, 1.0, jax.random.key(0), batch)
    assert 0.4 < loss < 0.6, "half of the pixels are hidden, and each costs 1"
    assert (Dropped().prior(jax.random.split(jax.random.key(0), 3), (4, 4, 1)) == 0).all()


def test_the_network_of_the_readme_is_created_by_name(monkeypatch):
    monkeypatch.setattr(models, "MODULES", dict(models.MODULES))
    example("Add a network", nn=nn, layers=layers, MODULES=models.MODULES)
    model = models.create("mlp", "small", num_classes=3)
    x, cond = jnp.ones((2, 4, 4, 1)), {"label": jnp.array([0, 1])}
    params = model.init(jax.random.key(0), x, jnp.zeros(2), cond)
    assert model.apply(params, x, jnp.ones(2), cond).shape == x.shape


def test_the_dataset_of_the_readme_is_loaded_by_name(monkeypatch, tmp_path):
    for table in ("SOURCES", "WANTS"):
        monkeypatch.setattr(sources, table, dict(getattr(sources, table)))
        monkeypatch.setattr(images, table, getattr(sources, table))
    example(
        "Add a dataset", np=np, halve=sources.halve, SOURCES=sources.SOURCES, WANTS=sources.WANTS
    )
    with pytest.raises(FileNotFoundError, match="wants x.npy and label.npy"):
        images.load("mine", str(tmp_path))
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / "x.npy", np.zeros((20, 4, 4, 1), np.uint8))
    np.save(tmp_path / "mine" / "label.npy", np.arange(20) % 2)
    assert len(images.load("mine", str(tmp_path))["train"].x) == 18


def test_every_file_of_the_house_is_in_the_readme_and_the_other_way_round():
    house = README.split("## The house")[1].split("\n## ")[0]
    named = set(re.findall(r"\b[a-z0-9_]+\.py\b", house))
    root = Path(__file__).resolve().parent.parent
    rooms = ("diffusion", "models", "data", "utils", "jetson")
    files = {
        p.name for p in [*root.glob("*.py"), *(f for r in rooms for f in (root / r).glob("*.py"))]
    }
    assert named - {"flow.py"} == files - {"__init__.py"}
