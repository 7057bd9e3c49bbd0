"""One side of the comparison on a GPU: a Llama of some size learns a few steps; tokens/s and peak memory."""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import _llama
from benchmarks import _trainer as peer
from benchmarks._floor import rate
from benchmarks._ours import Learn, held_out_loss, measured, side
from benchmarks._rounds import OURS, Asked, Found
from benchmarks._work import Work
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora

METHODS: dict[str, Method] = {"lora": Lora(rank=16, targets=("all-linear",)), "full": Full()}
LEARNING_RATE = 1e-4


def one(asked: Asked) -> Found:
    """Time a few steps, after one on other rows that also judge; or predict the memory, or measure the machine."""
    if asked["side"] == "machine":
        return {"flops_per_s": peak_rate(asked["tiny"])}
    if asked["side"] == "predicted":
        return {"peak_mib": predicted_bytes(asked) / 2**20}
    num_rows = asked["batch_size"] * (asked["steps"] + 1)
    lengths = _llama.lengths(asked["lengths"], num_rows, asked["length"])
    work = _llama.work(asked["shape"], lengths, num_warm=asked["batch_size"])
    model, learn = SIDES[asked["side"]](asked, work)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    found = measured(learn, work)
    flops = _llama.needed_flops(asked["shape"], METHODS[asked["method"]], lengths[asked["batch_size"] :])
    found["loss"] = held_out_loss(peer.inner(model), work)
    return {**found, "flops_per_s": flops / found["seconds"]}


def peak_rate(tiny: bool) -> float:
    """FLOP/s of a large product in bf16: what utilisation is a share of."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = 512 if tiny else 8192
    return statistics.median(rate((size, size, size), torch.bfloat16, device, seconds=0.1) for _ in range(3))


def predicted_bytes(asked: Asked) -> int:
    """What `luthier plan` says that training takes, from the configuration alone."""
    from luthier import recipe as recipes
    from luthier.planning import stages
    from luthier.planning.ledger import total
    from luthier.planning.subject import ready, subject_of

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(_llama.config(asked["shape"]).to_dict()))
        method = METHODS[asked["method"]]
        raw = {
            "model": {"name": folder, "dtype": "bfloat16"},
            "data": "none",
            "task": {"kind": "causal-lm", "max_length": asked["length"], "packing": False},
            "method": {"kind": method.kind(), **method.model_dump()},
            "training": training(asked),
        }
        subject = subject_of(recipes.check(raw), length=asked["length"])
        with ready(subject) as made:
            return total(stages.training(made).parts)


def training(asked: Asked) -> dict[str, Any]:
    """The settings of Luthier's side."""
    usual = {"batch_size": asked["batch_size"], "epochs": 1.0, "learning_rate": LEARNING_RATE, "precision": "bf16"}
    return {**usual, **asked.get("training", {})}


def _luthier(asked: Asked, work: Work) -> tuple[Any, Learn]:
    return side(work, METHODS[asked["method"]], **training(asked))


def _trainer(asked: Asked, work: Work) -> tuple[Any, Learn]:
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer

    is_full = asked["method"] == "full"
    how = {"attn_implementation": "sdpa", "use_cache": False, "device_map": _device()}
    dtype = torch.float32 if is_full else torch.bfloat16  # what is learnt is held in fp32, as on Luthier's side
    model = AutoModelForCausalLM.from_pretrained(work.source.name, dtype=dtype, **how)
    if not is_full:
        model = peer.learning(model, METHODS["lora"], task_type="CAUSAL_LM", learnt_too=[])
    arguments = _arguments(asked, use_liger_kernel=asked["side"] == "liger")
    collator = DataCollatorForSeq2Seq(work.processor)

    def learn(rows: Any) -> float:
        given = peer.labelled(rows, "input_ids")
        return peer.seconds_of(lambda: Trainer(model, arguments, train_dataset=given, data_collator=collator))

    return model, learn


def _unsloth(asked: Asked, work: Work) -> tuple[Any, Learn]:
    from unsloth import FastLanguageModel  # isort: skip  (it patches transformers, so it comes first)
    from transformers import DataCollatorForSeq2Seq, Trainer

    how = {"max_seq_length": asked["length"], "dtype": torch.bfloat16, "load_in_4bit": False}
    model, _ = FastLanguageModel.from_pretrained(work.source.name, **how, full_finetuning=asked["method"] == "full")
    method = METHODS["lora"]
    if asked["method"] == "lora" and isinstance(method, Lora):
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        its_own = {"target_modules": names, "use_gradient_checkpointing": False}
        model = FastLanguageModel.get_peft_model(model, r=method.rank, lora_alpha=method.alpha, **its_own)
    arguments = _arguments(asked)
    collator = DataCollatorForSeq2Seq(work.processor)

    def learn(rows: Any) -> float:
        given = peer.labelled(rows, "input_ids")
        return peer.seconds_of(lambda: Trainer(model, arguments, train_dataset=given, data_collator=collator))

    return model, learn


def _arguments(asked: Asked, **more: Any) -> Any:
    pace = {"batch_size": asked["batch_size"], "accumulation": 1, "learning_rate": LEARNING_RATE, "seed": 0}
    return peer.arguments(**pace, **{**peer.TUNED, "dataloader_pin_memory": True, **asked.get("peer", {}), **more})


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


SIDES = {OURS: _luthier, "trainer": _trainer, "liger": _trainer, "unsloth": _unsloth}
