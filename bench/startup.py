"""How long scripts take to start: until their help, and until their first step.

    python -m bench.startup            about four minutes on one core
    python -m bench.startup --tiny     help alone; --threads 2, --rounds 3, --out FOLDER

The first start compiles into an empty compile cache, the second finds it full; both are timed from
the command to the line that tells of step 1. Processor time is that of the whole process.
"""

import subprocess
import sys
import tempfile
from functools import partial

from bench import child, harness
from bench.harness import Contest, Contestant

SCRIPTS = tuple(sorted(path.name for path in child.ROOT.glob("*.py")))
IMPORTS = (
    "numpy", "scipy.linalg", "sklearn.datasets", "matplotlib.figure", "jax", "flax.linen", "optax",
    "orbax.checkpoint", "datasets", "tokenizers", "wandb", "tensorboardX", "torch",
)  # fmt: skip
RUNS = {
    "train_flow.py": "--config=configs/digits.py",
    "train_text.py": "--config=configs/stories.py",
}


def contests(tiny: bool) -> list[Contest]:
    nothing = Contestant("python -c pass", partial(python, "-c", "pass"))
    helps = [Contestant(f"{name} --help", partial(python, name, "--help")) for name in SCRIPTS]
    names = IMPORTS[:1] if tiny else IMPORTS
    imports = [Contestant(f"import {name}", partial(importing, name)) for name in names]
    runs = {} if tiny else RUNS
    return [
        Contest("--help", [nothing, *helps]),
        Contest("imports", [nothing, *imports]),
        *(
            Contest(
                f"{script} {flags}, to step 1",
                [
                    Contestant("second start", partial(starting, words, fresh=False)),
                    Contestant("first start", partial(starting, words, fresh=True)),
                ],
                "start",
            )
            for script, flags in runs.items()
            for words in [(script, *flags.split())]
        ),
    ]


def python(*words: str):
    """`python WORDS`, in this project's folder, until it ends."""
    command = [sys.executable, *words]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return lambda: subprocess.run(command, cwd=child.ROOT, check=True, **quiet) and None


def importing(name: str):
    run = python("-c", f"import {name}")
    try:
        run()
    except subprocess.CalledProcessError:
        raise ImportError(f"python -c 'import {name}' fails") from None
    return run


def starting(words: tuple[str, ...], fresh: bool):
    """A training from its command to the line of its first step.

    Args:
        words: the script, relative to this project, and flags.
        fresh: each run has an empty compile cache; else all have the same.

    Raises:
        RuntimeError: by the run, if it ended without a step; tells its last line.
    """
    kept = tempfile.TemporaryDirectory(prefix="tandem-bench-")  # as long as `run` is
    command = [sys.executable, str(child.ROOT / words[0]), *words[1:], "--log_interval", "1"]

    def run():
        with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
            cache = f"{folder}/cache" if fresh else kept.name
            env = child.environment() | {"JAX_COMPILATION_CACHE_DIR": cache}
            with subprocess.Popen(
                [*command, "--workdir", f"{folder}/run"], cwd=child.ROOT, env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            ) as process:  # fmt: skip
                line = "nothing was said"
                for line in process.stdout:
                    if child.TOLD.match(line):
                        process.kill()
                        return
        raise RuntimeError(f"{words[0]} ended before its first step: {line.strip()}")

    return run


if __name__ == "__main__":
    harness.command("startup", __doc__, contests)
