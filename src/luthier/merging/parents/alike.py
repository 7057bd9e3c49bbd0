"""Makes models of one architecture read alike: the same names, the same ties, the same words in the same rows."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from luthier.errors import MergeError
from luthier.merging.parents.blocks import is_numbered
from luthier.merging.parents.checkpoint import Checkpoint, Renamed
from luthier.merging.parents.names import aligned
from luthier.merging.parents.opened import Opened
from luthier.merging.parents.ties import Ties, ties
from luthier.merging.recipes.recipe import MergeRecipe, TokenSource
from luthier.merging.vocabularies.remapped import Remapped
from luthier.merging.vocabularies.vocabulary import Vocabulary, one_vocabulary
from luthier.merging.vocabularies.words import num_rows, vocabulary_axes


@dataclass(frozen=True)
class Alike:
    """The models of a merge, ready to be read side by side."""

    known: frozenset[str]
    """Names of the reference's tensors, those apart that are ties."""
    checkpoints: Mapping[str, Checkpoint]
    """By the model's name as typed."""
    ties: Ties
    vocabulary: Vocabulary | None
    """None where the models know no words."""
    left_out: Mapping[str, tuple[str, ...]]
    """By the model's name, its tensors that the reference has not."""
    kept: frozenset[str] = frozenset()
    """Tensors of the reference that no other model has, as its head."""


def alike(recipe: MergeRecipe, models: Mapping[str, Opened], reference: Opened, *, whole: bool) -> Alike:
    """Read every model as the reference is; `whole` says that every model must have all of its tensors.

    Raises MergeError where one lacks tensors, or words differ and nothing says what is meant.
    """
    renamed, left_out = dict[str, Checkpoint](), dict[str, tuple[str, ...]]()
    for name, opened in models.items():
        renamed[name], left_out[name] = _renamed(opened, reference.checkpoint) if whole else (opened.checkpoint, ())
    _require_plain(renamed, reference)
    tied = ties(list(renamed.values()))
    made = {name: _aliased(each, tied) for name, each in renamed.items()}
    wanted = made[reference.name].specs.keys() - tied.dropped
    kept = _of_the_reference_alone(wanted, made, reference) if whole else frozenset()
    for name, checkpoint in made.items() if whole else ():
        _require(name, wanted - kept - checkpoint.specs.keys(), reference.name)
    vocabulary = _vocabulary(recipe, models, made, reference)
    if vocabulary is not None and vocabulary.changes_any:
        others = {each.label: each for each in made.values()}
        made = {
            name: Remapped(
                each,
                label=each.label,
                vocabulary=vocabulary,
                axes=vocabulary_axes(each.specs, each.config),
                others=others,
            )
            for name, each in made.items()
        }
    return Alike(frozenset(wanted), made, tied, vocabulary, left_out, kept)


def _require_plain(made: Mapping[str, Checkpoint], reference: Opened) -> None:
    """Raise MergeError where weights are numbers of a quantisation, which have no mean."""
    for name, checkpoint in made.items():
        if "quantization_config" in checkpoint.config:
            raise MergeError(
                f"{name}: its weights are quantised, which cannot be merged; dequantise it, or take its original"
            )
        for tensor, spec in checkpoint.specs.items():
            like = made[reference.name].specs.get(tensor, spec)
            if like.dtype.is_floating_point != spec.dtype.is_floating_point:
                raise MergeError(
                    f"{name}: {tensor} holds {spec.dtype}, in {reference.name} {like.dtype}; is it quantised?"
                )


def _of_the_reference_alone(wanted: Set[str], made: Mapping[str, Checkpoint], reference: Opened) -> frozenset[str]:
    """What lies outside of blocks and no other model has: a head that the others replaced by their own."""
    others = [checkpoint for name, checkpoint in made.items() if name != reference.name]
    outside = [name for name in wanted if others and not is_numbered(name)]
    return frozenset(name for name in outside if all(name not in each.specs for each in others))


def _renamed(opened: Opened, reference: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """Under the reference's names, as far as they are there, and what is left over."""
    theirs = opened.checkpoint.specs
    names = aligned(theirs, reference.specs)
    if all(name == own for name, own in names.items()):
        return opened.checkpoint, tuple(name for name in theirs if name not in reference.specs)
    used = set(names.values())
    return Renamed(opened.checkpoint, names), tuple(name for name in theirs if name not in used)


def _aliased(checkpoint: Checkpoint, tied: Ties) -> Checkpoint:
    names = tied.aliases.get(checkpoint.label)
    return Renamed.adding(checkpoint, names) if names else checkpoint


def _require(model: str, lost: set[str], reference: str) -> None:
    if lost:
        more = f", nor {len(lost) - 1} more tensors" if len(lost) > 1 else ""
        raise MergeError(
            f"{model}: has no {min(lost)}{more} of {reference}; models that are merged are of one architecture; where "
            "only heads differ, give their common base"
        )


def _vocabulary(
    recipe: MergeRecipe, models: Mapping[str, Opened], made: Mapping[str, Checkpoint], reference: Opened
) -> Vocabulary | None:
    labels = {name: each.label for name, each in made.items()}
    sizes = {each.label: num_rows(each.specs, each.config) for each in made.values()}
    known = {label: size for label, size in sizes.items() if size is not None}
    if len(known) < len(sizes):
        return None
    choice = recipe.tokenizer
    source = choice.source if choice.source in ("union", "base", None) else labels[choice.source]
    rules = {token: _by_label(rule, labels) for token, rule in choice.tokens.items()}
    return one_vocabulary(
        [(labels[name], opened.path) for name, opened in models.items()],
        known,
        base=labels[reference.name],
        source=source,
        rules=rules,
        multiple_of=choice.pad_to_multiple_of,
    )


def _by_label(rule: TokenSource, labels: Mapping[str, str]) -> TokenSource:
    return rule if rule.model is None else replace(rule, model=labels[rule.model])
