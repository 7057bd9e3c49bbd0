"""A pass over a whole model: tensor by tensor, on several threads, for what does not depend on their order."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from luthier.merging.methods import Tensors

MOST_THREADS = 4
"""Each holds a part of every model."""


def over(model: Iterable[Tensors], work: Callable[[Tensors], None]) -> None:
    """Give every tensor to `work`, which may be called by several threads at once."""
    num = min(MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if num == 1:
        for tensors in model:
            work(tensors)
        return
    with ThreadPoolExecutor(num) as threads:
        for _ in threads.map(work, model):
            pass
