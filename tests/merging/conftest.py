"""What several tests of merging share."""

from pathlib import Path

import pytest

import luthier
from tests.runs import tiny_model, write_rows


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and two runs from it, `topics` and `mails`, whose rows differ; made once, and only read."""
    folder = tmp_path_factory.mktemp("family")
    base = tiny_model(folder / "base")
    for seed, name in enumerate(("topics", "mails"), 1):
        rows = write_rows(folder / f"{name}.csv", 60 + 30 * seed)
        data = {"train": str(rows), "test": 0.2, "validation": 0.2}
        training = {"epochs": 6, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32", "seed": seed}
        luthier.tune(model=str(base), data=data, task="text-classification", training=training, output=folder / name)
    return folder
