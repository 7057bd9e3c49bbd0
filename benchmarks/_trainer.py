"""The peer: the Hugging Face Trainer and its kin (PEFT, Seq2SeqTrainer, TRL), on rows of tokens.

Tuned means bf16, rows grouped by length, fused AdamW, and the fastest of its attention kinds, in one batch or in four,
chosen by a short run of each.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.utils import logging

from luthier.methods import Method
from luthier.methods.lora import Lora
from luthier.models.selectors import select_linears

logging.set_verbosity_error()

TUNED: dict[str, Any] = {
    "bf16": True,
    "train_sampling_strategy": "group_by_length",
    "optim": "adamw_torch_fused",
    "dataloader_pin_memory": False,
}
AS_IT_COMES: dict[str, Any] = {}
KINDS = [{"attention": attention, "accumulation": number} for attention in ("eager", "sdpa") for number in (1, 4)]
"""What tuning chooses from."""


def arguments(
    *,
    batch_size: int,
    accumulation: int,
    learning_rate: float,
    seed: int,
    kind: type[TrainingArguments] = TrainingArguments,
    **more: Any,
) -> Any:
    """Weight decay and schedule as on Luthier's side; `more` goes to the Trainer's arguments."""
    usual = {"num_train_epochs": 1, "weight_decay": 0.01, "warmup_steps": 0, "max_grad_norm": 1.0}
    silent = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_strategy": "no"}
    return kind(
        output_dir=str(Path(tempfile.gettempdir()) / "luthier-benchmark"),
        per_device_train_batch_size=max(1, batch_size // accumulation),
        gradient_accumulation_steps=accumulation,
        learning_rate=learning_rate,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        **{**usual, **silent, **more},
    )


def seconds_of(make: Callable[[], Trainer]) -> float:
    """Seconds of `Trainer.train()`."""
    trainer = make()
    start = time.perf_counter()
    trainer.train()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def learning(model: PreTrainedModel, method: Method, *, task_type: str, learnt_too: list[str]) -> Any:
    """A model of which the same is learnt: by PEFT for LoRA, whose `learnt_too` are modules that are learnt whole."""
    if not isinstance(method, Lora):
        method.apply(model, generator=torch.Generator())  # freezes what Luthier freezes, and inserts nothing
        return model
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type=task_type,
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=list(select_linears(model, method.targets, where="benchmark")),
        modules_to_save=learnt_too or None,
    )
    return get_peft_model(model, config)


def inner(model: Any) -> PreTrainedModel:
    """The plain model inside PEFT's, with its adapters in place."""
    plain: PreTrainedModel = model.base_model.model if hasattr(model, "peft_config") else model
    return plain


def labelled(rows: Dataset, *columns: str) -> Dataset:
    """Prepared rows as the Trainer's collators take them: inputs, `length` and labels."""
    return rows.with_format(None).select_columns([*columns, "length", "target"]).rename_column("target", "labels")
