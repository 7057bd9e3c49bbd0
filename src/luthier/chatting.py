"""A conversation with a language model: what was said, and each answer while it is written.

A thread of its own writes the answer, so that whoever reads it may stop at any word.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList
from transformers.generation import BaseStreamer

from luthier.errors import DataError, ModelError, RecipeError, RunError
from luthier.models.load import num_positions
from luthier.models.processor import tokenizer_of
from luthier.run import Run
from luthier.tasks import _templates
from luthier.tasks._chat import Turn
from luthier.tasks._language import Generation, generate
from luthier.tasks._rendering import Refused, Render, rendering
from luthier.tasks.causal_lm import CausalLM

UNFINISHED = "\ufffd"
"""What a tokenizer makes of a character of which some bytes are still to come."""


class Conversation:
    """Turns with a model."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        generation: Generation,
        render: Render,
        on_note: Callable[[str], object],
    ) -> None:
        self._model, self._tokenizer, self._render, self._on_note = model, tokenizer, render, on_note
        self._generation = generation.model_copy(update={"num_beams": 1})  # beams have nothing to show before their end
        self._num_positions = num_positions(model, tokenizer)
        self._num_left_out = 0
        self.messages: list[Turn] = []
        """Every turn; also those that the model is no longer given."""

    def say_first(self, system: str) -> None:
        """Set what the system's turn says; without a text there is no such turn.

        Raises ModelError where the template takes no such turn; then it stays as it was.
        """
        turn = [{"role": "system", "content": system}] if system else []
        self._tokens([*turn, {"role": "user", "content": "Hello"}])
        self.messages[: self._num_first] = turn

    def reset(self) -> None:
        """Forget every turn but the system's."""
        del self.messages[self._num_first :]
        self._num_left_out = 0

    def save(self, path: Path) -> None:
        """Add the conversation to a JSONL file, as a row that can be learnt from.

        Raises DataError where nothing was said, or the file cannot be written.
        """
        if len(self.messages) == self._num_first:
            raise DataError("chat: nothing was said yet")
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"messages": self.messages}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise DataError(f"chat: {path} cannot be written: {error.strerror}") from error

    def answer(self, text: str) -> Generator[str, None, None]:
        """The answer to a text, piece by piece; who stops reading stops it, and what was written counts as said.

        Raises DataError where the text alone is longer than the model's limit.
        """
        turn = {"role": "user", "content": text}
        ids = self._fitting([*self.messages, turn])
        stream = _Stream(self._tokenizer)
        thread = Thread(target=self._write, args=(ids, stream), daemon=True)
        thread.start()
        said = ""
        try:
            for piece in stream.pieces():
                before, said = len(said), (said + piece).lstrip()
                yield said[before:]
        finally:
            stream.stop()
            thread.join()
            if said:
                self.messages += [turn, {"role": "assistant", "content": said.rstrip()}]
        if not said:
            self._on_note("the model ended its answer before the first word; your turn is forgotten")

    @property
    def _num_first(self) -> int:
        """1 where there is a system's turn."""
        return int(bool(self.messages) and self.messages[0]["role"] == "system")

    def _fitting(self, turns: list[Turn]) -> list[int]:
        """The tokens of the turns, less the oldest where they leave no room for an answer."""
        room = self._num_positions - min(self._generation.max_new_tokens, self._num_positions // 2)
        first, left_out = self._num_first, self._num_left_out
        ids = self._tokens([*turns[:first], *turns[first + left_out :]])
        while len(ids) > room and first + left_out + 2 < len(turns):
            left_out += 2  # a question and its answer
            ids = self._tokens([*turns[:first], *turns[first + left_out :]])
        if len(ids) >= self._num_positions:
            raise DataError(f"chat: this text makes {len(ids)} tokens, and the model takes {self._num_positions}")
        if left_out and not self._num_left_out:
            self._on_note(f"the model takes {self._num_positions} tokens: from here on the oldest turns are left out")
        self._num_left_out = left_out
        return ids

    def _tokens(self, turns: list[Turn]) -> list[int]:
        try:
            (text,) = self._render(turns, None, [(len(turns), True)])
        except Refused as refusal:
            raise ModelError(f"chat: the model's chat template refuses this conversation: {refusal}") from None
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _write(self, ids: list[int], stream: "_Stream") -> None:
        """In a thread: what goes wrong here is told to the one who reads."""
        how: dict[str, Any] = {"streamer": stream, "stopping_criteria": StoppingCriteriaList([_Stopped(stream)])}
        how["max_new_tokens"] = min(self._generation.max_new_tokens, self._num_positions - len(ids))
        try:
            asked = torch.tensor([ids], device=self._model.device)
            inputs = {"input_ids": asked, "attention_mask": torch.ones_like(asked)}
            generate(self._model, inputs, self._generation, **how)
        except Exception as error:
            stream.fail(error)


class _Stream(BaseStreamer):
    """Tokens from the thread that writes them, as text for the one that reads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] | None = None
        self._num_told = 0
        self._queue: Queue[str | Exception | None] = Queue()
        self.stopped = Event()

    def put(self, value: Int[Tensor, "..."]) -> None:
        """The prompt first, then token by token."""
        if self._ids is None:
            self._ids = []
            return
        self._ids += value.flatten().tolist()
        if not self._text.endswith(UNFINISHED):
            self._tell()

    def end(self) -> None:
        """No token comes any more."""
        self._tell()
        self._queue.put(None)

    def fail(self, error: Exception) -> None:
        """Nothing comes any more, and why."""
        self._queue.put(error)

    def stop(self) -> None:
        """Ask the writing thread to end."""
        self.stopped.set()

    def pieces(self) -> Iterator[str]:
        """The text as it comes.

        Raises what the writing thread failed with.
        """
        while (piece := self._queue.get()) is not None:
            if isinstance(piece, Exception):
                raise ModelError(f"chat: the model cannot answer: {str(piece).splitlines()[0]}") from piece
            yield piece

    @property
    def _text(self) -> str:
        return str(self._tokenizer.decode(self._ids or [], skip_special_tokens=True))

    def _tell(self) -> None:
        text = self._text
        self._queue.put(text[self._num_told :])
        self._num_told = len(text)


class _Stopped(StoppingCriteria):
    """Whether the reader has gone."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def __call__(self, input_ids: Int[Tensor, "batch seq"], scores: Any, **_: Any) -> Bool[Tensor, " batch"]:
        return torch.full((len(input_ids),), self._stream.stopped.is_set(), device=input_ids.device)


@contextmanager
def conversing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    generation: Generation,
    *,
    system: str = "",
    on_note: Callable[[str], object],
) -> Iterator[Conversation]:
    """A conversation by the tokenizer's chat template, which a limited child renders unless it is one of ours.

    Raises ModelError where there is no template, or it refuses a chat.
    """
    if not tokenizer.chat_template:
        raise ModelError("chat: this model has no chat template, so it knows no turns; ask it with luthier predict")
    template = _templates.text_of(tokenizer, tools=False)
    with rendering(template, tokenizer.special_tokens_map, foreign=not _templates.is_ours(template)) as render:
        conversation = Conversation(model, tokenizer, generation, render, on_note)
        conversation.say_first(system)
        yield conversation


@contextmanager
def conversing_with_run(
    folder: str, sampling: Mapping[str, Any], *, device: str, seed: int, **how: Any
) -> Iterator[Conversation]:
    """A conversation with a finished run's model; `sampling` replaces settings of its `task.generation`.

    Raises RunError where the run's task is another one.
    """
    run = Run.open(folder)
    task = run.recipe.task
    if not isinstance(task, CausalLM):
        raise RunError(
            f"{folder}: chat needs a run of causal-lm, and this is one of {task.kind()}; use luthier predict"
        )
    generation = task.generation.model_copy(update=dict(sampling))
    if "top_p" in sampling and generation.temperature == 0:
        raise RecipeError("chat: --top-p draws words, so it needs a --temperature above 0")
    model, processor = run.load(device)
    torch.manual_seed(seed)
    with conversing(model, tokenizer_of(processor), generation, **how) as conversation:
        yield conversation
