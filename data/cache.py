"""Where decoded images and tokenised text are kept."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """$TANDEM_CACHE, or ~/.cache/tandem."""
    return Path(os.environ.get("TANDEM_CACHE") or Path.home() / ".cache" / "tandem")
