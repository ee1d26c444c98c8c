"""Several processes, on one machine or many, that do the work of one.

    python train_flow.py --coordinator HOST:PORT --num_processes 2 --process_id 0
    python train_flow.py --coordinator HOST:PORT --num_processes 2 --process_id 1

Cloud TPUs, SLURM, Open MPI and Kubernetes (JobSet) tell JAX all of that; Vertex AI tells it in
CLUSTER_SPEC, which is read here. All processes see one file system, where process 0 alone writes
metrics and samples, and each its part of a checkpoint. Only process 0 prints. A process that
fails takes the others with it, see distress.py; the same commands continue.
"""

import contextlib
import json
import os
import signal
import sys
from importlib.util import find_spec

import jax
import numpy as np

from utils import distress

TOLD_BY = ("SLURM_STEP_NODELIST", "OMPI_MCA_orte_hnp_uri", "JOB_COMPLETION_INDEX")
PATIENCE = 24 * 3600  # seconds that others wait while process 0 prepares data


def connect(config, environ=os.environ):
    """Finds the other processes, if there are any; before anything asks JAX for its devices.

    Args:
        config: has coordinator, num_processes, process_id.

    Raises:
        ValueError: flags that do not belong together, or a CLUSTER_SPEC that is none.
    """
    alone = environ.get("SLURM_NTASKS") == "1"
    if found := by_hand(config) or cluster_spec(environ.get("CLUSTER_SPEC")):
        jax.distributed.initialize(*found, cluster_detection_method="deactivate")
    elif not alone and (find_spec("libtpu") or any(name in environ for name in TOLD_BY)):
        try:
            jax.distributed.initialize()
        except ValueError as error:
            if "coordinator_address" not in str(error):  # which is how it says: there is no cluster
                raise
    if distress.several():
        distress.listen()
    if jax.process_index():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def by_hand(config) -> tuple[str, int, int] | None:
    """(coordinator, number of processes, this one) of the flags; None without --coordinator."""
    where, n, i = config.coordinator, config.num_processes, config.process_id
    if not where and n is None and i is None:
        return None
    if not where.rpartition(":")[2].isdigit() or n is None or i is None or not 0 <= i < n:
        raise ValueError(
            "several processes want --coordinator HOST:PORT --num_processes N --process_id 0 to "
            f"N - 1; got {where or 'none'}, {n}, {i}"
        )
    return where, n, i


def cluster_spec(text: str | None) -> tuple[str, int, int] | None:
    """The same of Vertex AI's variable: its pools of machines, one behind the other.

    None where there is one machine, or none are told of.
    """
    if not text:
        return None
    try:
        spec = json.loads(text)
        pools, own = spec["cluster"], spec["task"]
        before = [len(pools[name]) for name in sorted(pools) if name < own["type"]]
        machines = [machine for name in sorted(pools) for machine in pools[name]]
        found = machines[0], len(machines), sum(before) + int(own["index"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"CLUSTER_SPEC wants {{cluster: {{workerpool0: [HOST:PORT, ...]}}, "
            f"task: {{type, index}}}}; got {text[:80]!r} ({type(error).__name__}: {error})"
        ) from None
    return found if len(machines) > 1 else None


def first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def share(rows: int) -> slice:
    """This process's part of `rows`, which the number of processes divides."""
    each = rows // jax.process_count()
    return slice(jax.process_index() * each, (jax.process_index() + 1) * each)


def together(part, axis: int = 0):
    """The parts of all processes, one behind the other along an axis; all have to call it."""
    part = np.ascontiguousarray(part)
    if jax.process_count() == 1:
        return part
    from jax.experimental import multihost_utils

    words = part.view(np.uint32) if part.itemsize == 8 else part  # JAX would make them 4 bytes
    parts = multihost_utils.process_allgather(words)
    return np.concatenate([np.asarray(p).view(part.dtype) for p in parts], axis)


def summed(part):
    """The sum f64[...] of the parts of all processes, to the same bit on each; all have to call
    it."""
    part = np.atleast_1d(np.asarray(part, np.float64))
    pieces = np.array_split(part, jax.process_count())  # all parts of all at once may be much
    found = [together(piece[None]).sum(0) for piece in pieces if len(piece)]
    return np.concatenate(found)


def from_first(data: bytes) -> bytes:
    """What process 0 gives; all have to call it."""
    if jax.process_count() == 1:
        return data
    from jax.experimental import multihost_utils

    size = together(np.array([len(data)]))[0]
    buffer = np.frombuffer(data, np.uint8) if first() else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer)).tobytes() if size else b""


def all_say(yes: bool) -> bool:
    """Whether every process says yes; all have to ask."""
    if jax.process_count() == 1:
        return yes
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.array(yes))))


@contextlib.contextmanager
def first_first():
    """Process 0 goes through the block first, so that the others find what it prepared."""
    import orbax.checkpoint as ocp

    everyone = set(range(jax.process_count()))
    wait = lambda: ocp.multihost.sync_global_processes(
        "prepared", timeout=PATIENCE, processes=everyone
    )
    if jax.process_index():
        wait()
    try:
        yield
    finally:
        if not jax.process_index():
            wait()


class Interrupt:
    """Notes SIGTERM and the first Ctrl-C, so that the loop can save and leave.

    With several processes JAX listens for SIGTERM itself, tells the others, and finds a step that
    none has done yet; a Ctrl-C is made one.
    """

    def __enter__(self):
        self.signal, self.several = None, jax.process_count() > 1
        caught = (signal.SIGINT,) if self.several else (signal.SIGTERM, signal.SIGINT)
        self.old = {s: signal.signal(s, self.note) for s in caught}
        return self

    def note(self, number, frame):
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second Ctrl-C is not held up
        if self.several:
            os.kill(os.getpid(), signal.SIGTERM)

    def after(self, step: int) -> int | None:
        """The signal to leave on after `step`, the same on every process; all ask at every step."""
        if not self.several:
            return self.signal
        from jax.experimental import multihost_utils

        return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else None

    def __exit__(self, *_):
        for number, handler in self.old.items():
            signal.signal(number, handler)
