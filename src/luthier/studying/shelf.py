"""What the trials of a worker share: rows are read once, tokens made once, base and tokenizer loaded once, frozen
states computed once for each frozen part; whether rows may lie flat is tried once for models that are built alike."""

from collections.abc import Hashable
from functools import partial

from datasets import Dataset
from transformers import PreTrainedModel

from luthier.component import Component
from luthier.groundwork import Built, Rows, build, load_rows, require_suited
from luthier.methods import Method
from luthier.models.flat_trial import Verdicts
from luthier.models.load import Ask, load_model
from luthier.models.processor import Processor
from luthier.models.source import ModelSource
from luthier.models.twin import narrow_too, own_what_learns, twin_of
from luthier.recipe import Recipe
from luthier.training.caching import Stores

MOST_TOKENS = 4
"""Sets of tokens that are kept; few settings make others."""


class Shelf:
    """Keeps the newest of each, and every set of tokens of the newest rows."""

    def __init__(self) -> None:
        self.stores = Stores()
        self._rows: dict[Hashable, Rows] = {}
        self._tokens: dict[Hashable, dict[str, Dataset]] = {}
        self._bases: dict[Hashable, PreTrainedModel] = {}
        self._processors: dict[Hashable, Processor] = {}
        self._flat = Verdicts()
        self.num_loaded = self.num_read = self.num_prepared = 0
        """How often each was done anew."""

    def rows(self, recipe: Recipe) -> Rows:
        """The rows of a recipe, with the task that was settled by them.

        Raises DataError or RecipeError, also where the recipe's method does not suit them.
        """
        key = (_said(recipe.data), _said(recipe.task), recipe.training.seed, recipe.training.device)
        if key not in self._rows:
            self._rows, self._tokens = {key: load_rows(recipe)}, {}
            self.num_read += 1
        require_suited(recipe, self._rows[key])
        return self._rows[key]

    def built(self, recipe: Recipe, rows: Rows) -> Built:
        """A model that is ready to learn, on the tensors of a base that others stand on too."""
        load, processor = partial(self._loaded, recipe.training.precision), self._processor(recipe, rows)
        made = build(recipe, rows, processor=processor, load=load, lay=partial(self._laid_flat, recipe.method.kind()))
        (base,) = self._bases.values()
        if narrow_too(base, made.model):
            self.stores.stand_on(base)
        own_what_learns(made.model, base)
        return made

    def _processor(self, recipe: Recipe, rows: Rows) -> Processor | None:
        """The tokenizer or feature extractor that earlier trials had, if the method adds nothing to it."""
        method = recipe.method
        if type(method).extend is not Method.extend and getattr(method, "add_tokens", True):
            return None
        key = (_said(recipe.model), _said(rows.task))
        if key not in self._processors:
            self._processors = {key: rows.task.load_processor(recipe.model)}
        return self._processors[key]

    def _laid_flat(self, method: str, model: PreTrainedModel) -> bool:
        (base,) = self._bases
        return self._flat.lay_flat(model, (base, method))

    def tokens(self, built: Built, rows: Rows) -> dict[str, Dataset]:
        """The prepared rows of each split; those that train with what the method adds to them."""
        task, method, processor = built.recipe.task, built.recipe.method, built.processor
        key = (_said(task), _changes_of_rows(method))
        if key not in self._tokens:
            while len(self._tokens) >= MOST_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
            named = rows.splits.named()
            learnt = {**named, "train": method.taught(named["train"], task)}
            self._tokens[key] = {n: task.prepare(each, processor, training=n == "train") for n, each in learnt.items()}
            self.num_prepared += 1
        return self._tokens[key]

    def _loaded(
        self,
        precision: str,
        source: ModelSource,
        ask: Ask,
        *,
        device: str,
        seed: int,
        processor: Processor,
        notes: list[str],
    ) -> PreTrainedModel:
        """As `load_model`, but on the tensors of the base, where it was loaded before for this arithmetic."""
        key = (precision, _said(source), repr(ask), device, seed)
        if key not in self._bases:
            self._bases.clear()  # before the next one is loaded: two may be too many
            self._bases[key] = load_model(source, ask, device=device, seed=seed, processor=processor, notes=notes)
            self.stores.stand_on(self._bases[key])
            self.num_loaded += 1
        return twin_of(self._bases[key])


def _said(part: Component) -> str:
    return f"{part.kind()}{part.model_dump_json()}"


def _changes_of_rows(method: Method) -> str:
    """What the method adds to the rows or to the tokenizer: tokens are shared where it is the same.

    Of a method of another package that adds to the rows, all its settings.
    """
    if type(method).taught is not Method.taught and not hasattr(method, "label_names"):
        return _said(method)
    return repr([(name, getattr(method, name, None) or None) for name in ("label_names", "add_tokens")])
