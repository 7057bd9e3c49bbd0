"""Tiny models whose tokenizers differ, in folders, and a plain merge of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from luthier.merging.parents.checkpoint import Checkpoint, Folder, Renamed
from luthier.merging.parents.ties import Ties, ties
from luthier.merging.vocabularies.remapped import Remapped
from luthier.merging.vocabularies.vocabulary import Vocabulary, one_vocabulary
from luthier.merging.vocabularies.words import num_rows, vocabulary_axes
from tests.merging.models import child, llama
from tests.tiny import tokenizer


def with_tokens(added: Sequence[str]) -> PreTrainedTokenizerBase:
    """The tiny tokenizer and more tokens; those in angle brackets are special."""
    words = tokenizer()
    words.add_tokens([AddedToken(token, special=token.startswith("<"), normalized=False) for token in added])
    return words


def model_of(folder: Path, *added: str, seed: int = 0, padded_to: int | None = None, tied: bool = False) -> Path:
    """A random model whose tokenizer has more tokens than the tiny one's."""
    words = with_tokens(added)
    model = child(llama(vocab_size=padded_to or len(words), tie_word_embeddings=tied), seed, by=0.1)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def opened(folders: Mapping[str, Path]) -> tuple[dict[str, Checkpoint], Ties]:
    """Every model with the names of all."""
    plain = [Folder(path, label) for label, path in folders.items()]
    found = ties(plain)
    return {each.label: Renamed.adding(each, found.aliases[each.label]) for each in plain}, found


def vocabulary_of(folders: Mapping[str, Path], base: str, source: str | None, **how: object) -> Vocabulary:
    """The merged vocabulary, with sizes as the weights have them."""
    sizes = {}
    for label, path in folders.items():
        checkpoint = Folder(path, label)
        sizes[label] = num_rows(checkpoint.specs, checkpoint.config) or 0
    return one_vocabulary(list(folders.items()), sizes, base=base, source=source, **how)  # type: ignore[arg-type]


def remapped(checkpoints: Mapping[str, Checkpoint], vocabulary: Vocabulary) -> dict[str, Checkpoint]:
    """Every model in the merged vocabulary."""
    return {
        label: Remapped(
            each,
            label=label,
            vocabulary=vocabulary,
            axes=vocabulary_axes(each.specs, each.config),
            others=checkpoints,
        )
        for label, each in checkpoints.items()
    }


def mean_into(folder: Path, models: Mapping[str, Checkpoint], dropped: frozenset[str] = frozenset()) -> None:
    """The mean of all models as a file of weights."""
    first = next(iter(models.values()))
    made: dict[str, Tensor] = {}
    for name in first.specs:
        if name not in dropped:
            made[name] = torch.stack([each.read(name) for each in models.values()]).mean(0).contiguous()
    save_file(made, folder / "model.safetensors", {"format": "pt"})


def loaded_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)
