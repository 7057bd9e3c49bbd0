"""The stages of a run, rehearsed one by one: a training step, an evaluation, the writing of answers.

Each runs the code that a run will run, on the longest rows that it may meet.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from transformers import PreTrainedModel

from luthier.data.batching import Batching
from luthier.evaluation.predict import predict
from luthier.models.arithmetic import computing
from luthier.models.flat import is_laid
from luthier.planning.kernels import kernels_of
from luthier.planning.ledger import PARTS, Ledger, Part, largest, total
from luthier.planning.rehearsal import Rehearsal, enter_model, rehearsing
from luthier.planning.subject import Ready
from luthier.tasks import Batch
from luthier.training.loop import TrainState, train
from luthier.training.order import Order
from luthier.training.portions import Rows, portions


@dataclass(frozen=True)
class Stage:
    """What one stage takes."""

    name: str
    parts: Mapping[Part, int]
    """Bytes of each part when most is taken."""
    num_flops: int
    """Floating-point operations of one step, of one batch of an evaluation, or of one token of all answers."""
    num_tokens: int
    """Real tokens of it."""

    @property
    def peak(self) -> int:
        """Bytes, when most is taken."""
        return total(self.parts)


def training(ready: Ready) -> Stage:
    """An optimiser step of the one loop, over the longest rows, with all that is there from the second step on.

    Of its micro-batches the largest is run, beside the gradients of the others: none takes more.
    """
    settings, batches = ready.recipe.training, sorted(_micro_batches(ready), key=_cost)
    with _rehearsed(ready) as (ledger, rehearsal):
        for batch in batches:
            _enter_batch(ledger, batch)
        last = max(group.starts_at_epoch for group in ready.recipe.method.groups(ready.model))
        ends = (0,) * last  # the epoch in which all learns takes most
        state = TrainState.start(ready.model, ready.recipe.method, settings, num_steps=1, epoch_ends=ends)
        learnt = [parameter for parameter in ready.model.parameters() if parameter.requires_grad]
        _give_gradients(learnt, ledger)
        state.optimizer.step()  # from the first one on the optimiser has its state
        state.optimizer.zero_grad(set_to_none=True)
        begun, done = ledger.now(), rehearsal.num_flops
        if len(batches) > 1:
            _give_gradients(learnt, ledger)
        task = ready.recipe.method.stage(ready.recipe.task).task
        for _ in train(ready.model, task, [lambda _: batches[-1:]], settings, state):
            pass
    costs = [_cost(batch) for batch in batches]
    num_flops = (rehearsal.num_flops - done) * sum(costs) // costs[-1]
    return Stage("training", ledger.peak(since=begun), num_flops, sum(batch.num_tokens for batch in batches))


def evaluation(ready: Ready) -> Stage:
    """The losses and answers of the longest batch that an evaluation makes."""
    how, task = ready.recipe.training.evaluation(), ready.recipe.task
    rows = _batch_of_evaluation(ready, how)
    with _rehearsed(ready) as (ledger, rehearsal), torch.no_grad():
        inspect.unwrap(predict)(ready.model, task, rows, ready.processor, answers=not task.generates, **how)
    return Stage("evaluation", ledger.peak(), rehearsal.num_flops, int(np.sum(rows["length"][:])))


def generation(ready: Ready) -> Stage | None:
    """The longest prompts are read, and the last token of their answers is written; None where nothing is written."""
    how = getattr(ready.recipe.task, "generation", None)
    if how is None or not ready.model.can_generate():
        return None
    rows = _batch_of_evaluation(ready, ready.recipe.training.evaluation())
    inputs = ready.recipe.task.collate(rows[:], ready.processor).inputs
    ready.model.eval()
    precision = ready.recipe.training.precision
    with (
        _rehearsed(ready) as (ledger, rehearsal),
        torch.no_grad(),
        computing(ready.model, precision) as forward,
        forward(),
    ):
        begun, written, done = _write(ready.model, inputs, how.max_new_tokens, how.num_beams, rehearsal)
    parts = largest([ledger.peak(until=begun), ledger.peak(since=written)])
    return Stage("generation", parts, rehearsal.num_flops - done, len(rows))


def loading(ready: Ready) -> Stage | None:
    """The weights as they are loaded, and again when what was learnt is folded into them and saved; None where training
    holds them so too."""
    if not ready.narrowed:
        return None
    held = sum(tensor.nbytes for tensor in (*ready.model.parameters(), *ready.model.buffers()))
    return Stage("loading", {**dict.fromkeys(PARTS, 0), "weights": held + ready.narrowed}, 0, 0)


def _write(
    model: PreTrainedModel, inputs: Mapping[str, Any], num_new: int, num_beams: int, rehearsal: Rehearsal
) -> tuple[int, int, int]:
    """Read prompts and write the last of `num_new` tokens; -> the ledger's mark after the prompt, its mark before the
    last token, and the operations done till then."""
    if model.config.is_encoder_decoder:
        given, num_read = _encoded(model, inputs, num_beams), 1
    else:
        ids = inputs["input_ids"]
        most = getattr(model.config, "max_position_embeddings", None) or ids.shape[1] + num_new
        given, num_read = {}, max(1, min(ids.shape[1], most - num_new))
    num_rows = len(next(iter(inputs.values()))) * num_beams

    def step(num_tokens: int, past: Any = None, num_past: int = 0) -> Any:
        """What the model remembers after these tokens; its logits of the last one are made and dropped."""
        ids = torch.ones(num_rows, num_tokens, dtype=torch.long)
        mask = {} if given else {"attention_mask": torch.ones(num_rows, num_past + num_tokens, dtype=torch.long)}
        names = {"decoder_input_ids": ids} if given else {"input_ids": ids}
        kept = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
        answer = model(**names, **given, **mask, **kept, past_key_values=past, use_cache=True)
        answer.logits[:, -1].to(torch.float32, copy=True)
        return answer.past_key_values

    step(num_read)
    begun, num_past = rehearsal.ledger.now(), num_read + num_new - 1
    past = step(num_past) if num_past else None
    written, done = rehearsal.ledger.now(), rehearsal.num_flops
    step(1, past, num_past)
    return begun, written, done


def _encoded(model: PreTrainedModel, inputs: Mapping[str, Any], num_beams: int) -> dict[str, Any]:
    """What a decoder takes of its encoder, for each beam."""
    encoder = model.get_encoder()
    taken = inspect.signature(encoder.forward).parameters
    answer = encoder(**{name: tensor for name, tensor in inputs.items() if name in taken})
    answer["last_hidden_state"] = answer["last_hidden_state"].repeat_interleave(num_beams, 0)
    mask = inputs.get("attention_mask")
    if mask is None or mask.shape[1] != answer["last_hidden_state"].shape[1]:  # one of sound is of samples
        return {"encoder_outputs": answer}
    return {"encoder_outputs": answer, "attention_mask": mask.repeat_interleave(num_beams, 0)}


@contextmanager
def _rehearsed(ready: Ready) -> Iterator[tuple[Ledger, Rehearsal]]:
    """A new ledger with the model in it, and the context in which a stage runs."""
    ledger, embedding = Ledger(), ready.model.get_input_embeddings()
    enter_model(ledger, ready.model)
    with ExitStack() as stack:
        stack.enter_context(kernels_of(ready.recipe.training.device))
        yield ledger, stack.enter_context(rehearsing(ledger, getattr(embedding, "num_embeddings", 0)))


def _micro_batches(ready: Ready) -> Sequence[Batch]:
    """The micro-batches of the step that takes most, as the course makes them."""
    stage, rows = ready.recipe.method.stage(ready.recipe.task), ready.prepared
    once = ready.recipe.training.model_copy(update={"epochs": 1, "steps": None})
    order = Order.of(stage, rows, once)

    def collate(numbers: Rows) -> Batch:
        with unset_fake_temporarily():  # token ids and masks keep their numbers
            return stage.task.collate(rows[numbers], ready.processor)

    epoch = islice(portions(order, once, collate, after=0, is_flat=is_laid(ready.model)), order.num_steps)
    return max((portion(1) for portion in epoch), key=lambda step: sum(map(_cost, step)))


def _batch_of_evaluation(ready: Ready, how: Mapping[str, Any]) -> Any:
    """The prepared rows of the first batch, which are the longest."""
    lengths = np.resize(ready.prepared["length"][:], 2 * len(ready.prepared))
    batching = Batching(lengths, how["batch_size"], how.get("batch_tokens"), is_flat=is_laid(ready.model))
    numbers = batching.sorted()[0]
    return ready.prepared.select(np.asarray(numbers) % len(ready.prepared))


def _give_gradients(learnt: Sequence[torch.nn.Parameter], ledger: Ledger) -> None:
    for parameter in learnt:
        parameter.grad = torch.zeros_like(parameter)
        ledger.say(parameter.grad, "gradients")


def _cost(batch: Batch) -> int:
    """Tokens, padding included."""
    return batch.num_tokens + batch.num_padding


def _enter_batch(ledger: Ledger, batch: Batch) -> None:
    for tensor in vars(batch).values():
        for each in tensor.values() if isinstance(tensor, dict) else [tensor]:
            if isinstance(each, torch.Tensor):
                ledger.enter(each, "inputs")
