"""Training steps of masked diffusion by others, at a size of ours; each is a `setup`.

"full vocabulary" is how a loss is usually written: logits for every place, and a mask over what
they say. Two published programs do so in forms of their own: MD4 (arXiv:2406.04329) multiplies log
probabilities with one-hot tokens, MDLM (arXiv:2406.07524) makes every visible place a certainty
over the whole vocabulary. Both are here in our words over our network; with --peer-path the
programs' own networks compete as well.
"""

from unittest import mock

from bench import checkout, own_step, peers, torch_mirror, torch_step


def mirror(vocabulary, batch, length, fields, nats, compiled=False):
    """jetson/models' transformer, name by name our own, with torch's own attention."""
    from jetson import models

    network = models.create(
        "transformer", features=vocabulary, vocab_size=vocabulary, max_seq_len=length, **fields
    )
    network = torch_mirror.fused(network)
    loss = torch_step.masked(vocabulary, batch, length, NATS[nats])
    return torch_step.stepping(network, loss, compiled)


def full(logits, tokens, hidden, weight):
    """Cross-entropy of every place, of which the hidden ones count."""
    import torch.nn.functional as F

    nats = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
    return (weight * hidden * nats).sum()


def certain(logits, tokens, hidden, weight):
    """Log probabilities that never say <MASK>, and are 0 or minus infinity where a token shows."""
    import torch

    from data.tokenizer import MASK

    silent = torch.zeros(logits.shape[-1]).index_fill(0, torch.tensor(MASK), -1e6)
    logp = (logits + silent).log_softmax(-1)
    one = torch.full_like(logp, -1e6).scatter(-1, tokens[..., None], 0.0)
    logp = torch.where(hidden[..., None], logp, one)
    return -(weight * logp.gather(-1, tokens[..., None])[..., 0]).sum()


NATS = {"full": full, "certain": certain}


def bert(vocabulary, batch, length, fields):
    """transformers' BertForMaskedLM; it is not told the noise level."""
    peers.importable()
    import transformers

    config = transformers.BertConfig(
        vocab_size=vocabulary, hidden_size=fields["hidden_size"], num_hidden_layers=fields["depth"],
        num_attention_heads=fields["num_heads"], intermediate_size=fields["d_ff"],
        max_position_embeddings=length, hidden_act="gelu_new", hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, tie_word_embeddings=False,
    )  # fmt: skip
    network = transformers.BertForMaskedLM(config).train()
    loss = torch_step.masked(vocabulary, batch, length, full)
    return torch_step.stepping(network, lambda net: loss(lambda x, t: net(input_ids=x).logits))


def one_hot(vocabulary, batch, length, fields):
    """Our network and step, with logits for every place, and one-hot tokens, as MD4 writes it."""
    from diffusion import masked

    def unnamed(logits, tokens):
        import jax
        import jax.numpy as jnp

        logp = jax.nn.log_softmax(logits)
        one = jax.nn.one_hot(tokens, logits.shape[-1])
        return -jnp.where(one > 0, one * logp, 0.0).sum(-1), logits.argmax(-1) == tokens

    masked.cross_entropy = unnamed
    import diffusion

    diffusion.unprojected = lambda apply: apply
    knobs = {f"model__{k}": v for k, v in fields.items()} | {"model__preset": None}
    return own_step.text(vocabulary, batch, length, **knobs)


def md4(path, vocabulary, batch, length, fields):
    """MD4's network from a checkout of it, its loss (continuous time, linear) and AdamW in our
    words, the state donated; the time enters as text8's config has it."""
    import jax
    import jax.numpy as jnp
    import optax

    backward = checkout.within(path, "md4.models.backward")
    network = backward.DiscreteClassifier(
        n_layers=fields["depth"], num_heads=fields["num_heads"], vocab_size=vocabulary,
        feature_dim=fields["hidden_size"] // fields["num_heads"], cond_type="adaln_zero",
        mlp_type="glu", depth_scaled_init=True, outside_embed=False,
    )  # fmt: skip
    key = jax.random.key(0)
    tokens = jax.random.randint(key, (batch, length), 0, vocabulary)
    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4, 0.9, 0.99))

    def loss(params, key):
        key_t, key_x = jax.random.split(key)
        t = (jax.random.uniform(key_t) + jnp.arange(batch) / batch) % 1.0
        t = 1e-4 + (1.0 - 1e-4) * t
        hidden = jax.random.uniform(key_x, tokens.shape) < t[:, None]
        shown = jnp.where(hidden, vocabulary, tokens)
        logits, _ = network.apply({"params": params}, shown, t=t, train=True)
        one = jax.nn.one_hot(tokens, vocabulary)
        nats = -jnp.where(one > 0, one * jax.nn.log_softmax(logits), 0.0).sum(-1)
        return ((hidden * nats).sum(-1) / t).mean() / length

    def step(state, key):
        params, ema, opt = state
        value, grads = jax.value_and_grad(loss)(params, key)
        updates, opt = adam.update(grads, opt, params)
        params = optax.apply_updates(params, updates)
        return (params, jax.tree.map(lambda p, e: e + 1e-4 * (p - e), params, ema), opt), value

    params = jax.jit(network.init)(key, tokens, t=jnp.ones(batch))["params"]
    step, keys = jax.jit(step, donate_argnums=0), iter(jax.random.split(key, 1000))
    state = (params, jax.tree.map(jnp.copy, params), adam.init(params))
    size = float(sum(p.size for p in jax.tree.leaves(params)))

    def run():
        nonlocal state
        state, _ = jax.block_until_ready(step(state, next(keys)))
        return size

    return run


def mdlm(path, vocabulary, batch, length, fields):
    """MDLM's network from a checkout of it, without dropout; flash_attn, which wants a GPU, is
    played by torch's own attention."""
    import torch

    peers.importable()
    with mock.patch.dict("sys.modules", flash_attention()):
        module = checkout.module(path, "models/dit.py")
    model = {
        "hidden_size": fields["hidden_size"], "cond_dim": fields["hidden_size"], "dropout": 0.0,
        "n_heads": fields["num_heads"], "n_blocks": fields["depth"], "scale_by_sigma": True,
    }  # fmt: skip
    with torch.autocast("cpu", enabled=False):
        network = module.DIT({"model": model}, vocabulary).train()
    loss = torch_step.masked(vocabulary, batch, length, certain)
    return torch_step.stepping(network, lambda net: loss(lambda x, t: net(x, t)))


def flash_attention() -> dict:
    """Modules like flash_attn's, with what models/dit.py asks of them."""
    import torch
    import torch.nn.functional as F

    def rotate(qkv, cos, sin):
        q, k, v = qkv.unbind(2)
        cos, sin = cos[:, None], sin[:, None]

        def turned(x):
            a, b = x.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

        return torch.stack([turned(q), turned(k), v], 2)

    def attention(qkv, ends, length, dropout, causal):
        rows = qkv.reshape(-1, length, *qkv.shape[1:])
        q, k, v = (x.transpose(1, 2) for x in rows.unbind(2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return y.transpose(1, 2).reshape(-1, *qkv.shape[2:])

    flash, layers, rotary, interface = (mock.MagicMock() for _ in range(4))
    flash.layers, layers.rotary, flash.flash_attn_interface = layers, rotary, interface
    rotary.apply_rotary_emb_qkv_ = rotate
    interface.flash_attn_varlen_qkvpacked_func = attention
    names = ("flash_attn", "flash_attn.layers", "flash_attn.layers.rotary")
    return dict(zip(names, (flash, layers, rotary), strict=True))
