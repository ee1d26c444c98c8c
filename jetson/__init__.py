"""A trained network on a Jetson: exported where it was trained, run where there is no JAX."""
