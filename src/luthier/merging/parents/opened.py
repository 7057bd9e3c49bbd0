"""Opens the models that a recipe names: folders, packages, hub ids, `model+adapter`, finished runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.data.places import locate
from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import INDEX, SINGLE, Checkpoint, Folder, Renamed
from luthier.merging.parents.names import aligned


@dataclass(frozen=True)
class Opened:
    """A model that goes into a merge."""

    name: str
    """As the user typed it."""
    path: Path
    """Its folder, with config.json, weights, tokenizer."""
    checkpoint: Checkpoint
    adapters: tuple[Path, ...] = ()
    """Folders of the LoRAs that are added to it."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that it is read from."""
        return (self.path, *self.adapters)


def open_models(names: Iterable[str]) -> dict[str, Opened]:
    """Every model once, by its name as typed.

    Raises MergeError where one is not there, or holds no safetensors.
    """
    unique = list(dict.fromkeys(names))
    labels = dict(zip(unique, labels_of(unique), strict=True))
    return {name: _open(name, labels[name]) for name in unique}


def open_statistics(name: str, reference: Checkpoint) -> Checkpoint:
    """What was gathered for a model, under the names of the reference's tensors.

    Raises MergeError where there is no such folder, or it is of another architecture.
    """
    if not Path(name).is_dir():
        raise MergeError(f"{name}: no such folder of statistics; luthier merge statistics RUN -o {name} makes one")
    folder = Folder(Path(name), name)
    names = aligned(folder.specs, reference.specs)
    if not names:
        raise MergeError(
            f"{name}: has statistics of no tensor of {reference.label}; gather them of the models themselves"
        )
    return Renamed(folder, names)


def labels_of(names: Iterable[str]) -> Iterator[str]:
    """The last part of each name, which stays when folders move; made different by a number where it is not."""
    seen: dict[str, int] = {}
    for name in names:
        label = "+".join(Path(part).name for part in name.split("+"))
        seen[label] = seen.get(label, 0) + 1
        yield label if seen[label] == 1 else f"{label}#{seen[label]}"


def _open(name: str, label: str) -> Opened:
    model, *adapters = [name] if Path(name).is_dir() else name.split("+")
    path, folders = _folder_of(model), tuple(_place(adapter) for adapter in adapters)
    checkpoint: Checkpoint = _modern(Folder(path, label))
    for folder in folders:
        from luthier.merging.adapters.adapted import Adapted

        checkpoint = Adapted(checkpoint, folder)
    checkpoint.label = label
    return Opened(name, path, checkpoint, folders)


def _modern(folder: Folder) -> Checkpoint:
    """Under the names of today: a norm's gamma and beta are its weight and bias."""
    words = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    names = {name: name for name in folder.specs}
    for old, new in words.items():
        names = {
            f"{name.removesuffix(old)}{new}" if name.endswith(old) else name: theirs for name, theirs in names.items()
        }
    return folder if all(name == theirs for name, theirs in names.items()) else Renamed(folder, names)


def _folder_of(name: str) -> Path:
    """The folder of weights; of a finished run, that of its model."""
    path = _place(name)
    is_run = (path / "recipe.yaml").is_file() and not any((path / file).is_file() for file in (SINGLE, INDEX))
    if is_run and not (path / "model").is_dir():
        raise MergeError(
            f"{name}: is a run without a model/ folder, so it is not finished, or its method does not fold"
        )
    return path / "model" if is_run else path


def _place(name: str) -> Path:
    path = locate(name, where="merge", error=MergeError)
    if path is None:
        path = _from_hub(name)
    if not path.is_dir():
        raise MergeError(f"{name}: is a file; a model that is merged is a folder with config.json and safetensors")
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                ignore_patterns=["*.bin", "*.pt", "*.pth", "*.onnx", "*.h5", "*.msgpack"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise MergeError(f"{name}: is no folder here, and could not be fetched from the hub: {first}") from None
