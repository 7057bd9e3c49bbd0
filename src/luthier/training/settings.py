"""The settings of the training loop, and what `auto` means in them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from luthier.component import Component, Facts, Slot
from luthier.errors import RecipeError
from luthier.training.optimizers import Optimizer
from luthier.training.schedules import Schedule

DEFAULT_EPOCHS = 3


class Training(Component):
    """How long, in which batches, at which pace, and in which arithmetic a run learns."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    """Passes over the training rows; where neither epochs nor steps is given, 3, or the steps that a method advises."""
    steps: Annotated[int, Field(gt=0)] | None = None
    """Optimiser steps, in place of epochs."""
    batch_size: Annotated[int, Field(gt=0)] = 32
    """Rows of one optimiser step, over all micro-batches."""
    batch_tokens: Annotated[int, Field(gt=0)] | None = None
    """Most tokens of a batch, padding included: long rows then come in smaller batches."""
    accumulation: Annotated[int, Field(gt=0)] = 1
    """Least number of micro-batches that one optimiser step is computed in; the gradient stays the same."""
    micro_batch_tokens: Annotated[int, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Most tokens, padding included, computed at once; auto: 2,048 on a CPU (its caches), else null; null: no bound."""
    micro_batch_size: Annotated[int, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Most rows computed at once; auto, null: no bound but micro_batch_tokens. Where memory runs out it is halved."""
    checkpointing: Literal["auto", "blocks", "attention", "selective"] | Annotated[int, Field(gt=1)] | None = "auto"
    """What backward computes again in place of keeping it: whole blocks, every n-th block, attention alone, or all but
    the products with weights (selective). The gradient stays the same. auto: blocks where the run fits only so, or on a
    GPU in micro-batches so small that they would be slower; else, and null: nothing."""
    offload_activations: bool = False
    """Whether what backward needs waits in the host's memory; GPU only."""
    fused_backward: bool = False
    """Whether each parameter moves as soon as its gradient is there, which is then freed: needs max_grad_norm null,
    and each batch in one piece."""
    cache: Literal["auto", "memory", "disk", "off"] = "auto"
    """Where the states of the model's frozen part are kept, so that they are computed once for each row; disk: for
    later runs too. auto: in memory, where it pays and all rows fit. The frozen part then has no dropout."""
    cache_gib: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Most GiB of these states; auto: a quarter of the memory, or of the disk, that is free."""
    require_memory: bool = True
    """Whether a run that is sure not to fit is refused before its weights are loaded."""
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

    @model_validator(mode="after")
    def _what_fused_backward_needs(self) -> Self:
        if not self.fused_backward:
            return self
        if self.max_grad_norm is not None:
            raise ValueError("fused_backward moves parameters before the whole gradient is known; max_grad_norm: null")
        if self.accumulation > 1 or isinstance(self.micro_batch_tokens, int) or isinstance(self.micro_batch_size, int):
            raise ValueError("fused_backward needs each batch in one piece; leave out accumulation and micro_batch_*")
        return self

    def require(self, device: str) -> None:
        """Raise RecipeError where this kind of device cannot do what is asked for, MissingExtra where a part is not
        installed."""
        from luthier.models.device import choose_precision

        if self.offload_activations and device != "cuda":
            raise RecipeError(
                "training.offload_activations: a GPU's activations wait in its host's memory, and here is no GPU; say "
                "false, or training.checkpointing=blocks"
            )
        if self.fused_backward and choose_precision(self.precision, device) == "fp16":
            raise RecipeError("training.fused_backward: fp16 needs the whole gradient at once (say bf16 or fp32)")
        self.optimizer.require(device)

    def resolve(self, facts: Facts) -> Self:
        from luthier.models.device import choose_precision, micro_batch_tokens

        self.require(facts.device)

        epochs, steps = self.epochs, self.steps
        if epochs is None and steps is None:
            steps, epochs = facts.num_steps, None if facts.num_steps else DEFAULT_EPOCHS
        learning_rate = facts.learning_rate if self.learning_rate == "auto" else self.learning_rate
        precision = choose_precision(self.precision, facts.device)
        micro = self.micro_batch_tokens
        if micro == "auto":
            as_it_is = self.fused_backward or facts.couples_rows
            micro = None if as_it_is else micro_batch_tokens(facts.device)
        settled = {
            "micro_batch_tokens": micro,
            "micro_batch_size": None if self.micro_batch_size == "auto" else self.micro_batch_size,
            "checkpointing": None if self.checkpointing == "auto" else self.checkpointing,
            "epochs": epochs,
            "steps": steps,
            "learning_rate": learning_rate,
            "precision": precision,
        }
        return self.model_copy(update={**settled, "device": facts.device})

    def about_epochs(self, num_rows: int) -> float:
        """Epochs of a run over so many rows; where steps are given, batches by tokens and packing are not regarded."""
        if self.steps is not None:
            return self.steps * self.batch_size / num_rows
        return DEFAULT_EPOCHS if self.epochs is None else self.epochs

    def evaluation(self) -> dict[str, Any]:
        """How to predict during a run: no gradients are kept, so twice the rows of a micro-batch fit."""
        assert self.micro_batch_tokens != "auto", "settings must be resolved before training"
        at_once = self.micro_batch_size if isinstance(self.micro_batch_size, int) else self.batch_size
        batch_size = max(1, 2 * min(at_once, self.batch_size // self.accumulation))
        return {"batch_size": batch_size, "batch_tokens": self.micro_batch_tokens, "precision": self.precision}
