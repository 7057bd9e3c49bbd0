"""Where a model's frozen part ends: the deepest points that nothing learnt has a part in.

Autograd tells, whatever the family and the method: a module's answer that does not require a gradient depends on no
parameter that learns, be it an embedding, a bias that all blocks share, a tied head or an update that hangs on a layer.
So the model is tried on a few rows, and each block, the encoder and the body are asked.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from luthier.errors import ModelError
from luthier.models.anatomy import Stack, read
from luthier.models.forward import bodies_of
from luthier.models.frozen.forwards import HIDDEN, Around, handed_on, nothing_heard, patched, unchanged

KEPT = ("last_hidden_state", "pooler_output")
"""What a head or a decoder takes of a body's answer."""
UNREAD = ("past_key_values", "encoder_last_hidden_state", "extract_features")
"""What none of them takes."""


class NotServed(Exception):
    """A model has no frozen part whose states could be kept; the reason in words."""


@dataclass(frozen=True)
class Point:
    """A module whose answer is kept."""

    module: nn.Module
    answer: Any
    """How it answers: its class, or the number of things in its tuple; 0 for a plain tensor."""
    is_fed_targets: bool = False
    """Whether its positions are those of the targets."""
    before: tuple[nn.Module, ...] = ()
    """Blocks before it, which then have nothing to do."""

    def tensors(self, answer: Any) -> dict[str, Tensor]:
        """What is kept of an answer, by name."""
        return _tensors(answer)

    def again(self, tensors: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """An answer of what was kept of it, to these arguments."""
        if isinstance(self.answer, type):
            return self.answer(**tensors)
        return handed_on(self.module, self.answer, tensors[HIDDEN], args, kwargs)

    def changed(self, answer: Any, tensors: Mapping[str, Tensor]) -> Any:
        """The answer with other tensors in place of those that are kept."""
        if isinstance(self.answer, type):
            changed = copy.copy(answer)
            for name, tensor in tensors.items():
                changed[name] = tensor
            return changed
        return (tensors[HIDDEN], *answer[1:]) if self.answer else tensors[HIDDEN]


@dataclass(frozen=True)
class FrozenPart:
    """Points, in the order in which a model comes to them, and what belongs to the part below."""

    points: tuple[Point, ...]
    resting: tuple[nn.Module, ...]
    """Modules that are in eval mode whenever states are kept: no dropout, no dropped layers, no masking of sound."""
    words: str
    """What is not computed again."""
    convolutions: tuple[nn.Module, ...] = ()
    """What makes features of sound, and of features positions; neither runs where the points' states are known."""

    def features(self, model: PreTrainedModel) -> dict[nn.Module, Around]:
        """Forwards of the convolutions that answer with something of the right shape."""
        if not self.convolutions:
            return {}
        extractor, positions = self.convolutions
        return {extractor: nothing_heard(model, extractor), positions: lambda original: unchanged}


def find(model: PreTrainedModel, run: Callable[[], Any]) -> FrozenPart:
    """The frozen part of a model with its method applied, as a run of it shows.

    Raises NotServed where there is none, or one whose states cannot be kept.
    """
    answers, requires = _watch(model, run)
    body = next((module for module in answers if module in bodies_of(model)), None)
    if body is None:
        raise NotServed("the task does not call the model's body")
    is_two = bool(model.config.is_encoder_decoder)
    encoder: Any = model.get_encoder() if is_two else None
    if not requires[body] and _is_whole(answers[body]):
        inside = encoder is None or any(part is encoder for part in body.modules())
        parts = (body,) if inside else (encoder, body)
        points = tuple(_point(part, answers[part], is_fed_targets=is_two and part is body) for part in parts)
        return FrozenPart(points, tuple(m for part in parts for m in part.modules()), "the whole body")
    if not is_two:
        return _below(model, body, body, answers, requires)
    if requires[encoder] or not _is_whole(answers[encoder]):
        return _below(model, body, encoder, answers, requires, of=" of the encoder")
    point, resting = _point(encoder, answers[encoder]), (*_containers(body, encoder), *encoder.modules())
    try:
        decoder: Any = model.get_decoder()
        lower = _below(model, body, decoder, answers, requires, of=" of the decoder", is_fed_targets=True)
    except NotServed:
        return FrozenPart((point,), resting, "the encoder")
    words = f"the encoder and {lower.words}"
    return FrozenPart((point, *lower.points), (*resting, *lower.resting), words)


def _below(
    model: PreTrainedModel,
    body: nn.Module,
    scope: nn.Module,
    answers: Mapping[nn.Module, Any],
    requires: Mapping[nn.Module, bool],
    *,
    of: str = "",
    is_fed_targets: bool = False,
) -> FrozenPart:
    """The frozen blocks of the one stack inside a module."""
    inside = set(scope.modules())
    stacks = [stack for stack in _stacks(model) if stack.blocks[0].module in inside]
    if len(stacks) != 1:
        raise NotServed(f"the model has {len(stacks)} stacks of blocks")
    blocks = [block.module for block in stacks[0].blocks]
    num_frozen = next((i for i, block in enumerate(blocks) if requires.get(block, True)), len(blocks))
    if not num_frozen:
        raise NotServed("something learns in the first block or before it")
    last = blocks[num_frozen - 1]
    point = _point(last, answers[last], before=tuple(blocks[: num_frozen - 1]), is_fed_targets=is_fed_targets)
    learning = {part for block in blocks[num_frozen:] for part in block.modules()}
    resting = (*_containers(body, scope), *(part for part in scope.modules() if part not in learning))
    words = f"{num_frozen} of {len(blocks)} blocks{of}"
    return FrozenPart((point,), resting, words, _convolutions(scope))


def _stacks(model: PreTrainedModel) -> tuple[Stack, ...]:
    try:
        return read(model).stacks
    except ModelError:
        raise NotServed("the model's blocks were not found") from None


def _containers(body: nn.Module, scope: nn.Module) -> tuple[nn.Module, ...]:
    """Modules of the body that another one of its lies in."""
    return tuple(m for m in body.modules() if m is not scope and any(part is scope for part in m.modules()))


def _convolutions(scope: nn.Module) -> tuple[nn.Module, ...]:
    """Those of wav2vec2 and its kin before the first block: most of the time where few blocks learn."""
    named: dict[str, nn.Module] = dict(scope.named_modules())
    found = [named.get(name) for name in ("feature_extractor", "encoder.pos_conv_embed")]
    return tuple(part for part in found if part is not None) if None not in found else ()


def _point(module: nn.Module, answer: Any, **more: Any) -> Point:
    if isinstance(answer, ModelOutput):
        return Point(module, type(answer), **more)
    return Point(module, len(answer) if isinstance(answer, tuple) else 0, **more)


def _is_whole(answer: Any) -> bool:
    """Whether a body's answer is what is kept of it, and what nobody reads."""
    return isinstance(answer, ModelOutput) and answer.keys() <= {*KEPT, *UNREAD} and KEPT[0] in answer


def _tensors(answer: Any) -> dict[str, Tensor]:
    if isinstance(answer, ModelOutput):
        return {name: answer[name] for name in KEPT if name in answer}
    return {HIDDEN: answer[0] if isinstance(answer, tuple) else answer}


def _watch(model: PreTrainedModel, run: Callable[[], Any]) -> tuple[dict[nn.Module, Any], dict[nn.Module, bool]]:
    """What bodies, encoder and blocks answer in a run, the first called first; and whether that requires a gradient."""
    blocks = [block.module for stack in _stacks_or_none(model) for block in stack.blocks]
    encoder: Any = [model.get_encoder()] if model.config.is_encoder_decoder else []
    answers: dict[nn.Module, Any] = {}
    requires: dict[nn.Module, bool] = {}

    def watching(module: nn.Module) -> Around:
        def around(original: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                answers.setdefault(module, None)
                answers[module] = answer = original(*args, **kwargs)
                requires[module] = any(tensor.requires_grad for tensor in _tensors(answer).values())
                return answer

            return forward

        return around

    watched = dict.fromkeys([*bodies_of(model), *encoder, *blocks])
    with torch.enable_grad(), patched({module: watching(module) for module in watched}):
        run()
    return answers, requires


def _stacks_or_none(model: PreTrainedModel) -> tuple[Stack, ...]:
    try:
        return _stacks(model)
    except NotServed:
        return ()
