"""Furniture that every network here is made of.

Parameters are float32; `dtype` is what matrices are multiplied in. Statistics of norms
and softmax are float32 whatever dtype is.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models import places

xavier, zeros, small = (
    nn.initializers.xavier_uniform(),
    nn.initializers.zeros,
    nn.initializers.normal(0.02),
)

HIDDEN = -1e30  # a logit that gets no share, unless all are such: then all get the same


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x, kernel, dtype=None):
    """x [..., K] by a kernel [K, N] -> dtype[..., N]; None: the dtype of both.

    Its gradients are those of x @ kernel, the kernel's as one product of two matrices as they lie.
    jax.grad would want transposed copies of them: a tenth of a DiT's step on a CPU.
    """
    return jnp.dot(x, kernel, preferred_element_type=dtype)


def gradients(dtype, kept, g):
    x, kernel = kept
    rows, errors = (a.reshape(-1, a.shape[-1]) for a in (x, g))
    if kernel.shape[0] <= kernel.shape[1]:
        of_kernel = rows.T @ errors
    else:  # a wide product is the faster one; without the barrier XLA makes it a tall one again
        of_kernel = jax.lax.optimization_barrier(errors.T @ rows).T
    return (g @ kernel.T).astype(x.dtype), of_kernel.astype(kernel.dtype)


product.defvjp(lambda x, kernel, dtype: (product(x, kernel, dtype), (x, kernel)), gradients)
Dense = functools.partial(
    nn.Dense, dot_general=lambda x, kernel, dims, precision=None: product(x, kernel)
)


def fourier(t, dim, max_period=1e4):
    """Cosines and sines of noise level t f32[B] -> f32[B, dim]; t = 1 counts as 1000 steps."""
    freqs = max_period ** (-jnp.arange(dim // 2) / (dim // 2))
    angles = 1000.0 * t[:, None].astype(jnp.float32) * freqs
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1)


def sincos_2d(side, dim):
    """Fixed positions of a side x side grid, row-major f32[side^2, dim] (as in arXiv:2212.09748).

    The first half tells the column, the second the row, each as sines and then cosines.
    """
    line = places.sincos(side, dim // 2)
    return np.concatenate([np.tile(line, (side, 1)), np.repeat(line, side, 0)], -1)


class Condition(nn.Module):
    """Noise level and class as one vector f32[B, width].

    cond["label"] i32[B] holds ids 0..num_classes-1; num_classes itself means "no class",
    and so does a missing label.
    """

    width: int
    num_classes: int = 0  # 0: the network knows no classes
    time_width: int = 256
    label_scale: float = 0.02  # of a fresh label's vector; DiT's
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, t, cond):
        dense = lambda name: Dense(self.width, kernel_init=small, dtype=self.dtype, name=name)
        c = dense("time_out")(nn.silu(dense("time_in")(fourier(t, self.time_width))))
        if self.num_classes:
            label = cond.get("label", jnp.full(t.shape, self.num_classes))
            init = nn.initializers.normal(self.label_scale)
            table = nn.Embed(self.num_classes + 1, self.width, embedding_init=init, name="label")
            c = c + table(label).astype(c.dtype)
        return c


def attend(q, k, v, implementation="auto", mask=None, bias=None, causal=False):
    """Softmax attention [B, L, N, D]; statistics in float32.

    implementation: "xla", "cudnn", or "auto": cudnn where it applies (GPU, 16-bit, head width
        a multiple of 8 and at most 128, no bias), else xla; jax's own default is always xla.
    mask: bool[B, L], which keys are there. bias: f32[1, N, L, L], added to the logits.
    causal: no place sees what comes after it.
    """
    if implementation == "auto":
        fits = q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0
        fits = fits and q.shape[-1] <= 128 and bias is None
        implementation = "cudnn" if fits and jax.default_backend() == "gpu" else "xla"
    if implementation not in ("xla", "cudnn"):
        raise ValueError(f"no attention {implementation!r}; there are auto, xla, cudnn")
    if implementation == "cudnn" and jax.default_backend() != "gpu":
        raise ValueError(f"attention 'cudnn' wants a GPU; this is a {jax.default_backend()}")
    mask = None if mask is None else mask[:, None, None, :]
    if implementation == "xla":
        return spelt_out(q, k, v, mask, bias, causal)
    return jax.nn.dot_product_attention(
        q, k, v, bias=bias, mask=mask, is_causal=causal, implementation=implementation
    )


def spelt_out(q, k, v, mask, bias, causal):
    """`attend` in two products, heads before places: what jax.nn.dot_product_attention computes,
    but from [B, L, N, D] as it lies the products take up to half as long again on a CPU.

    k, v: may have fewer heads, each for as many of q's. mask: bool[B, 1, 1, L].
    """
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    if (shared := q.shape[1] // k.shape[1]) > 1:
        k, v = (jnp.repeat(x, shared, axis=1) for x in (k, v))
    logits = jnp.einsum("bnld,bnmd->bnlm", q, k, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    logits = logits if bias is None else logits + bias
    if causal:
        past = jnp.tril(jnp.ones(logits.shape[-2:], bool))
        mask = past if mask is None else mask & past
    if mask is not None:
        logits = jnp.where(mask, logits, HIDDEN)
    shares = jax.nn.softmax(logits).astype(v.dtype)
    return jnp.einsum("bnlm,bnmd->bnld", shares, v).swapaxes(1, 2)


def dropout(keys, x, rate):
    """Zeroes a share of x [B, ...], example i by keys[i] alone; keys None means inference."""
    if keys is None or rate == 0.0:
        return x
    kept = jax.vmap(lambda k: jax.random.bernoulli(k, 1.0 - rate, x.shape[1:]))(keys)
    return jnp.where(kept, x / (1.0 - rate), 0.0).astype(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention over axis 1, every position sees every other."""

    num_heads: int
    qk_norm: bool = False  # RMS norm of queries and keys, a head at a time (arXiv:2302.05442)
    implementation: str = "auto"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        qkv = Dense(3 * width, kernel_init=xavier, dtype=self.dtype, name="qkv")(x)
        q, k, v = jnp.split(qkv.reshape(*x.shape[:-1], 3 * self.num_heads, -1), 3, axis=-2)
        if self.qk_norm:
            q = nn.RMSNorm(dtype=self.dtype, name="q_norm")(q)
            k = nn.RMSNorm(dtype=self.dtype, name="k_norm")(k)
        y = attend(q, k, v, self.implementation).reshape(x.shape)
        return Dense(width, kernel_init=xavier, dtype=self.dtype, name="out")(y)


