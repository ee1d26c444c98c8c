"""Files elsewhere that a command is given: everything but the wire, in memory."""

import json

import fsspec
import numpy as np
import pytest

from data import tokenizer
from tests.autoencoders import kl, tiny
from tests.data.test_llama_tokens import PIECES
from tests.data.test_llama_tokens import write as write_tokenizer
from tests.models.test_llama import drawn
from tests.models.test_llama import write as write_llama
from utils import config as flags
from utils import files, recipe_features, recipe_judge, recipe_table, recipe_vae

BUCKET = "memory://bucket"


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    return memory


def upload(memory, path, to):
    memory.put(str(path), to, recursive=path.is_dir())


def test_a_file_is_copied_once_and_again_when_it_has_changed(memory, monkeypatch):
    memory.pipe({"/bucket/a/x.npz": b"1", "/bucket/a/y.npz": b"2"})
    travelled, get = [], memory.get_file
    monkeypatch.setattr(memory, "get_file", lambda a, b, **k: (travelled.append(a), get(a, b)))
    copy = files.fetched(f"{BUCKET}/a/x.npz")
    assert copy.read_bytes() == b"1" and copy.name == "x.npz"
    assert files.fetched(f"{BUCKET}/a/y.npz").read_bytes() == b"2"
    assert files.fetched(f"{BUCKET}/a/x.npz") == copy and len(travelled) == 2
    memory.pipe("/bucket/a/x.npz", b"new")
    assert files.fetched(f"{BUCKET}/a/x.npz").read_bytes() == b"new"
    copy.write_bytes(b"meddled with")
    assert files.fetched(f"{BUCKET}/a/x.npz").read_bytes() == b"new"
    assert (files.fetched(f"{BUCKET}/a") / "y.npz").read_bytes() == b"2", "and a folder"


def test_what_is_here_stays_as_it_is_and_what_is_nowhere_is_told(tmp_path):
    assert files.fetched("runs/x.npz") == "runs/x.npz"
    assert files.named("cifar100,label=coarse_label") == "cifar100,label=coarse_label"
    assert files.named("npz:a.npz") == "npz:a.npz" and files.named("hf:a/b") == "hf:a/b"
    with files.written(tmp_path / "a") as here:
        assert here == tmp_path / "a"
    for name in (f"{BUCKET}/none.npz", f"npz:{BUCKET}/none.npz,mode=L"):
        with pytest.raises(FileNotFoundError, match="there is nothing at memory://bucket/none.npz"):
            files.named(name)


def test_a_name_keeps_its_kind_and_its_options(memory):
    memory.pipe("/bucket/a.npz", b"1")
    kind, _, rest = files.named(f"npz:{BUCKET}/a.npz,label=none,mode=L").partition(":")
    assert kind == "npz" and rest.endswith("/a.npz,label=none,mode=L") and "://" not in rest


def test_what_fails_is_not_sent(memory):
    with files.written(f"{BUCKET}/a.txt") as here:
        here.write_text("whole")
    with pytest.raises(KeyboardInterrupt), files.written(f"{BUCKET}/a.txt") as here:
        here.write_text("ha")
        raise KeyboardInterrupt
    assert memory.cat("/bucket/a.txt") == b"whole"


def test_a_score_of_images_features_reference_and_statistics_in_a_bucket(script, memory, tmp_path):
    import jax

    rng = np.random.default_rng(0)
    for name, n in (("ours", 40), ("theirs", 60)):
        np.savez(tmp_path / f"{name}.npz", x=rng.integers(0, 255, (n, 8, 8, 1), np.uint8))
        upload(memory, tmp_path / f"{name}.npz", f"/bucket/{name}.npz")
    init, _ = recipe_features.classifier(2)
    params = init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.uint8))
    saved = recipe_features.save(f"{BUCKET}/features", params, "toy", 2, 0.5)
    assert saved == f"{BUCKET}/features.npz" and memory.exists("/bucket/features.npz")
    words = ["--features", saved, "--images", f"npz:{BUCKET}/ours.npz", "--out", f"{BUCKET}/scores"]
    more = ["--reference", f"npz:{BUCKET}/theirs.npz", "--write_stats", f"{BUCKET}/stats.npz"]
    found = []
    for given in (more, ["--fid_stats", f"{BUCKET}/stats.npz"]):
        refusal, out = script("eval_fid.py", *words, *given)
        assert refusal == "" and f"in {BUCKET}/scores/score.json" in out
        found.append(json.loads(memory.cat("/bucket/scores/score.json"))["value"])
    assert found[0] == pytest.approx(found[1], rel=1e-9) and found[0] > 0
    refusal, _ = script("eval_fid.py", *words[:4], "--fid_stats", f"{BUCKET}/none.npz")
    assert refusal == f"eval_fid.py: there is nothing at {BUCKET}/none.npz"


