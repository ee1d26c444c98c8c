"""The one idea of this package: a Process is all that a kind of diffusion knows.

        x_0 --corrupt--> x_t --network--> out --loss--> f32[B]        (training)
    prior --> x_1 --solver(x_t -> x_s)--> ... --> x_0 --decode--> data (sampling)

t is the noise level everywhere: 0 is data, 1 is noise, s < t is the next level.
A process never sees a network, an optimiser or a device. `loss.diffusion_loss` and
`sample.sample` are the only loops, and they serve every process alike.

Processes and solvers are frozen dataclasses with eq=False: identity is their hash, so
they can be static arguments of jit even when a field is an array.

Every draw takes `keys: key[B]`, one key an example (`draws.py`), so that an example's
noise does not depend on the batch, the device or the host that it happens to be on.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax

State = Any  # x_t: an array or a pytree of arrays, leading axis B
Memory = Any  # what a solver carries from one step to the next; () for most
Predict = Callable[[State, jax.Array], jax.Array]  # (x_t, t: f32[] or f32[B]) -> out


class Process(Protocol):
    """How one kind of data turns to noise, and what is learnt of it."""

    def corrupt(self, keys: jax.Array, x0: jax.Array, t: jax.Array) -> tuple[State, Any]:
        """Draws x_t given clean data at t f32[B], of a
        process with `spread` f32[B, L]. Returns (x_t, target); target goes to `loss`."""

    def loss(self, out: jax.Array, target: Any, t: jax.Array) -> tuple[jax.Array, dict]:
        """Returns (loss f32[B], metrics of f32[]) of the network's raw output."""

    def prior(self, keys: jax.Array, shape: tuple[int, ...]) -> State:
        """Draws x_1 for data of `shape` (one example's, without B)."""

    def decode(self, x: State) -> jax.Array:
        """Reads data out of the last state: pixels stay, embeddings become ids."""


class Solver(Protocol):
    """One step of the reverse process, from noise level t f32[] down to s < t.

    It is handed `predict` and not a prediction: it may call the network once, twice (Heun)
    or not at all.
    """

    def start(self, x: State) -> Memory:
        """The memory before the first step: () for a one-step method."""

    def step(
        self,
        process: Process,
        predict: Predict,
        keys: jax.Array,
        x: State,
        t: jax.Array,
        s: jax.Array,
        memory: Memory,
    ) -> tuple[State, Memory]:
        """Returns (x_s, memory)."""
