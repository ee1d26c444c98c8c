"""Checkpoints: orbax behind one file, with what orbax does not do.

A checkpoint holds the state, the config as JSON, the data position and a fingerprint of
every leaf. Saving is asynchronous and atomic (written beside, renamed when whole); what
cannot be written whole is removed, and the earlier ones stay. A flipped byte that orbax
would restore without a word is found by the fingerprint; a damaged checkpoint is named, set
aside and the one before it is used. Nothing is unpickled.
"""

import json
import logging
import os
import re
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from utils import hosts
from utils.places import place, room

BITS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


@jax.jit
def fingerprint(tree):
    """u32[] a leaf: the sum of each word's hash with its place, the same under any sharding.

    The hash is murmur3's finaliser, in which every bit matters to every bit: of plain products
    two flipped sign bits would cancel.
    """

    def one(a):
        a = jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a
        a = jnp.atleast_1d(a.astype(jnp.uint8) if a.dtype == jnp.bool_ else a)
        bits = jax.lax.bitcast_convert_type(a, BITS[a.dtype.itemsize]).astype(jnp.uint32)
        place = jnp.zeros_like(bits)
        for axis, size in enumerate(bits.shape):
            along = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
            place = place * jnp.uint32(size) + along
        h = bits ^ (place * jnp.uint32(0x9E3779B1))
        h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
        h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
        return jnp.sum(h ^ (h >> 16), dtype=jnp.uint32)

    return jax.tree.map(one, tree)


def fingerprints(tree) -> dict[str, int]:
    """{path of a leaf: fingerprint}."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(fingerprint(tree)))
    return {jax.tree_util.keystr(path): int(value) for path, value in leaves}


class Checkpoints:
    """The checkpoints of one run, in `folder`/STEP; the newest `keep` stay.

    Use as a context: leaving waits until the last save is on disk.

    Raises:
        ValueError: a path that could not be read again.
    """

    def __init__(self, folder, keep: int = 3):
        self.folder = place(folder)
        if found := re.search(r"[*?[]", str(self.folder)):
            raise ValueError(
                f"{self.folder} has a {found[0]} in its name, which orbax takes for a pattern, and "
                "writes checkpoints that nobody can read; take a --workdir without * ? ["
            )
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=True,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # pages for each array it cannot write
        self.manager = ocp.CheckpointManager(self.folder, options=options)
        self.begun = None  # step of the last save

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()
        self.manager.close()

    def save(self, state, config: dict, data: dict):
        """Writes the state after `state.step` updates; returns before it is on disk.

        Raises:
            OSError: there is no room for it, or the save before it failed; see `wait`.
            ValueError: there is a later one.
        """
        step = int(state.step)
        if step == self.manager.latest_step():  # the last step of a run that was due anyway
            return
        self.wait()
        self.begun, size = step, sum(a.nbytes for a in jax.tree.leaves(state))
        free = room(self.folder)
        if not hosts.all_say(size <= free):
            self.give_up(f"it takes {size / 2**20:.1f} MiB, and {free / 2**20:.1f} MiB are free")
        meta = {"config": config, "data": data, "fingerprints": fingerprints(state)}
        parts = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(meta)}
        try:
            saved = self.manager.save(step, args=ocp.args.Composite(**parts))
        except OSError as error:
            self.give_up(reason(error))
        if not saved:
            raise ValueError(
                f"checkpoint {step} was not written: {self.folder} already has a later one"
            )

    def wait(self):
        """Returns when the last save is on disk.

        Raises:
            OSError: it could not be written; what was of it is removed.
        """
        try:
            self.manager.wait_until_finished()
        except Exception as error:  # as in restore
            code = re.search(r"os_error_code='(\d+)'", str(error))
            self.give_up(os.strerror(int(code[1])) if code else reason(error))

    def give_up(self, why: str):
        """Removes what there is of the last save; raises the OSError that tells so."""
        for part in self.folder.glob("*.orbax-checkpoint-tmp"):  # the processes may all try
            shutil.rmtree(part, ignore_errors=True)
        left = ", ".join(map(str, steps_in(self.folder))) or "none"
        raise OSError(
            f"checkpoint {self.begun} could not be written to {self.folder}: {why}. Whole ones "
            f"there: {left}. When there is room, the same command continues"
        )

    def restore(self, like, agree=lambda meta: None):
        """(state, meta) of the newest whole checkpoint; None if there is none at all.

        Args:
            like: a State (of arrays or ShapeDtypeStructs with shardings).
            agree: called with the saved meta before any array is read; may raise.

        Raises:
            ValueError: there are checkpoints, but none is whole.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        leaves = {jax.tree_util.keystr(k) for k, _ in jax.tree_util.tree_leaves_with_path(like)}
        damaged = {}
        for step in sorted(self.manager.all_steps(), reverse=True):
            try:
                meta = read_meta(self.folder / str(step))
            except ValueError as error:
                damaged[step] = error
                continue
            agree(meta)
            if meta["fingerprints"].keys() != leaves:
                raise ValueError(
                    f"{self.folder / str(step)} was saved by another version of this program: "
                    f"{len(meta['fingerprints'].keys() ^ leaves)} arrays have other names"
                )
            problem = None
            try:
                args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
                state = self.manager.restore(step, args=args).state
                check(state, meta["fingerprints"])
            except Exception as error:  # orbax raises anything at all when a file is damaged
                problem = error
            if not hosts.all_say(problem is None):
                damaged[step] = problem or ValueError("another process could not read its part")
                continue
            for bad, error in damaged.items() if jax.process_index() == 0 else ():
                set_aside(self.folder / str(bad), error, step)
            if damaged and hosts.all_say(True):  # once process 0 has renamed them
                self.manager.reload()
            return state, meta
        if damaged:
            reasons = "; ".join(f"{step}: {reason(error)}" for step, error in damaged.items())
            raise ValueError(
                f"no whole checkpoint in {self.folder} ({reasons}); "
                "move them away to start over, or take another --workdir"
            )
        return None


