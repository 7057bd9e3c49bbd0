"""The settings of the training loop, and what `auto` means in them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from luthier.component import Component, Facts, Slot
from luthier.training.optimizers import Optimizer
from luthier.training.schedules import Schedule

DEFAULT_EPOCHS = 3


class Training(Component):
    """How long, in which batches, at which pace, and in which arithmetic a run learns."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    """Passes over the training rows; 3 where neither epochs nor steps is given."""
    steps: Annotated[int, Field(gt=0)] | None = None
    """Optimiser steps, in place of epochs."""
    batch_size: Annotated[int, Field(gt=0)] = 32
    """Rows of one optimiser step, over all micro-batches."""
    batch_tokens: Annotated[int, Field(gt=0)] | None = None
    """Most tokens of a batch, padding included: long rows then come in smaller batches."""
    accumulation: Annotated[int, Field(gt=0)] = 1
    """Least number of micro-batches that one optimiser step is computed in; the gradient stays the same."""
    micro_batch_tokens: Annotated[int, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Most tokens, padding included, computed at once; auto: 1,024 on a CPU (its caches), else null; null: no bound."""
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Peak learning rate; auto: what the method advises for a model of this size."""
    optimizer: Annotated[Optimizer, Slot("optimizers", default="adamw")] = Field("adamw", validate_default=True)
    """How parameters move."""
    schedule: Annotated[Schedule, Slot("schedules", default="linear")] = Field("linear", validate_default=True)
    """How the learning rate goes over the run."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Longest gradient (2-norm); longer ones are shortened to it. null: never."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Arithmetic of the forward and backward pass; what is learnt is kept in fp32 in every case."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where to train; auto: a GPU if there is one."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random: split, new weights, order, dropout."""
    evaluate_every: Annotated[int, Field(gt=0)] | None = None
    """Steps between evaluations on the validation rows; null: once an epoch."""
    patience: Annotated[int, Field(gt=0)] | None = None
    """Evaluations without a better score after which the run stops early; null: never."""
    best: str = "auto"
    """Metric that chooses which state is kept; auto: loss, the steadiest on few rows; last: the final state."""
    checkpoint_every: Annotated[int, Field(gt=0)] | Literal["auto", "never"] = "auto"
    """Steps between checkpoints, from which a run goes on; auto: each epoch's end, and 15 minutes after the last."""
    keep_checkpoints: Annotated[int, Field(gt=0)] = 2
    """How many checkpoints stay while the run goes on; a finished run needs none."""
    max_nan_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of which loss or gradient may be no finite number: they are left out. One more, and the run stops."""
    score_before: bool = False
    """Whether the model is also scored before its first step, on the rows that judge the run."""
    log_every: Annotated[int, Field(gt=0)] = 10
    """Steps between lines of the log."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps are both given; a run has one length")
        if self.patience is not None and self.best == "last":
            raise ValueError("patience needs a metric to watch, but best is last")
        return self

    def resolve(self, facts: Facts) -> Self:
        from luthier.models.device import choose_precision, micro_batch_tokens

        epochs = DEFAULT_EPOCHS if self.epochs is None and self.steps is None else self.epochs
        learning_rate = facts.learning_rate if self.learning_rate == "auto" else self.learning_rate
        precision = choose_precision(self.precision, facts.device)
        micro = self.micro_batch_tokens
        micro = micro_batch_tokens(facts.device) if micro == "auto" else micro
        settled = {
            "micro_batch_tokens": micro,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "precision": precision,
        }
        return self.model_copy(update={**settled, "device": facts.device})

    def evaluation(self) -> dict[str, Any]:
        """How to predict during a run: no gradients are kept, so twice the rows of a micro-batch fit."""
        assert self.micro_batch_tokens != "auto", "settings must be resolved before training"
        batch_size = max(1, 2 * self.batch_size // self.accumulation)
        return {"batch_size": batch_size, "batch_tokens": self.micro_batch_tokens, "precision": self.precision}
