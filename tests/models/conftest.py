"""What is held against torch has one thread of it."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """Several wait for each other, which takes minutes on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
