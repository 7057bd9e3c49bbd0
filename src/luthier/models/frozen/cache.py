"""The frozen-prefix cache: what a model's frozen part computes for a row is computed once.

While a model learns only above some block, the states below are the same in every epoch and every evaluation. They are
recorded as rows come by and given back from then on, in place of the blocks, the encoder or the whole body that made
them. The frozen part is in eval mode all the while: with dropout it would never be the same twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from luthier.models.frozen.forwards import HIDDEN, Around, hand_on, patched
from luthier.models.frozen.points import FrozenPart, Point
from luthier.models.frozen.rows import Batch, Form, Laid, Places
from luthier.models.frozen.store import Store
from luthier.models.resting import resting

HELD_AS = "frozen_states"
"""The attribute under which a model has its cache."""

B = TypeVar("B", bound=Batch)
Name = tuple[int, str]
"""A point's number, and a tensor of its answer."""


@contextmanager
def around(model: PreTrainedModel, batch: B) -> Iterator[B]:
    """Within it the model's first call on this batch, given back on the model's device, is served by its cache.

    A model without a cache, or a batch whose rows have no keys, is computed as ever.
    """
    here = batch.to(model.device)
    cache: FrozenCache | None = getattr(model, HELD_AS, None)
    if cache is None or batch.keys is None:
        yield here
    else:
        with cache.serving(batch, here):
            yield here


def is_served(model: PreTrainedModel) -> bool:
    """Whether a model has a cache."""
    return hasattr(model, HELD_AS)


@dataclass(frozen=True)
class _Kind:
    """How the states of a tensor lie, and in which arithmetic they were computed."""

    form: Form
    laid: Laid
    dtype: torch.dtype


