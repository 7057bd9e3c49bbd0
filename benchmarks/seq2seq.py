"""Translation: a tiny Marian model learns English into Portuguese, all of it; Luthier against Seq2SeqTrainer, tuned.

    python -m benchmarks.seq2seq [--rows 512] [--seeds 3] [--minutes 8]

Needs `make models data`. Same rows of tokens, batch size, epochs and learning rate; after a step on others, an epoch
is timed. Quality is the loss on held-out rows. The model is no stock class: `benchmarks/ssru` defines it.
"""

from typing import Any

from benchmarks import _trainer as peer
from benchmarks._record import keep
from benchmarks._rounds import OURS, Asked, Budget, Found, alternate, compare, fastest, over_floor, parser
from luthier.methods.full import Full

MODULE = "benchmarks.seq2seq"
METHOD, LEARNING_RATE, BATCH_SIZE, NUM_HELD_OUT = Full(), 2e-4, 32, 128
PEER = "Seq2SeqTrainer, tuned"


def main() -> None:
    asked = parser(__doc__, name="seq2seq", rows=512, rounds=3, minutes=8).parse_args()
    budget, common = Budget(asked.minutes), {"rows": asked.rows, "held_out": NUM_HELD_OUT}
    short = {"rows": min(128, asked.rows), "held_out": 2, "side": "tuned", "seed": 0}
    tuned = {**fastest(MODULE, [{**short, **kind} for kind in peer.KINDS], told=PEER), **common}
    sides = {OURS: {**common, "side": OURS}, "tuned": tuned}
    results = alternate(MODULE, {"marian": sides}, rounds=asked.seeds, budget=budget)
    rows = compare(results, "marian", "tuned", what="Marian, full", peer_name=PEER, quality="loss")
    rows.append(over_floor(results, "marian", "tuned", what="Marian, full", peer_name=PEER))
    setting = {**common, "batch_size": BATCH_SIZE, "tuning": tuned, "rounds": len(results["marian", OURS])}
    keep(asked.name, rows, setting=setting)


def one(asked: Asked) -> Found:
    """Train one side for an epoch and judge it on held-out rows."""
    from benchmarks import _work
    from benchmarks._floor import floor_s
    from benchmarks._ours import held_out_loss, measured, side

    work = _work.translations(asked["rows"], num_warm=BATCH_SIZE, num_held_out=asked["held_out"], seed=asked["seed"])
    pace = {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "seed": asked["seed"]}
    model, learn = side(work, METHOD, epochs=1.0, **pace) if asked["side"] == OURS else _trainer(asked, work, pace)
    found = measured(learn, work)
    found["loss"] = held_out_loss(model, work)
    if asked["side"] == OURS:
        found["floor_s"] = floor_s(model, work)
    return found


def _trainer(asked: Asked, work: Any, pace: Asked) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    from luthier.models import plugins

    plugins.register()
    model = AutoModelForSeq2SeqLM.from_pretrained(
        work.source.name, attn_implementation=asked["attention"], dtype=torch.float32
    )
    work.task.fit(model, work.processor)
    METHOD.apply(model, generator=torch.Generator())
    kind = {"kind": Seq2SeqTrainingArguments, **peer.TUNED}
    arguments = peer.arguments(**pace, accumulation=asked["accumulation"], **kind)
    collator = DataCollatorForSeq2Seq(work.processor, model=model)

    def learn(rows: Any) -> float:
        given = peer.labelled(rows, "input_ids", "attention_mask")
        return peer.seconds_of(lambda: Seq2SeqTrainer(model, arguments, train_dataset=given, data_collator=collator))

    return model, learn


if __name__ == "__main__":
    main()
