"""Networks without diffusion. Each is a pure function (params, x_t, t, cond, keys) -> out."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from models import bilateral, dit, later, transformer, unet

MODULES = {
    "dit": (dit.DiT, dit.PRESETS),
    "unet": (unet.UNet, unet.PRESETS),
    "transformer": (transformer.Transformer, transformer.PRESETS),
    "bilateral": (bilateral.Bilateral, transformer.PRESETS),
}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


class Model(NamedTuple):
    """A network as pure functions.

    init:  (key, x_t, t, cond) -> params
    apply: (params, x_t, t, cond, keys=None) -> out.  x_t: a state [B, ...]; t: f32[B];
           cond: dict of arrays with leading B, {} for none; keys: key[B] while training
           (dropout), None otherwise. With "later" in cond a transformer hands over a `Later`.
    past:  (batch, length) -> the memory of a network that has seen nothing, for cond["past"];
           None if it can keep none. See transformer.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    past: Callable[[int, int], Any] | None = None


def create(name: str, preset: str | None = None, **fields) -> Model:
    """Builds a network of this package.

    Args:
        name: a key of MODULES.
        preset: a key of that module's PRESETS; None if `fields` say everything.
        **fields: the module's attributes; those that are not None override the preset's.

    Raises:
        ValueError: no such name, preset or field, or a field is missing; the message lists
            those there are.
    """
    cls, presets = look_up(name, MODULES, "model")
    base = look_up(preset, presets, f"{name} preset") if preset else {}
    known = [f for f in cls.__dataclass_fields__ if f not in ("parent", "name")]
    chosen = base | {k: v for k, v in fields.items() if v is not None}
    for field in chosen:
        look_up(field, dict.fromkeys(known), f"{name} field")
    if "dtype" in chosen:
        chosen["dtype"] = look_up(chosen["dtype"], DTYPES, "dtype")
    try:
        module = cls(**chosen)
    except TypeError:
        wanted = [f for f in known if f not in chosen and not hasattr(cls, f)]
        raise ValueError(
            f"{name} wants {', '.join(wanted)}, or a preset: {', '.join(presets)}"
        ) from None

    def init(key, x, t, cond):
        return module.init(key, x, t, cond)["params"]

    def apply(params, x, t, cond, keys=None):
        run = lambda x, cond: module.apply({"params": params}, x, t, cond, keys)
        return later.split(run, x, cond) if "later" in cond else run(x, cond)

    return Model(init, apply, getattr(module, "past", None))


def look_up(name, table, what):
    """table[name], or a ValueError that names the nearest and all there are."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"no {what} {name!r}{hint}; there are {', '.join(table)}")
