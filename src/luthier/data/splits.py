"""From sources to splits: rows under the task's column names, checked, without repeats, cut where asked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from datasets import Dataset

from luthier.data.columns import Layout
from luthier.data.cut import cut
from luthier.data.few import LabelsOf, few, one_label
from luthier.data.places import folder_of
from luthier.data.read import read
from luthier.data.sift import PLACE, digest, sift
from luthier.data.source import DataSource
from luthier.data.spool import batches
from luthier.errors import DataError


@dataclass(frozen=True)
class Splits:
    """The rows of a run, and what was done to get them."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    notes: tuple[str, ...] = field(default=())
    """What a user should know: columns chosen, rows skipped, repeats dropped, leaks."""
    places: Mapping[str, Dataset] = field(default_factory=dict)
    """Where the rows of each split stood, row by row."""

    def named(self) -> dict[str, Dataset]:
        """The splits that are there, by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: rows for name, rows in splits.items() if rows is not None}

    def place(self, split: str, number: int) -> str:
        """Where a split's row stood, as in `train.csv:17`."""
        return str(self.places[split][number][PLACE])


def load(data: DataSource, layouts: Sequence[Layout], *, seed: int, labels_of: LabelsOf = one_label) -> Splits:
    """Read every split; shares are cut from the training rows, the test share first; then few of each label are drawn.

    Raises DataError where a source, a column or (with `bad_rows: fail`) a row cannot be used, RecipeError where rows
    are to be drawn by labels that they have not.
    """
    notes: list[str] = []
    cut_seed = seed if data.cut_seed is None else data.cut_seed
    placed = {"train": _read(data, data.train, "train", layouts, notes)}
    for offset, (name, source) in enumerate((("test", data.test), ("validation", data.validation))):
        if isinstance(source, float):
            kept, cut_off = cut(placed["train"], source, seed=cut_seed + offset, where=f"data.{name}")
            placed[name] = placed["train"].select(cut_off)
            placed["train"] = placed["train"].select(kept)
        elif source is not None:
            placed[name] = _read(data, source, name, layouts, notes)
    if data.n_per_class is not None:
        drawn = few(placed["train"], data.n_per_class, seed=seed, labels_of=labels_of)
        placed["train"] = placed["train"].select(drawn.rows)
        notes.extend(drawn.notes)
    rows = {name: each.remove_columns(PLACE) for name, each in placed.items()}
    places = {name: each.select_columns(PLACE) for name, each in placed.items()}
    splits = Splits(rows["train"], rows.get("validation"), rows.get("test"), tuple(notes), places)
    targets = {column.name for layout in layouts for column in layout.columns if column.target}
    return replace(splits, notes=(*notes, *_leaks(splits.named(), targets)))


def read_rows(data: DataSource, source: str, split: str, layouts: Sequence[Layout], notes: list[str]) -> Dataset:
    """One source as a table with the task's columns; what was noticed is added to the notes."""
    return _read(data, source, split, layouts, notes).remove_columns(PLACE)


def _read(data: DataSource, source: str, split: str, layouts: Sequence[Layout], notes: list[str]) -> Dataset:
    """One source as a table with the task's columns and each row's place."""
    where = f"data.{split}"
    placed = read(source, split, encoding=data.encoding, where=where)
    sifted = sift(placed, layouts, data, where=where, folder=folder_of(source, where=where))
    renamed = ", ".join(f"{theirs} as {ours}" for ours, theirs in sifted.columns.items() if ours != theirs)
    if renamed:
        notes.append(f"{split}: read {renamed}")
    if sifted.num_bad:
        found = f"{sifted.num_bad} of {sifted.num_rows} rows"
        if data.bad_rows == "fail":
            raise DataError(
                f"{where}: {found} cannot be used:\n{sifted.listed}\n"
                "Mend them, or leave them out with data.bad_rows=skip"
            )
        notes.append(f"{split}: {found} skipped:\n{sifted.listed}")
    if sifted.rows is None:
        raise DataError(f"{where}: {source} holds no rows{' that can be used' if sifted.num_bad else ''}")
    if sifted.num_repeats:
        num_usable = sifted.num_good + sifted.num_repeats
        notes.append(f"{split}: {sifted.num_repeats} of {num_usable} rows repeat another one and were dropped")
    return sifted.rows


def _leaks(rows: Mapping[str, Dataset], targets: set[str]) -> list[str]:
    """Texts of the validation or test rows that training has too."""
    train = rows["train"]
    text = [name for name in train.column_names if name not in targets]
    others = {n: each for n, each in rows.items() if n != "train" and set(text) <= set(each.column_names)}
    if not others:
        return []
    unseen = {name: _texts(each, text) for name, each in others.items()}
    leaked = Counter[str]()
    for piece in batches(train, text):
        for row in zip(*(piece[name] for name in text), strict=True):
            key = digest(row)
            for name, keys in unseen.items():
                leaked[name] += keys.pop(key, 0)
    return [
        f"{name}: {leaked[name]} of {len(others[name])} rows have a text that training has too (a leak)"
        for name in rows
        if leaked[name]
    ]


def _texts(rows: Dataset, names: Sequence[str]) -> Counter[bytes]:
    """How often each text occurs, as its digest."""
    pieces = batches(rows, names)
    return Counter(digest(row) for piece in pieces for row in zip(*(piece[name] for name in names), strict=True))