def read_meta(place: Path) -> dict:
    """{"config", "data", "fingerprints"} of the checkpoint at `place`.

    Raises:
        ValueError: it is not one of this project's.
    """
    try:
        meta = json.loads((place / "meta" / "metadata").read_text())
        return {k: meta[k] for k in ("config", "data", "fingerprints")}
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{place} is not a checkpoint of this project: it has no readable meta/metadata"
        ) from None


def check(tree, wanted: dict[str, int]):
    """Raises ValueError naming the leaves whose bits are not those that were saved."""
    wrong = [path for path, value in fingerprints(tree).items() if wanted.get(path) != value]
    if wrong:
        some = ", ".join(wrong[:3]) + (" ..." if len(wrong) > 3 else "")
        raise ValueError(f"{len(wrong)} arrays are not what was saved: {some}")


def reason(error: Exception) -> str:
    """The first line of an error, at most 200 letters."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def set_aside(folder: Path, error: Exception, used: int):
    """Renames a damaged checkpoint, so that it is neither used nor lost, and says so."""
    names = (f"damaged-{folder.name}" + (f"-{n}" if n else "") for n in range(1000))
    new = next(p for p in map(folder.with_name, names) if not p.exists())
    folder.rename(new)
    print(
        f"checkpoint {folder} is damaged ({reason(error)}); kept as {new.name}, using {used}",
        file=sys.stderr,
    )


def steps_in(folder) -> list[int]:
    """Steps of the checkpoints under `folder`, newest first."""
    folder = Path(folder)
    return sorted((int(p.name) for p in folder.iterdir() if p.name.isdigit()), reverse=True)


def find(folder, step: int | None = None) -> Path:
    """The newest checkpoint of a run (or that of `step`).

    Args:
        folder: the run's directory, or its `checkpoints`.

    Raises:
        FileNotFoundError: no checkpoint there; the message tells what was found.
    """
    folder = Path(folder)
    inner = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    if not inner.is_dir() or not (steps := steps_in(inner)):
        what = "is not there" if not folder.exists() else "holds no checkpoint"
        raise FileNotFoundError(
            f"{folder} {what}; wanted the workdir of a train script, with checkpoints/STEP"
        )
    if step is not None and step not in steps:
        raise FileNotFoundError(f"{inner} has no checkpoint {step}; there are {steps}")
    return (inner / str(step or steps[0])).resolve()


def config_of(folder, step: int | None = None) -> dict:
    """The flattened config of a run, from its checkpoint; raises as `find` and `read_meta` do."""
    return read_meta(find(folder, step))["config"]


def read_ema(folder, like, step: int | None = None):
    """(ema, meta) of a run's newest checkpoint, without reading the optimiser.

    Args:
        folder: the run's directory, or its `checkpoints`.
        like: meta -> tree of ShapeDtypeStructs: what the weights look like.
        step: of the checkpoint; None is the newest.

    Raises:
        FileNotFoundError: no checkpoint there; the message tells what was found.
        ValueError: not a checkpoint of this project, or damaged.
    """
    place = find(folder, step)
    meta = read_meta(place)
    abstract = {"ema": like(meta)}
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            restore = ocp.checkpoint_utils.construct_restore_args(abstract)
            args = ocp.args.PyTreeRestore(abstract, partial_restore=True, restore_args=restore)
            ema = reader.restore(place / "state", args=args)["ema"]
    except Exception as error:
        raise ValueError(f"{place} cannot be read: {reason(error)}") from None
    marks = {
        k.removeprefix(".ema"): v for k, v in meta["fingerprints"].items() if k.startswith(".ema")
    }
    try:
        check(ema, marks)
    except ValueError as error:
        raise ValueError(f"{place} is damaged: {error}") from None
    return ema, meta
