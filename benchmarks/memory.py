"""Peak memory: LoRA on SmolLM2-135M against Trainer + PEFT at the same micro-batch, and what each technique saves.

    python -m benchmarks.memory [--lengths 512 1024 2048] [--micro-batch 4] [--long] [--minutes 10]

Needs `make models data`. A step's rows are news of exactly so many tokens, in one micro-batch; all sides learn from the
same tokens, twice, so the first loss of both sides is that of the same model. Every case has a process of its own.
Techniques are measured against Luthier without any: under LoRA those that spare activations, under full fine-tuning
those that spare gradients and the optimiser's state. Two figures are told on a CPU:

    peak_mib       most resident memory while it trains, beyond that of the process before a model was loaded
    allocator_mib  most bytes in tensors, by the events of torch's allocator, in a second training

On a GPU both are the allocator's own.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import _trainer as peer
from benchmarks._allocator import measured_peak
from benchmarks._record import Row, keep, row
from benchmarks._rounds import OURS, Asked, Budget, Found, SideFailed, once, parser, tell
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora

MODULE, PEER = "benchmarks.memory", "Trainer + PEFT"
METHODS: dict[str, Method] = {"lora": Lora(rank=16, targets=("all-linear",)), "full": Full()}
LEARNING_RATE = 2e-4
NUM_STEPS = 2
"""The optimiser's state is there from the second on."""
LONGEST_TRACED = 1024
"""Tokens of a row up to which the allocator's events are recorded too: it takes a second training."""
TECHNIQUES: dict[str, tuple[str, Asked]] = {
    "checkpointing blocks": ("lora", {"checkpointing": "blocks"}),
    "checkpointing attention": ("lora", {"checkpointing": "attention"}),
    "checkpointing selective": ("lora", {"checkpointing": "selective"}),
    "offloaded activations": ("lora", {"offload_activations": True}),
    "Adafactor": ("full", {"optimizer": "adafactor"}),
    "8-bit AdamW": ("full", {"optimizer": "adamw-8bit"}),
    "fused backward": ("full", {"fused_backward": True}),
    "fused backward, Adafactor, checkpointing blocks": (
        "full",
        {"fused_backward": True, "optimizer": "adafactor", "checkpointing": "blocks"},
    ),
}
"""The method that shows what a technique saves, and the technique's settings."""
GPU_ONLY = {"offloaded activations"}
Train = Callable[[], tuple[float, tuple[float, ...]]]
"""Trains to the end; -> seconds of a step, and the loss of each."""


def main() -> None:
    arguments = parser(__doc__, name="memory", rows=4, rounds=1, minutes=10)
    arguments.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048], help="tokens of a row")
    arguments.add_argument("--long", action="store_true", help="4,096 tokens too")
    arguments.add_argument("--technique-length", type=int, default=256, help="tokens of a row in the techniques' table")
    asked = arguments.parse_args()
    lengths = [*asked.lengths, *([4096] if asked.long else [])]
    budget = Budget(asked.minutes)
    rows = [each for length in lengths for each in against_the_peer(asked.rows, length)]
    for method in METHODS:
        rows += techniques(method, asked.rows, asked.technique_length, budget)
    setting = {"micro_batch": asked.rows, "lengths": lengths, "technique_length": asked.technique_length}
    keep(asked.name, rows, setting={**setting, "steps": NUM_STEPS, "peer": PEER})


def against_the_peer(num_rows: int, length: int) -> list[Row]:
    """Both sides at one length of rows; quality is the loss of the second step."""
    case = {"method": "lora", "rows": num_rows, "length": length, "training": {}}
    found = {}
    for side in (OURS, "trainer"):
        found[side] = once(MODULE, {**case, "side": side})
        tell(f"{num_rows} x {length}, {side}", found[side])
    return compared(f"LoRA, {num_rows} x {length}", found[OURS], found["trainer"], peer_name=PEER)


def techniques(method: str, num_rows: int, length: int, budget: Budget) -> list[Row]:
    """What each technique of a method saves and costs, as long as there is time."""
    case = {"method": method, "rows": num_rows, "length": length, "side": OURS}
    plain = once(MODULE, {**case, "training": {}})
    tell(f"{method}, {num_rows} x {length}", plain)
    rows = []
    for name, (its_method, settings) in TECHNIQUES.items():
        if its_method != method or (name in GPU_ONLY and not torch.cuda.is_available()):
            continue
        if not budget.left_s:
            print(f"{name}: no time is left for it (--minutes)", flush=True)
            continue
        try:
            found = once(MODULE, {**case, "training": settings})
        except SideFailed as failure:
            print(f"{name}: {failure}", flush=True)
            continue
        tell(f"{method}, {name}", found)
        rows += compared(f"{method}, {num_rows} x {length}, {name}", found, plain, peer_name="none of them")
    return rows