def test_an_autoencoder_is_a_folder_or_a_file_with_what_lies_beside_it(memory, tmp_path):
    upload(memory, kl(tmp_path / "sd"), "/bucket/sd")
    upload(memory, kl(tmp_path / "whole" / "vae"), "/bucket/whole/vae")
    memory.pipe({"/bucket/whole/unet/diffusion_pytorch_model.safetensors": b"gigabytes"})
    assert recipe_vae.load(f"{BUCKET}/sd").name == recipe_vae.load(tmp_path / "sd").name
    assert recipe_vae.load(f"{BUCKET}/whole").name == recipe_vae.load(tmp_path / "sd").name
    assert not list((tmp_path / "cache").rglob("unet"))
    with pytest.raises(FileNotFoundError, match="0 weights files in .*an autoencoder is a folder"):
        recipe_vae.load(f"{BUCKET}/none")
    path = tiny(tmp_path / "tiny.safetensors")
    path.with_name("config.json").write_text(json.dumps({"scaling_factor": 0.5}))
    for name in (path.name, "config.json"):
        upload(memory, tmp_path / name, f"/bucket/tiny/{name}")
    found, here = recipe_vae.load(f"{BUCKET}/tiny/{path.name}"), recipe_vae.load(path)
    assert found.name == here.name and found.std == here.std == 2.0


def test_of_a_pair_the_other_half_comes_along(memory, tmp_path):
    for part in ("encoder", "decoder"):
        memory.pipe(f"/bucket/tae_{part}.pth", part.encode())
    here = recipe_vae.located(f"{BUCKET}/tae_encoder.pth")
    assert [p.read_text() for p in recipe_vae.files_of(here)] == ["encoder", "decoder"]


def test_a_judge_of_a_bucket_brings_its_tokenizer(memory, tmp_path):
    pieces = [(f" {i}", -1.0) for i in range(40)]
    model, named = drawn(True, vocab_size=PIECES + len(pieces))
    write_llama(tmp_path / "model.bin", model, named)
    write_tokenizer(tmp_path / "tok.bin", pieces)
    for name in ("model.bin", "tok.bin"):
        upload(memory, tmp_path / name, f"/bucket/{name}")
    judge = recipe_judge.load(f"{BUCKET}/model.bin,{BUCKET}/tok.bin")
    assert judge.name == "model" and judge.length == model.max_seq_len


@pytest.mark.parametrize("load", [recipe_judge.load, lambda name: table(f"process.table={name}")])
def test_runs_of_a_bucket_are_asked_for_their_checkpoint(load, memory):
    with pytest.raises(FileNotFoundError, match="memory://bucket/run has no checkpoint; wanted"):
        load(f"{BUCKET}/run")


def table(*words):
    words = ["--process.name=embedding", "--process.dim=2", *(f"--{w}" for w in words)]
    return recipe_table.rows(flags.parse(["x", *words], "configs/text.py"), TOKENIZER)


TOKENIZER = tokenizer.train_words(["a b c d e"])


def test_a_table_of_a_bucket_is_read(memory, tmp_path):
    rows = np.random.default_rng(0).normal(size=(TOKENIZER.size, 4)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", rows)
    upload(memory, tmp_path / "rows.npz", "/bucket/rows.npz")
    np.testing.assert_array_equal(
        table(f"process.table={BUCKET}/rows.npz"), table(f"process.table={tmp_path}/rows.npz")
    )
