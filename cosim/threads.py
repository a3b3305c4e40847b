"""One thread for linear algebra: parallelism comes from worker processes.

Batched Cholesky with two threads was 16 times slower than with one, small products wait for a second thread that a
worker process keeps busy, and sums change in their last bits with the number of threads.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread inside a block, for code that runs in a user's own process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch and the BLAS under numpy and scipy to one thread inside a block; also a decorator."""
    # torch outside: inside the other's limit it would take one for its own number of threads.
    with one_torch_thread(), threadpool_limits(limits=1):
        yield
