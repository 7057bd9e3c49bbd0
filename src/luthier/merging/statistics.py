"""What Fisher and RegMean must know of each model, gathered by a pass over some rows that it learnt from.

`fisher`: F = mean over rows of (d loss / dθ)², a number for each weight: of cross-entropy, summed over a row's targets
as the task trains it, the empirical Fisher information (Matena & Raffel 2022, https://arxiv.org/abs/2111.09832).
Windows of a long row count each. `inputs`: G = Σ x xᵀ over the inputs x of each linear layer, row by row, so that none
is padded to another's length (RegMean, Jin et al. 2023, https://arxiv.org/abs/2212.09849).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from safetensors.torch import save_file
from torch import Tensor, nn

from luthier import files
from luthier.data.splits import load
from luthier.errors import MergeError
from luthier.groundwork import labels_of
from luthier.merging.parents.checkpoint import SINGLE
from luthier.models.resting import resting
from luthier.run import Run

What = Literal["fisher", "inputs"]


def gather(
    folder: str | Path,
    output: Path,
    what: What,
    *,
    num_rows: int = 256,
    device: str = "auto",
    on_row: Callable[[int, int], object] = lambda done, total: None,
) -> int:
    """Gather a run's statistics on some of its training rows, drawn at random, into a folder; -> rows used.

    Raises MergeError where the run keeps no plain model, its loss couples rows, or the output exists.
    """
    run = Run.open(folder)
    if not run.model_folder.is_dir():
        raise MergeError(f"{folder}: keeps an adapter and no plain model, so there is nothing to merge it by")
    if output.exists():
        raise MergeError(f"{output}: exists; choose another output")
    recipe, task = run.recipe, run.recipe.task
    if what == "fisher" and task.couples_rows:
        raise MergeError(
            f"{folder}: the loss of {task.kind()} couples rows, so no row has a gradient of its own; take regmean"
        )
    rows = load(recipe.data, task.layouts(), seed=recipe.training.seed, labels_of=labels_of(task)).train
    chosen = rows.shuffle(seed=recipe.training.seed).select(range(min(num_rows, len(rows))))
    model, processor = run.load(device)
    prepared = task.prepare(chosen, processor)
    collate = lambda numbers: task.collate(prepared[numbers], processor).to(model.device)  # noqa: E731
    work = _fisher if what == "fisher" else _inputs
    with resting(model.modules()):
        found = work(model, task, prepared, collate, on_row)
    if what == "fisher" and not any(bool(each.any()) for each in found.values()):
        raise MergeError(f"{folder}: no row has a gradient, so there is nothing to weigh by")
    with files.new_folder(output) as beside:
        save_file({name: each.cpu().contiguous() for name, each in found.items()}, beside / SINGLE)
    return len(chosen)


def _fisher(
    model: Any, task: Any, rows: Dataset, collate: Any, on_row: Callable[[int, int], object]
) -> dict[str, Tensor]:
    """Row by row: the square is of one row's gradient, not of a batch's."""
    squares = {name: torch.zeros_like(each, dtype=torch.float32) for name, each in model.named_parameters()}
    model.requires_grad_(True)
    for number in range(len(rows)):
        loss = task.loss(model, collate([number]))
        loss.total.sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                squares[name].add_(parameter.grad.float().square())
                parameter.grad = None
        on_row(number + 1, len(rows))
    return {name: square / len(rows) for name, square in squares.items()}


@torch.no_grad()
def _inputs(
    model: Any, task: Any, rows: Dataset, collate: Any, on_row: Callable[[int, int], object]
) -> dict[str, Tensor]:
    """Row by row too, so that nothing is padding."""
    with _listening(model) as grams:
        for number in range(len(rows)):
            task.loss(model, collate([number]))
            on_row(number + 1, len(rows))
    return grams


@contextmanager
def _listening(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """While open, each linear layer adds its inputs' dot products under its weight's name."""
    grams = dict[str, Tensor]()

    def hear(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def heard(_: nn.Module, given: tuple[Any, ...]) -> None:
            inputs = given[0].detach().reshape(-1, given[0].shape[-1]).float()
            known = grams.get(name)
            grams[name] = inputs.T @ inputs if known is None else known.addmm_(inputs.T, inputs)

        return heard

    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    hooks = [module.register_forward_pre_hook(hear(f"{name}.weight")) for name, module in linears.items()]
    try:
        yield grams
    finally:
        for hook in hooks:
            hook.remove()
