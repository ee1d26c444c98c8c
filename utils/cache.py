"""JAX's persistent compile cache: the second start of a script takes a fraction of the first."""

import os
from pathlib import Path


def enable():
    """Turns it on, in $JAX_COMPILATION_CACHE_DIR or ~/.cache/tandem/jax."""
    import jax

    folder = (
        os.environ.get("JAX_COMPILATION_CACHE_DIR") or Path.home() / ".cache" / "tandem" / "jax"
    )
    jax.config.update("jax_compilation_cache_dir", str(folder))
    seconds = os.environ.get("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", 0.5)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(seconds))
