"""More of what an adapter learnt, less, or its opposite. Task vectors: Ilharco et al. 2022, https://arxiv.org/abs/2212.04089."""

import math
from pathlib import Path

from luthier.errors import MergeError
from luthier.merging.adapters.lora_files import Adapter, read_lora, require_free, write_lora
from luthier.merging.adapters.reports import Layer, Report


def scale(folder: Path, into: Path, *, factor: float, overwrite: bool = False) -> Report:
    """Write an adapter times a factor; by -1 it takes away what it had taught, on purpose.

    What it holds as a whole (heads, biases) stays as it is. Raises MergeError where it cannot be read.
    """
    require_free(into, overwrite=overwrite)
    if not math.isfinite(factor):
        raise MergeError(f"factor: {factor} is no finite number")
    given = read_lora(folder)
    layers = {name: factors.scaled(factor) for name, factors in given.layers.items()}
    write_lora(Adapter(into.name, layers, given.whole, given.settings, given.base), into, overwrite=overwrite)
    notes = ("what the adapter holds whole is not scaled",) if given.whole and factor != 1 else ()
    shown = tuple(Layer(name, factors.rank, 1.0, 1.0) for name, factors in layers.items())
    return Report(into, f"times {factor:g}", shown, is_cut=False, num_whole=len(given.whole), notes=notes)
