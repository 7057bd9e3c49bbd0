"""The peer: the Hugging Face Trainer (and PEFT), as it comes and tuned, on rows tokenised before the clock starts."""

import time
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from luthier.tasks import Task

TUNED: dict[str, Any] = {
    "bf16": True,
    "train_sampling_strategy": "group_by_length",
    "optim": "adamw_torch_fused",
    "dataloader_pin_memory": False,
}
DEFAULT: dict[str, Any] = {}


def build(folder: str, task: Task, method: str, attention: str, seed: int) -> PreTrainedModel:
    """The model under the same head, with the parts frozen that the method freezes."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation=attention, dtype=torch.float32, **task.configuration()
    )
    if method == "head":
        model.base_model.requires_grad_(False)
    if method == "lora":
        from peft import LoraConfig, get_peft_model

        settings = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "modules_to_save": ["classifier"]}
        inside = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layer." in n]
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=inside, **settings))
    return model


def train(
    model: PreTrainedModel,
    rows: Dataset,
    processor: PreTrainedTokenizerBase,
    settings: dict[str, Any],
    *,
    batch_size: int,
    accumulation: int,
    learning_rate: float,
    epochs: int,
    seed: int,
) -> float:
    """Seconds of `Trainer.train()`."""
    on_cpu = not torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir="/tmp/luthier-benchmark",
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=learning_rate,
        weight_decay=0.01,
        warmup_steps=0.06,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
        seed=seed,
        **settings,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(processor),
        processing_class=processor,
    )
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start
