"""Data on the host: numpy in, numpy out; never jax at import time."""
