"""The space that `auto` stands for: what usually matters for a method, around what it advises.

The learning rate is searched a decade to each side of the advised one, by its logarithm: 2e-5 to 2e-3 for LoRA, 1e-6 to
1e-4 for whole large language models, 3e-5 to 3e-3 for adapters, 5e-4 to 5e-2 for prompts. That is where the published
optima of each method lie, and the method's own setting moves a score more than the way it is searched. LoRA's alpha is
not searched: updates are scaled by alpha / rank, with which the best learning rate hardly depends on the rank (Schulman
et al. 2025, https://thinkingmachines.ai/blog/lora), so alpha would say the learning rate again. Nor is the length,
which is what short looks save, nor the seed.
"""

from collections.abc import Mapping
from typing import Any

from luthier.methods import Method
from luthier.training.settings import Training

DECADE = 10.0
"""The learning rate's range on each side of the advised one, as a factor."""
DROPOUTS = (0.0, 0.05, 0.1)
LENGTHS = (5, 10, 20, 50)
OF_METHOD: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "lora": {"rank": (4, 8, 16, 32, 64), "dropout": DROPOUTS},
    "adapter": {"reduction": (4.0, 8.0, 16.0, 32.0), "dropout": DROPOUTS},
    "prefix": {"length": LENGTHS, "dropout": DROPOUTS},
    "prompt": {"length": LENGTHS},
    "partial": {"layer_decay": (0.8, 0.9, 1.0)},
    "setfit": {"c": (0.1, 1.0, 10.0)},
}
"""What is searched of a method, beside the training's settings; kinds that are not here have none of their own."""
WEIGHT_DECAYS = (0.0, 0.01, 0.1)
MOST_WARMUP = 0.1


def auto_space(method: Method, training: Training, *, advised: float) -> dict[str, Any]:
    """The space as a recipe would say it, by key path; every choice has the recipe's own setting too.

    `advised` is the learning rate that the method advises for a model of this size.
    """
    own_rate = advised if training.learning_rate == "auto" else training.learning_rate
    optimizer, schedule = training.optimizer, training.schedule
    space: dict[str, Any] = {
        "training.learning_rate": {"log": [min(advised, own_rate) / DECADE, max(advised, own_rate) * DECADE]},
        **{f"method.{name}": _choice(usual, getattr(method, name)) for name, usual in _of(method).items()},
        "training.schedule.warmup": {"uniform": [0.0, max(MOST_WARMUP, schedule.warmup)]},
        "training.optimizer.weight_decay": _choice(WEIGHT_DECAYS, optimizer.weight_decay),
    }
    if _learns_by_epochs(method, training):
        size = training.batch_size
        sizes = {max(1, training.accumulation, size // 2), size, 2 * size}
        space["training.batch_size"] = {"choice": sorted(sizes)}
    return space


def _of(method: Method) -> Mapping[str, tuple[float, ...]]:
    """What is searched of the method; not what does nothing as it is set."""
    own = OF_METHOD.get(method.kind(), {})
    settings = method.model_dump()
    if settings.get("tokens") or settings.get("text"):  # the length is that of the text
        return {name: usual for name, usual in own.items() if name != "length"}
    if method.kind() == "partial" and settings["train"] == ("head",):  # one level learns, and none falls from it
        return {}
    if method.kind() == "setfit" and settings["head"] != "logistic":
        return {}
    return own


def _learns_by_epochs(method: Method, training: Training) -> bool:
    """Whether a larger batch means fewer steps over the same rows; else it would mean more of them, and more time."""
    return training.steps is None and method.kind() != "setfit"


def _choice(usual: tuple[float, ...], own: float) -> dict[str, list[float]]:
    return {"choice": sorted({*usual, own})}
