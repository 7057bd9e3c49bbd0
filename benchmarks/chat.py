"""Chats: SmolLM2-135M learns dialogues with LoRA; Luthier against Trainer + PEFT and TRL's SFTTrainer, both tuned.

    python -m benchmarks.chat [--rows 96] [--seeds 3] [--data chats|summaries] [--minutes 15]
    python -m benchmarks.chat --ablate

Needs `make models data`. Every side gets the same rows of tokens and the same supervised ones, from Luthier's own
preparation, and the same weights in bf16; after one step on other rows, an epoch is timed. The peers compute in bf16,
group rows by length, use fused AdamW and no checkpointing; attention, accumulation, and for TRL packing or padding, are
what a short run of each finds fastest. `--ablate` runs Luthier alone, each time without one of its ingredients.
"""

from typing import Any

from benchmarks import _trainer as peer
from benchmarks._record import Row, keep
from benchmarks._rounds import OURS, Asked, Budget, Found, Results, alternate, compare, fastest, over_floor, parser
from luthier.methods.lora import Lora

MODULE = "benchmarks.chat"
METHOD, LEARNING_RATE = Lora(rank=16, targets=("all-linear",)), 2e-4
BATCH_SIZE, MAX_LENGTH = 16, 512
NUM_HELD_OUT = 48
ABLATIONS = (
    "rows padded, eager attention",
    "rows padded, SDPA",
    "each row's attention by itself",
    "rows padded, SDPA, autocast",
    "logits in one piece",
    "norms operation by operation",
    "freed memory given back at once",
    "batches of rows of any length",
    "each batch in one piece",
    "frozen weights held in fp32",
    "fp32",
)
"""What may be there instead of an ingredient (see `_ablation.py`)."""
PEERS = {"trainer": "Trainer + PEFT, tuned", "trl": "TRL's SFTTrainer, tuned"}


def main() -> None:
    arguments = parser(__doc__, name="chat", rows=96, rounds=3, minutes=15)
    arguments.add_argument("--data", choices=("chats", "summaries"), default="chats")
    arguments.add_argument("--ablate", action="store_true", help="Luthier alone, without one ingredient at a time")
    arguments.add_argument("--without", nargs="+", default=ABLATIONS, choices=ABLATIONS, help="which, with --ablate")
    arguments.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    asked = arguments.parse_args()
    budget = Budget(asked.minutes)
    common = {"data": asked.data, "rows": asked.rows, "held_out": NUM_HELD_OUT}
    whole = {**common, "side": OURS}
    if asked.ablate:
        sides, chosen = {OURS: whole, **{name: {**whole, "without": name} for name in asked.without}}, {}
    else:
        chosen = {side: tuned(side, common) for side in asked.peers}
        sides = {OURS: whole, **chosen}
    results = alternate(MODULE, {"chat": sides}, rounds=asked.seeds, budget=budget)
    others = [side for side in sides if side != OURS]
    rows = [each for side in others for each in compared(side, results)]
    rows += [over_floor(results, "chat", side, what="chat, LoRA", peer_name=PEERS[side]) for side in chosen]
    setting = {**common, "batch_size": BATCH_SIZE, "max_length": MAX_LENGTH, "tuning": chosen}
    name = f"{asked.name}-ablation" if asked.ablate else asked.name
    keep(name, rows, setting={**setting, "rounds": len(results["chat", OURS])})


def tuned(side: str, common: Asked) -> Asked:
    """How a peer runs fastest: every kind is tried on the rows of two steps."""
    kinds: list[Asked] = [dict(kind) for kind in peer.KINDS]
    if side == "trl":  # a packed batch is one or two rows of full length: nothing to accumulate
        kinds += [{"attention": kind["attention"], "packing": True} for kind in kinds[::2]]
    short = {**common, "rows": min(2 * BATCH_SIZE, common["rows"]), "held_out": 2, "side": side, "seed": 0}
    found = fastest(MODULE, [{**short, **kind} for kind in kinds], told=PEERS[side])
    return {**found, **common}


def compared(side: str, results: Results) -> list[Row]:
    """Luthier against a peer, or against itself without an ingredient; quality is the loss on held-out rows."""
    name = PEERS.get(side, f"itself: {side}")
    return compare(results, "chat", side, what="chat, LoRA", peer_name=name, quality="loss")


def one(asked: Asked) -> Found:
    """Train one side for an epoch and judge it on held-out rows."""
    from benchmarks import _work
    from benchmarks._ablation import SETTINGS, without
    from benchmarks._floor import floor_s
    from benchmarks._ours import held_out_loss, measured, side

    rows = getattr(_work, asked["data"])
    work = rows(asked["rows"], num_warm=BATCH_SIZE, num_held_out=asked["held_out"], seed=asked["seed"])
    pace = {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "seed": asked["seed"]}
    if asked["side"] == OURS:
        less = SETTINGS.get(asked.get("without"), {})
        held = {"dtype": "bfloat16", **less.get("model", {})}  # as the peers hold the frozen base
        model, learn = side(work, METHOD, epochs=1.0, **{**pace, **less, "model": held})
    else:
        model, learn = {"trainer": _trainer, "trl": _trl}[asked["side"]](asked, work, pace)
    with without(asked.get("without")):
        found = measured(learn, work)
    found["loss"] = held_out_loss(model, work)
    if asked["side"] == OURS:
        found["floor_s"] = floor_s(model, work)
    return found


def _trainer(asked: Asked, work: Any, pace: Asked) -> tuple[Any, Any]:
    from transformers import DataCollatorForSeq2Seq, Trainer

    model = _with_peft(asked, work)
    arguments = peer.arguments(**pace, accumulation=asked["accumulation"], **peer.TUNED)
    collator = DataCollatorForSeq2Seq(work.processor)

    def learn(rows: Any) -> float:
        given = peer.labelled(rows, "input_ids")
        return peer.seconds_of(lambda: Trainer(model, arguments, train_dataset=given, data_collator=collator))

    return peer.inner(model), learn


def _trl(asked: Asked, work: Any, pace: Asked) -> tuple[Any, Any]:
    from trl import SFTConfig, SFTTrainer

    model, packing = _with_peft(asked, work), asked.get("packing", False)
    if packing:  # so many full rows a step as hold a batch of ours
        num_full = BATCH_SIZE * float(work.train["length"][:].mean()) / MAX_LENGTH
        pace = {**pace, "batch_size": max(1, round(num_full))}
    its_own = {"packing": packing, "max_length": MAX_LENGTH, "gradient_checkpointing": False}
    accumulation = asked.get("accumulation", 1)
    arguments = peer.arguments(kind=SFTConfig, **pace, accumulation=accumulation, **peer.TUNED, **its_own)

    def learn(rows: Any) -> float:
        given = {"train_dataset": peer.labelled(rows, "input_ids"), "processing_class": work.processor}
        return peer.seconds_of(lambda: SFTTrainer(model, arguments, **given))

    return peer.inner(model), learn


def _with_peft(asked: Asked, work: Any) -> Any:
    """The model in bf16, its adapters in fp32, as PEFT holds them."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(asked["seed"])
    plain = AutoModelForCausalLM.from_pretrained(
        work.source.name, attn_implementation=asked["attention"], dtype=torch.bfloat16, use_cache=False
    )
    return peer.learning(plain, METHOD, task_type="CAUSAL_LM", learnt_too=[])


if __name__ == "__main__":
    main()
