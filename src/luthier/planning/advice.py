"""Which method for this model, these rows and this memory, in words.

The thresholds are the field's practice, no law: on fewer than a thousand rows updating everything gains little over
LoRA and forgets more (Biderman et al. 2024, https://arxiv.org/abs/2405.09673), and from a billion parameters on LoRA is
where people begin (https://thinkingmachines.ai/blog/lora/).
"""

from collections.abc import Sequence

from luthier.component import groups_of
from luthier.planning.amounts import written
from luthier.planning.options import Option

FEW_ROWS = 1000
FEW_ROWS_A_LABEL = 32
LARGE = 1_000_000_000
"""Parameters from which on a small update comes first."""
SMALL_FIRST = ("lora", "qlora", "partial, last 2 blocks", "partial, head", "full")
ALL_FIRST = ("full", "lora", "qlora", "partial, last 2 blocks", "partial, head")


def advice(
    options: Sequence[Option], memory: int | None, *, num_rows: int | None, num_labels: int, num_parameters: int
) -> list[str]:
    """Sentences: what to choose, why, and what to do where nothing fits."""
    told, is_large = list[str](), num_parameters >= LARGE
    is_few = num_rows is not None and num_rows < FEW_ROWS
    order = SMALL_FIRST if is_few or is_large else ALL_FIRST
    fitting = [option for option in options if memory is None or option.peak <= memory]
    ranked = sorted(fitting, key=lambda option: (order.index(option.name), option.checkpointing))
    if ranked:
        best = ranked[0]
        why = [f"{num_rows:,} rows are few"] if is_few else []
        why += [f"the model has {num_parameters / 1e9:.1f} billion parameters"] if is_large else []
        why += (
            [] if why else ["the model is small, and nothing learns more than all of it"] if best.name == "full" else []
        )
        bigger = [
            each.name for each in options if each not in fitting and order.index(each.name) < order.index(best.name)
        ]
        why += [f"{bigger[0]} does not fit"] if bigger else []
        reason = f", as {' and '.join(why)}" if why else ""
        told.append(f"Take {best.name} ({' '.join(best.settings)}): {written(best.peak)}{reason}.")
    elif options and memory is not None:
        least = min(options, key=lambda option: option.peak)
        told.append(
            f"Nothing fits in {written(memory)}: the least, {least.name}, takes {written(least.peak)}. Take a smaller "
            "model, shorter rows, a smaller training.micro_batch_size, or more devices (--devices)."
        )
    if num_labels and num_rows is not None and num_rows / num_labels < FEW_ROWS_A_LABEL and groups_of("setfit"):
        told.append(f"With {num_rows / num_labels:.0f} rows a label, try setfit too: it is made for a few.")
    return told
