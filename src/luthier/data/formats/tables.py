"""Tables: Parquet files, saved `datasets` folders, hub data sets. Label numbers become the names they stand for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, load_dataset, load_from_disk

from luthier.data.formats import Placed, Row
from luthier.errors import DataError, did_you_mean

SAVED = ("dataset_dict.json", "state.json")
"""Files by one of which a saved `datasets` folder is known."""

ROWS_AT_ONCE = 1000


def read_parquet(path: Path) -> Iterator[Placed]:
    """The rows of a Parquet file."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path, memory_map=True)
        features = Features.from_arrow_schema(file.schema_arrow)
        batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=ROWS_AT_ONCE))
        yield from _placed(chain.from_iterable(batches), features, path.name)
    except (ArrowException, ValueError, ArithmeticError) as error:  # what Arrow raises has no one base
        raise DataError(f"{path.name}: is no Parquet file that can be read: {_short(error)}") from error


def read_saved(path: Path, split: str, *, where: str) -> Iterator[Placed]:
    """The rows of a folder that `datasets` saved; of several splits, the one of that name."""
    try:
        saved = load_from_disk(str(path))
    except Exception as error:  # whatever is wrong with its files, it is the same to a user
        raise DataError(f"{where}: {path.name} is no datasets folder that can be read: {_short(error)}") from error
    if isinstance(saved, DatasetDict):
        if split not in saved:
            near = did_you_mean(split, saved)
            raise DataError(
                f"{where}: {path.name} holds the splits {', '.join(saved) or 'none'}, but no {split}{near} "
                f"(name the folder of one, as in {path.name}/{next(iter(saved), 'train')})"
            )
        saved = saved[split]
    try:
        yield from _placed(_undecoded(saved), saved.features, path.name)
    except (ValueError, ArithmeticError, KeyError) as error:
        raise DataError(f"{path.name}: has a row that cannot be read: {_short(error)}") from error


def read_hub(source: str, split: str, *, where: str) -> Iterator[Placed]:
    """The rows of a hub data set's split; the set is `ORG/NAME` or `ORG/NAME:CONFIG`."""
    name, _, config = source.partition(":")
    try:
        rows: Dataset = load_dataset(name, config or None, split=split)
    except Exception as error:  # the hub client raises dozens of kinds; each is the same to a user
        raise DataError(
            f"{where}: {source} is no file or folder here, and as a hub data set it gave: {error}"
        ) from error
    yield from _placed(_undecoded(rows), rows.features, source)


def _undecoded(rows: Dataset) -> Dataset:
    """Rows as they are stored: sound as its file or bytes, which the task reads by itself."""
    for name, feature in rows.features.items():
        if isinstance(feature, Audio):
            rows = rows.cast_column(name, Audio(decode=False))
    return rows.with_format(None)


def _placed(rows: Iterable[Row], features: Features, name: str) -> Iterator[Placed]:
    to_names = {column: named for column, feature in features.items() if (named := _to_names(feature)) is not None}
    for number, row in enumerate(rows):
        yield f"{name}:{number}", _with_names(row, to_names)


def _with_names(row: Row, to_names: Mapping[str, Callable[[Any], Any]]) -> Row:
    return {**row, **{column: named(row[column]) for column, named in to_names.items()}} if to_names else row


def _to_names(feature: Any) -> Callable[[Any], Any] | None:
    """What makes names of label numbers; None for what is no label. A number that has no name stands for none."""
    if isinstance(feature, ClassLabel):
        known = feature.names
        return lambda number: known[number] if number is not None and 0 <= number < len(known) else None
    if isinstance(feature, List) and (inner := _to_names(feature.feature)) is not None:
        return lambda numbers: None if numbers is None else [inner(number) for number in numbers]
    return None


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
