"""Random weights written as llama2.c writes them, read by us, held against transformers."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import llama_tokens
from models import llama

FIELDS = dict(
    hidden_size=32, d_ff=48, depth=2, num_heads=4, num_kv_heads=2, vocab_size=40, max_seq_len=24
)  # fmt: skip
# a folder with weights/stories260K.bin and weights/tok512.bin (huggingface.co/karpathy/tinyllamas)
# and tinystories/heldout.txt, whose texts <|endoftext|> parts
DATA = os.environ.get("TANDEM_DATA")


def drawn(tied, **fields):
    """A module, and at random the arrays of its file, named and in order as run.c has them."""
    model, rng = llama.Llama(**FIELDS | fields, tied=tied), np.random.default_rng(0)
    d, f, n = model.hidden_size, model.d_ff, model.depth
    shared = d // model.num_heads * model.num_kv_heads
    angles = (model.max_seq_len, d // model.num_heads // 2)  # skipped, so these too are noise
    shapes = dict(
        token_embedding_table=(model.vocab_size, d), rms_att_weight=(n, d),
        wq=(n, d, d), wk=(n, shared, d), wv=(n, shared, d), wo=(n, d, d),
        rms_ffn_weight=(n, d), w1=(n, f, d), w2=(n, d, f), w3=(n, f, d),
        rms_final_weight=(d,), freq_cis_real=angles, freq_cis_imag=angles,
    )  # fmt: skip
    shapes |= {} if tied else {"wcls": (model.vocab_size, d)}
    draw = lambda shape, scale: rng.normal(float(scale), 0.3, shape).astype(np.float32)
    return model, {name: draw(shape, "rms" in name) for name, shape in shapes.items()}


def write(path, model, named):
    """A file of version 0; a vocabulary less than nothing says that the output is not tied."""
    vocab_size = model.vocab_size if model.tied else -model.vocab_size
    header = [
        model.hidden_size, model.d_ff, model.depth, model.num_heads, model.num_kv_heads,
        vocab_size, model.max_seq_len,
    ]  # fmt: skip
    parts = [np.array(header, "<i4"), *(a.astype("<f4") for a in named.values())]
    path.write_bytes(b"".join(part.tobytes() for part in parts))
    return path


def halved(weight, heads):
    """Rows of a head in pairs (2i, 2i + 1) -> in the order of transformers, evens then odds."""
    rows = weight.reshape(heads, -1, 2, weight.shape[-1])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def theirs_of(model, named):
    """LlamaForCausalLM with these arrays, every one of its parameters among them."""
    torch = pytest.importorskip("torch", reason="transformers' networks are torch's")
    transformers = pytest.importorskip("transformers", reason="the network held against is its")
    network = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=model.hidden_size, intermediate_size=model.d_ff,
            num_hidden_layers=model.depth, num_attention_heads=model.num_heads,
            num_key_value_heads=model.num_kv_heads, vocab_size=model.vocab_size,
            max_position_embeddings=model.max_seq_len, rms_norm_eps=1e-5,
            tie_word_embeddings=model.tied, attn_implementation="eager",
        )
    )  # fmt: skip
    table = named["token_embedding_table"]
    state = {"model.embed_tokens.weight": table, "lm_head.weight": named.get("wcls", table)}
    state["model.norm.weight"] = named["rms_final_weight"]
    names = {
        "input_layernorm": "rms_att_weight", "post_attention_layernorm": "rms_ffn_weight",
        "self_attn.q_proj": "wq", "self_attn.k_proj": "wk", "self_attn.v_proj": "wv",
        "self_attn.o_proj": "wo", "mlp.gate_proj": "w1", "mlp.down_proj": "w2",
        "mlp.up_proj": "w3",
    }  # fmt: skip
    heads = {"wq": model.num_heads, "wk": model.num_kv_heads}
    for i in range(model.depth):
        for their, our in names.items():
            weight = named[our][i]
            weight = halved(weight, heads[our]) if our in heads else weight
            state[f"model.layers.{i}.{their}.weight"] = weight
    network.load_state_dict({name: torch.tensor(a) for name, a in state.items()}, strict=True)

    def logits(ids):
        with torch.no_grad():
            return network.eval()(torch.tensor(ids).long()).logits.numpy()

    return logits


@pytest.mark.parametrize("tied, kv_heads", [(True, 2), (False, 2), (True, 4), (False, 1)])
def test_a_file_of_llama2c_is_the_llama_of_transformers(tied, kv_heads, tmp_path):
    model, named = drawn(tied, num_kv_heads=kv_heads)
    found, params = llama.read(write(tmp_path / "model.bin", model, named))
    assert found == model
    ids = np.random.default_rng(1).integers(0, 40, (3, 24)).astype(np.int32)
    ours = np.asarray(jax.jit(found.apply)({"params": params}, ids))
    theirs = theirs_of(model, named)(ids)
    assert ours.dtype == np.float32 and ours.std() > 0.5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    # evens and odds are told apart, or this would be no test of them
    wq = named["wq"].reshape(2, 4, 4, 2, 32).swapaxes(2, 3).reshape(2, 32, 32)
    _, params = llama.read(write(tmp_path / "model.bin", model, named | {"wq": wq}))
    assert np.abs(found.apply({"params": params}, ids) - theirs).max() > 0.1


@pytest.mark.parametrize("tied", [True, False])
def test_the_parameters_read_are_those_the_module_asks_for(tied, tmp_path):
    model, params = llama.read(write(tmp_path / "model.bin", *drawn(tied)))
    asked = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    shapes = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert shapes(asked) == shapes(params)


def test_files_that_are_no_models_are_refused(tmp_path):
    path = write(tmp_path / "model.bin", *drawn(True))
    whole = path.read_bytes()

    def refused(raw, match):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=match):
            llama.read(path)

    size = len(whole)
    refused(whole[:-4], f"has {size - 4} bytes; its header wants {size}: hidden_size 32, d_ff 48,")
    refused(whole + b"\0", f"has {size + 1} bytes; its header wants {size}:")
    refused(whole[:20], "shorter than llama2.c's header of 7 numbers")
    refused(b"", "shorter than llama2.c's header")
    refused(b"24ka" + whole[4:], "is a later version; wanted `export.py --version 0`")
    header = lambda **changed: np.array([*(FIELDS | changed).values()], "<i4").tobytes()
    refused(header(depth=-1), "no model of llama2.c: all sizes are at least 1; got .*depth -1")
    refused(header(num_heads=5), "hidden_size 32 is not a multiple of 2 num_heads 5")
    refused(header(num_kv_heads=3), "num_heads 4 is not a multiple of num_kv_heads 3")
    with pytest.raises(FileNotFoundError, match="no model at .*wanted a .bin of llama2.c"):
        llama.read(tmp_path / "none.bin")


def test_ids_that_are_too_long_or_none_are_refused():
    model = llama.Llama(**FIELDS)
    with pytest.raises(ValueError, match="length 25 is over max_seq_len 24"):
        model.init(jax.random.key(0), jnp.zeros((1, 25), jnp.int32))
    with pytest.raises(ValueError, match=r"want ids i32\[B, L\]; got float32\[1, 4\]"):
        model.init(jax.random.key(0), jnp.zeros((1, 4)))


@pytest.mark.skipif(not DATA, reason="TANDEM_DATA names no folder with stories260K.bin")
def test_stories260k_knows_tinystories():
    model, params = llama.read(Path(DATA, "weights", "stories260K.bin"))
    tokens = llama_tokens.read(Path(DATA, "weights", "tok512.bin"), model.vocab_size)
    texts = Path(DATA, "tinystories", "heldout.txt").read_text(encoding="utf-8")
    texts = [text.strip() for text in texts.split("<|endoftext|>")][:20]
    ids = np.full((20, model.max_seq_len), llama_tokens.BOS, np.int32)
    seen = np.zeros((20, model.max_seq_len - 1), bool)
    for i, text in enumerate(texts):
        row = tokens.encode(text)[: model.max_seq_len - 1]
        ids[i, 1 : 1 + len(row)], seen[i, : len(row)] = row, True
    logits = jax.jit(model.apply)({"params": params}, ids)[:, :-1]
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), ids[:, 1:, None], -1)[..., 0]
    mean = float(nats[seen].mean())
    print(f"stories260K: {mean:.4f} nats/token over {seen.sum()} tokens of 20 texts")
    assert 1.0 < mean < 1.6
