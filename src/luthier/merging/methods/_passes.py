"""A pass over a whole model: tensor by tensor, on several threads, for what does not depend on their order."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch

from luthier.merging.methods import Tensors

MOST_THREADS = 4
"""Each holds a part of every model."""


def over(model: Iterable[Tensors], work: Callable[[Tensors], None]) -> None:
    """Give every tensor to `work`, which may be called by several threads at once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = torch.get_num_threads()
    # One thread of torch's for each of ours: together they are as many as there are cores.
    with ThreadPoolExecutor(min(MOST_THREADS, cores), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        for _ in threads.map(work, model):
            pass
    torch.set_num_threads(before)
