"""When one of several processes fails, the others end as well, and say why.

By itself JAX has them wait: the one that failed waits at its exit for the rest, which wait for it
in a sum over all devices. So who fails leaves word with the service that connects them, where the
others look every second, and none waits at its exit. A process that is killed leaves no word; but
the sum fails where a connection is lost, and its silence is noticed. With process 0 the service
goes, and JAX itself ends the others.
"""

import contextlib
import itertools
import os
import re
import sys
import threading
import time
import traceback
from pathlib import Path

import jax

WORD, ALIVE = "tandem/failed", "tandem/alive"  # keys
PACE = 1.0  # seconds between two looks
SILENCE = 60.0  # seconds; JAX's own heartbeat gives up after 100, with a page of C++
LOST = re.compile(r"gloo|nccl|barrier|coordination|unavailable|connection", re.IGNORECASE)
TOLD = threading.Event()  # whether it is known what went wrong
AGAIN = "the same commands continue"


def service():
    """What connects the processes, and the number of this one."""
    from jax._src import distributed  # which has no public door

    return distributed.global_state.client, distributed.global_state.process_id


def several() -> bool:
    """Whether there are others."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def listen():
    """Starts to look for word of others, and to give signs of life; once, after
    jax.distributed.initialize. Process 0 leaves word of those that give none."""
    client, number = service()

    def look():
        seen = {}
        for beat in itertools.count():
            time.sleep(PACE)
            try:
                client.key_value_set(f"{ALIVE}/{number}", str(beat), allow_overwrite=True)
                if number == 0 and (lost := silent(client.key_value_dir_get(ALIVE), seen)):
                    client.key_value_set(WORD, f"{lost} has not been heard of for {SILENCE:.0f} s")
                word = client.key_value_try_get(WORD)
            except jax.errors.JaxRuntimeError as error:
                if re.search("NOT_FOUND|ALREADY_EXISTS", str(error)):
                    continue
                return  # the service has ended: as usual, or with process 0, and JAX sees to that
            if not TOLD.is_set():
                TOLD.set()
                why = f"{word}; so process {number} ends as well, and {AGAIN}"
                print(named(why), file=sys.stderr, flush=True)
                end(number)
            return

    threading.Thread(target=look, daemon=True).start()


def silent(beats, seen: dict) -> str | None:
    """A process whose beat has long been the same: "process 3".

    Args:
        beats: [("tandem/alive/3", "17"), ...].
        seen: {key: (beat, when it was new)}, which is kept up to date.
    """
    now = time.monotonic()
    for key, beat in beats:
        if seen.get(key, ("", 0.0))[0] != beat:
            seen[key] = beat, now
        elif now - seen[key][1] > SILENCE:
            return f"process {key.rpartition('/')[2]}"
    return None


def call(error: Exception, line: str | None):
    """Tells of an error, leaves word of it, and ends this process once the others had time to look.

    Args:
        line: what it says to a user; None: a loss of others in a line, anything else as traceback.
    """
    if TOLD.is_set():  # this error is of their leaving
        time.sleep(10 * PACE)
    TOLD.set()
    client, number = service()
    of_jax = isinstance(error, jax.errors.JaxRuntimeError | ValueError)  # the latter where it waits
    if line is None and of_jax and LOST.search(str(error)):
        why = str(error).partition("\n")[0]
        line = named(f"process {number} lost another one, and {AGAIN} ({why})")
    told = line or traceback.format_exc()
    print(told, file=sys.stderr, flush=True)
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # another one was first, or is gone
        client.key_value_set(WORD, f"process {number} failed: {told.strip().splitlines()[-1]}")
        time.sleep(2 * PACE)
    end(number)


def end(number: int):
    """Ends this process; process 0 later, for with it goes the service."""
    time.sleep(0 if number else 4 * PACE)
    os._exit(1)


def named(line: str) -> str:
    return f"{Path(sys.argv[0]).name}: {line}"
