"""Every kind of bad data is one DataError, told before a model is loaded."""

from pathlib import Path

import pytest

from luthier.component import Facts
from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.errors import DataError
from luthier.tasks.text_classification import TextClassification
from tests.data.bad import BAD, Bad


def read(data: DataSource) -> None:
    """All that a run does with its data before it loads a model."""
    splits = load(data, TextClassification().layouts(), seed=0)
    task = TextClassification().resolve(Facts(train=splits.train))
    for name, rows in splits.named().items():
        task.require_targets(rows, name)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_data_is_told_in_one_message(bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in bad.files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    train = next(iter(bad.files)).split("/")[0]
    data = DataSource.model_validate({"train": train, "validation": None, **bad.settings})
    with pytest.raises(DataError) as caught:
        read(data)
    assert bad.message in str(caught.value)