class Mlp(nn.Module):
    ratio: float = 4.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x):
        dense = lambda n, name: Dense(n, kernel_init=xavier, dtype=self.dtype, name=name)
        return dense(x.shape[-1], "down")(nn.gelu(dense(int(self.ratio * x.shape[-1]), "up")(x)))


def modulate(x, shift, scale):
    """Layer norm without parameters, then the condition's scale and shift, f32[B, D] each.

    jax.nn.standardize and not two passes by hand: on CPU the latter makes the step's time
    quadratic in depth.
    """
    normed = jax.nn.standardize(x.astype(jnp.float32), axis=-1, epsilon=1e-6).astype(x.dtype)
    return normed * (1.0 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """adaLN-Zero transformer block (arXiv:2212.09748): starts as the identity."""

    num_heads: int
    mlp_ratio: float = 4.0
    qk_norm: bool = False
    attention: str = "auto"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, c):
        six = Dense(6 * x.shape[-1], kernel_init=zeros, dtype=self.dtype, name="modulation")
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.split(six(nn.silu(c)), 6, -1)
        attention = Attention(
            self.num_heads, self.qk_norm, self.attention, self.dtype, name="attention"
        )
        x = x + gate_a[:, None] * attention(modulate(x, shift_a, scale_a))
        return x + gate_m[:, None] * Mlp(self.mlp_ratio, self.dtype, name="mlp")(
            modulate(x, shift_m, scale_m)
        )


class Head(nn.Module):
    """Last norm and projection, float32; starts at zero, so the first output is zero."""

    features: int

    @nn.compact
    def __call__(self, x, c):
        x, c = x.astype(jnp.float32), c.astype(jnp.float32)
        shift, scale = jnp.split(
            Dense(2 * x.shape[-1], kernel_init=zeros, name="modulation")(nn.silu(c)), 2, -1
        )
        return Dense(self.features, kernel_init=zeros, name="out")(modulate(x, shift, scale))
