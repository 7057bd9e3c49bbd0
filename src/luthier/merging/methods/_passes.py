"""A pass over a whole model: tensor by tensor, on several threads, for what does not depend on their order."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch

from luthier.merging.methods import Tensors

MOST_THREADS = 4
"""Each holds a part of every model."""


def over(model: Iterable[Tensors], work: Callable[[Tensors], None]) -> None:
    """Give every tensor to `work`, which may be called by as many threads at once as torch has here."""
    num = min(MOST_THREADS, torch.get_num_threads())
    # One thread of torch's for each of ours: together they are as many as before.
    with ThreadPoolExecutor(num, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        try:
            for _ in threads.map(work, model):
                pass
        finally:
            threads.shutdown(cancel_futures=True)
            torch.set_num_threads(num)