def compared(what: str, ours: Found, other: Found, *, peer_name: str) -> list[Row]:
    """The figures that both have."""
    figures = {"peak_mib": "MiB", "allocator_mib": "MiB", "seconds": "s"}
    told: dict[str, Any] = {"peer_name": peer_name, "better": "lower"}
    told["quality"] = ours["last_loss"], other["last_loss"]
    return [
        row(f"{what}: {figure}", ours[figure], other[figure], unit=unit, **told)
        for figure, unit in figures.items()
        if figure in ours and figure in other
    ]


def one(asked: Asked) -> Found:
    """Train one side twice on the same rows, and tell what it held and what it lost."""
    work, before = _work(asked["rows"], asked["length"]), _resident()
    model, train = (_ours if asked["side"] == OURS else _peers)(asked, work)
    _forget_peak()
    seconds, losses = train()
    found = {"seconds": seconds, "peak_mib": (_peak() - before) / 2**20}
    if asked["length"] <= LONGEST_TRACED or torch.cuda.is_available():
        found["allocator_mib"] = (_peak() if torch.cuda.is_available() else measured_peak(model, train)) / 2**20
    return {**found, "first_loss": losses[0], "last_loss": losses[-1]}


def _work(num_rows: int, length: int) -> Any:
    """Rows of so many tokens each, all of them learnt but the first."""
    from datasets import Dataset

    from benchmarks._work import Work, smollm2
    from luthier.component import Facts
    from luthier.models.source import ModelSource
    from luthier.tasks.causal_lm import CausalLM

    with Path("data/summaries/train.jsonl").open() as file:
        news = "\n\n".join(json.loads(line)["document"] for line, _ in zip(file, range(40 * num_rows), strict=False))
    texts = Dataset.from_dict({"text": [news]})
    task = CausalLM(max_length=length, packing=False).resolve(Facts(train=texts))
    source = ModelSource(name=smollm2(), dtype="bfloat16")  # the frozen weights; what is learnt is in fp32 all the same
    processor = task.load_processor(source)
    prepared = task.prepare(texts, processor, training=True)
    assert len(prepared) > num_rows, f"too few news for rows of {length} tokens"
    rows, none = prepared.select(range(num_rows)), prepared.select(range(0))
    return Work(source, task, processor, rows=texts, train=rows, held_out=none, warm=none)


def _ours(asked: Asked, work: Any) -> tuple[torch.nn.Module, Train]:
    from benchmarks._ours import build, learn

    whole = {"batch_size": len(work.train), "epochs": float(NUM_STEPS), "micro_batch_tokens": None, "best": "last"}
    unclipped = {"max_grad_norm": None} if "fused_backward" in asked["training"] else {}
    given = {**whole, "learning_rate": LEARNING_RATE, "seed": 0, **unclipped, **asked["training"]}
    built = build(work, METHODS[asked["method"]], **given)

    def train() -> tuple[float, tuple[float, ...]]:
        learnt = learn(built, work.train)
        return learnt.seconds / NUM_STEPS, learnt.losses

    return built.model, train


def _peers(asked: Asked, work: Any) -> tuple[torch.nn.Module, Train]:
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer

    plain = AutoModelForCausalLM.from_pretrained(
        work.source.name, attn_implementation="sdpa", dtype=torch.bfloat16, use_cache=False
    )
    model = peer.learning(plain, METHODS[asked["method"]], task_type="CAUSAL_LM", learnt_too=[])
    every_step: Asked = {"logging_strategy": "steps", "logging_steps": 1, "num_train_epochs": NUM_STEPS}
    pace: Asked = {"batch_size": len(work.train), "accumulation": 1, "learning_rate": LEARNING_RATE, "seed": 0}
    arguments = peer.arguments(**pace, **peer.TUNED, **every_step)
    given, collator = peer.labelled(work.train, "input_ids"), DataCollatorForSeq2Seq(work.processor)

    def train() -> tuple[float, tuple[float, ...]]:
        trainer = Trainer(model, arguments, train_dataset=given, data_collator=collator)
        seconds = peer.seconds_of(lambda: trainer)
        losses = tuple(record["loss"] for record in trainer.state.log_history if "loss" in record)
        return seconds / NUM_STEPS, losses

    return model, train


def _resident() -> int:
    """Bytes that the process holds now."""
    return 0 if torch.cuda.is_available() else _status("VmRSS")


def _peak() -> int:
    """Most bytes held since the peak was forgotten."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _status("VmHWM")


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
