"""The roofline: how long the products that a training needs would take, and nothing else.

    floor = sum over products of  needed FLOPs / measured rate of a product of that shape

FLOPs are counted on rows alone, so without padding, forward and backward, with only the gradients that the method
needs. Rates are measured on this machine in the run's precision: a product of tokens with a weight at as many tokens
as are computed at once, products of attention as they are. Williams et al. 2009, https://doi.org/10.1145/1498765.1498785.
"""

import statistics
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from transformers import PreTrainedModel

from benchmarks._work import Work
from luthier.models.device import choose_precision, micro_batch_tokens

aten = torch.ops.aten
OPERANDS = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1}
"""The products, and where their first operand stands."""
TOKENS_AT_ONCE = micro_batch_tokens("cpu") or 2048
"""Tokens of a micro-batch on a CPU."""
NUM_SAMPLED = 24
"""Rows whose products are counted."""
NUM_ATTENTION_SHAPES = 8
"""Products of attention whose rate is measured, of the costliest."""

Shape = tuple[int, ...]
"""(rows, inner, columns) of a product, with the batch before them where there is one."""


def floor_s(model: PreTrainedModel, work: Work, *, epochs: int = 1) -> float:
    """Seconds below which these epochs cannot be trained on this machine."""
    rows = work.train
    numbers = list(range(0, len(rows), max(1, len(rows) // NUM_SAMPLED)))
    flops = _needed(model, work, numbers)
    weights = {size for p in model.parameters() if p.ndim == 2 for size in p.shape}
    lengths = rows["length"][:]
    scale = TOKENS_AT_ONCE / statistics.mean(int(lengths[number]) for number in numbers)
    wanted: Counter[Shape] = Counter()
    for shape, count in flops.items():
        wanted[_at_once(shape, weights, scale)] += count
    dtype = torch.bfloat16 if choose_precision("auto", model.device.type) == "bf16" else torch.float32
    seconds = _seconds(wanted, dtype, model.device)
    return seconds * int(lengths.sum()) / int(lengths[numbers].sum()) * epochs


class _Products(TorchDispatchMode):
    """Counts the FLOPs of every operation, by the shape of its product; the empty shape holds all others."""

    def __init__(self) -> None:
        super().__init__()
        self.flops: Counter[Shape] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet in flop_registry:
            shape: Shape = ()
            if packet in OPERANDS:
                a, b = args[OPERANDS[packet] : OPERANDS[packet] + 2]
                shape = (*a.shape, b.shape[-1])
            self.flops[shape] += flop_registry[packet](*args, **(kwargs or {}), out_val=answer)
        return answer


def _needed(model: PreTrainedModel, work: Work, numbers: list[int]) -> Counter[Shape]:
    """FLOPs of these rows' losses and their gradients, each row alone."""
    model.train()
    with _Products() as products:
        for number in numbers:
            batch = work.task.collate(work.train[[number]], work.processor).to(model.device)
            work.task.loss(model, batch).total.sum().backward()
            model.zero_grad(set_to_none=True)
    return products.flops


def _at_once(shape: Shape, weights: Collection[int], scale: float) -> Shape:
    """A row's product as it is when many rows are computed at once: the size that no weight has grows."""
    others = [place for place, size in enumerate(shape) if size not in weights]
    if len(shape) != 3 or len(others) != 1:
        return shape
    (place,) = others
    quarters = min(max(1, round(4 * shape[place] * scale / TOKENS_AT_ONCE)), 4)  # few sizes, so few rates to measure
    return (*shape[:place], quarters * TOKENS_AT_ONCE // 4, *shape[place + 1 :])


def _seconds(wanted: Counter[Shape], dtype: torch.dtype, device: torch.device) -> float:
    """At the measured rates; what is not measured is as fast as the rest."""
    attention = [shape for shape, _ in wanted.most_common() if len(shape) == 4][:NUM_ATTENTION_SHAPES]
    timed = [*(shape for shape in wanted if len(shape) == 3), *attention]
    seconds = sum(wanted[shape] / rate(shape, dtype, device) for shape in timed)
    return seconds * wanted.total() / sum(wanted[shape] for shape in timed)


def rate(shape: Shape, dtype: torch.dtype, device: torch.device, *, seconds: float = 0.01) -> float:
    """FLOP/s of a product of this shape on random numbers: the median of five spells of about `seconds`."""
    *batch, num_rows, inner, num_columns = shape
    a = torch.randn(*batch, num_rows, inner, device=device).to(dtype)
    b = torch.randn(*batch, inner, num_columns, device=device).to(dtype)
    once = min(_spell(a, b, 1) for _ in range(2))
    repeats = max(1, round(seconds / max(once, 1e-6)))
    taken = statistics.median(_spell(a, b, repeats) for _ in range(5))
    flops = 2 * torch.Size(batch).numel() * num_rows * inner * num_columns
    return flops * repeats / taken


def _spell(a: torch.Tensor, b: torch.Tensor, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    if a.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
