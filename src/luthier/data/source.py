"""The settings that say where a run's rows come from."""

import io
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from luthier.component import Component

Share = Annotated[float, Field(gt=0, lt=1)]


class DataSource(Component):
    """Files, folders, a hub id or `package:NAME/PATH` for each split."""

    shorthand: ClassVar[str] = "train"

    train: str
    """Training rows: CSV, TSV, JSONL, JSON or Parquet file (text files also as .gz, .bz2, .xz), folder of class folders
    of .txt files, saved datasets folder, hub id, or package:NAME/PATH."""
    validation: Share | str | None = 0.1
    """Rows that choose the best state: a source like train, or a share cut from the training rows; null: none."""
    test: Share | str | None = None
    """Rows for the final figures: a source like train, or a share cut from the training rows first."""
    cut_seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Seed under which shares are cut, so that runs of other seeds are judged by the same rows; null: training.seed."""
    n_per_class: Annotated[int, Field(ge=1)] | None = None
    """Rows of each label that are learnt from, drawn of the training rows under training.seed once the shares are cut;
    a label with fewer keeps them all, the others' rest is left out; null: all rows."""
    columns: dict[str, str] = {}
    """Task's column: file's column, where the usual names do not serve, as in {text: body, label: topic}."""
    duplicates: Literal["drop", "keep"] = "drop"
    """What happens to rows that repeat another one of their source; drop keeps the first of them."""
    bad_rows: Literal["fail", "skip"] = "fail"
    """What happens to rows that cannot be used: fail lists them and stops, skip lists them and goes on."""
    encoding: str = "utf-8"
    """Encoding of text files."""

    @field_validator("encoding")
    @classmethod
    def _exists(cls, encoding: str) -> str:
        try:
            io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # hex and its like are codecs, and none of text
        except LookupError:
            raise ValueError(f"no encoding is called {encoding}; utf-8, utf-16, latin-1 and cp1252 are usual") from None
        return encoding
