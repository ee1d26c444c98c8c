"""Experiments: get_config() -> ConfigDict, only what differs from flow.py."""