class FrozenCache:
    """The states of a model's frozen part, row by row."""

    def __init__(self, model: PreTrainedModel, part: FrozenPart, store: Store, dtype: torch.dtype | None) -> None:
        """`dtype` is that in which states are kept; None: that in which they are computed."""
        self.part, self.store = part, store
        self.num_rows = self.num_replayed = 0
        """Rows that were served, and those of them whose states were there."""
        self._model, self._dtype = model, dtype
        self._kinds: dict[Name, _Kind] = {}

    def open(self) -> None:
        """Serve the model from now on."""
        setattr(self._model, HELD_AS, self)

    def close(self) -> None:
        """Serve it no longer."""
        vars(self._model).pop(HELD_AS, None)

    @property
    def dtypes(self) -> set[torch.dtype]:
        """The arithmetic of the states, as they are computed and as they are kept."""
        computed = {kind.dtype for kind in self._kinds.values()}
        return computed if self._dtype is None else {*computed, self._dtype}

    def holds(self, batch: Batch) -> bool:
        """Whether the states of all its rows are kept."""
        return bool(self._kinds) and batch.keys is not None and all(key in self.store for key in batch.keys)

    @contextmanager
    def serving(self, batch: Batch, here: Batch) -> Iterator[None]:
        """Serve the model's first call on a batch, which is also given on the model's device; never a generation."""
        waiting = [batch]

        def serve(original: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                if not (waiting and is_given(self._model, kwargs, here)):
                    return original(*args, **kwargs)
                waiting.clear()
                with resting(self.part.resting), self._at_the_points(batch, has_labels="labels" in kwargs):
                    return original(*args, **kwargs)

            return forward

        with patched({self._model: serve}):
            yield

    @contextmanager
    def _at_the_points(self, batch: Batch, *, has_labels: bool) -> Iterator[None]:
        """Within it the frozen part replays where all rows of a batch are kept, else it computes and records."""
        by_targets, by_inputs = has_labels and Places.of_targets(batch), Places.of_inputs(batch)
        places = [by_targets if point.is_fed_targets and by_targets else by_inputs for point in self.part.points]
        replays, found = self.holds(batch), dict[Name, list[Tensor]]()
        self.num_rows += batch.num_rows
        self.num_replayed += batch.num_rows if replays else 0
        try:
            with patched(self._replays(batch, places) if replays else self._records(places, found)):
                yield
        finally:
            self._keep(batch, found)

    def _records(self, places: Sequence[Places], found: dict[Name, list[Tensor]]) -> dict[nn.Module, Around]:
        def recording(number: int, point: Point) -> Around:
            def around(original: Callable[..., Any]) -> Callable[..., Any]:
                def forward(*args: Any, **kwargs: Any) -> Any:
                    answer = original(*args, **kwargs)
                    rounded = {}  # as it is kept, so that a replay changes nothing
                    for name, states in point.tensors(answer).items():
                        kept = states.detach().to(self._dtype or states.dtype)
                        rounded[name] = kept.to(states.dtype)
                        if kind := self._kind((number, name), states, places[number]):
                            found[number, name] = places[number].split(kept.cpu(), kind.form)
                    return point.changed(answer, rounded)

                return forward

            return around

        return {point.module: recording(number, point) for number, point in enumerate(self.part.points)}

    def _kind(self, name: Name, states: Tensor, places: Places) -> _Kind | None:
        """None where rows lie in another form than they did first, or in none that is known."""
        form = places.form(states)
        known = self._kinds.get(name)
        if form is None or (known is not None and known.form != form):
            return None
        usual = "padded" if known is None else known.laid
        self._kinds[name] = _Kind(form, places.laid(states, usual), states.dtype)
        return self._kinds[name]

    def _keep(self, batch: Batch, found: Mapping[Name, list[Tensor]]) -> None:
        if found and found.keys() == self._kinds.keys() and batch.keys is not None:
            for key, *states in zip(batch.keys, *(found[name] for name in self._kinds), strict=True):
                self.store.add(key, tuple(states))

    def _replays(self, batch: Batch, places: Sequence[Places]) -> dict[nn.Module, Around]:
        assert batch.keys is not None, "rows that are kept have keys"
        columns = zip(*(self.store[key] for key in batch.keys), strict=True)
        rows: dict[Name, Sequence[Tensor]] = dict(zip(self._kinds, columns, strict=True))

        def replaying(number: int, point: Point) -> Around:
            def around(original: Callable[..., Any]) -> Callable[..., Any]:
                def forward(*args: Any, **kwargs: Any) -> Any:
                    hidden = None if isinstance(point.answer, type) else args[0] if args else kwargs[HIDDEN]
                    names = [name for name in self._kinds if name[0] == number]
                    found = {name[1]: self._joined(name, rows[name], places[number], hidden) for name in names}
                    return point.again(found, args, kwargs)

                return forward

            return around

        forwards = {point.module: replaying(number, point) for number, point in enumerate(self.part.points)}
        before = {block: hand_on(block, point.answer) for point in self.part.points for block in point.before}
        return {**self.part.features(self._model), **before, **forwards}

    def _joined(self, name: Name, rows: Sequence[Tensor], places: Places, hidden: Tensor | None) -> Tensor:
        """A batch's states; of a block, in the layout of what enters the blocks before it."""
        kind = self._kinds[name]
        laid, length = (kind.laid, None) if hidden is None else (places.laid(hidden), hidden.shape[1])
        joined = places.join(rows, kind.form, laid, length=length)
        return joined.to(self._model.device, kind.dtype)


def is_given(model: PreTrainedModel, given: Mapping[str, Any], batch: Batch) -> bool:
    """Whether a model is called on a batch's rows as they are, and not on other tokens, or to generate."""
    if given.get("use_cache") or any(given.get(n) is not None for n in ("past_key_values", "decoder_input_ids")):
        return False
    if given.get("labels") is not None and given["labels"] is not batch.targets:
        return False
    own, main = batch.inputs[model.main_input_name], given.get(model.main_input_name)
    return main is own or (main is not None and _same(main, given.get("attention_mask"), own, batch.inputs))


def _same(main: Tensor, mask: Tensor | None, own: Tensor, inputs: Mapping[str, Tensor]) -> bool:
    """Whether two inputs hold the same: in another arithmetic, or the same tokens laid otherwise."""
    if main.shape == own.shape:
        return torch.equal(main, own.to(main.dtype))
    return torch.equal(_tokens(main, mask), _tokens(own, inputs.get("attention_mask")))


def _tokens(ids: Tensor, mask: Tensor | None) -> Tensor:
    """All that is no padding; flat and packed rows have no mask."""
    return ids[mask.bool()] if mask is not None and mask.shape == ids.shape else ids.flatten()
