"""Speech: Whisper tiny.en learns new voices; Luthier against Seq2SeqTrainer, tuned.

    python -m benchmarks.speech [--rows 32] [--seeds 2] [--methods frozen-encoder encoder-only] [--minutes 12]

Needs `make models data`. Same clips, batch size, epochs, learning rate and learnt parameters. The Trainer gets features
that were computed before the clock starts, as its users do; Luthier computes them as it goes. Frozen encoder: Luthier
keeps what the encoder answers from the second epoch on. Quality is the loss on held-out clips.
"""

from typing import Any

from benchmarks import _trainer as peer
from benchmarks._record import Row, keep
from benchmarks._rounds import OURS, Asked, Budget, Found, Results, alternate, compare, fastest, parser
from luthier.methods.partial import Partial

MODULE = "benchmarks.speech"
METHODS = {"frozen-encoder": Partial(train=("decoder",)), "encoder-only": Partial(train=("encoder",))}
LEARNING_RATE, BATCH_SIZE, EPOCHS, NUM_HELD_OUT, NUM_WARM = 5e-5, 16, 3, 32, 4
PEER = "Seq2SeqTrainer, tuned"
FIGURES = (("seconds", "s", "lower"), ("peak_mib", "MiB", "lower"))


def main() -> None:
    arguments = parser(__doc__, name="speech", rows=32, rounds=2, minutes=12)
    arguments.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    arguments.add_argument("--epochs", type=int, default=EPOCHS)
    asked = arguments.parse_args()
    budget, common = Budget(asked.minutes), {"rows": asked.rows, "epochs": asked.epochs, "held_out": NUM_HELD_OUT}
    short = {**common, "rows": min(BATCH_SIZE, asked.rows), "epochs": 1, "held_out": 2, "method": "encoder-only"}
    short |= {"side": "tuned", "seed": 0}
    tuned = {**fastest(MODULE, [{**short, **kind} for kind in peer.KINDS], told=PEER), **common}
    cases = {
        method: {OURS: {**common, "side": OURS, "method": method}, "tuned": {**tuned, "method": method}}
        for method in asked.methods
    }
    results = alternate(MODULE, cases, rounds=asked.seeds, budget=budget)
    rows = [each for method in asked.methods for each in compared(method, results)]
    rounds = len(results[asked.methods[0], OURS])
    keep(asked.name, rows, setting={**common, "batch_size": BATCH_SIZE, "tuning": tuned, "rounds": rounds})


def compared(method: str, results: Results) -> list[Row]:
    """Luthier against the Trainer."""
    what = f"Whisper tiny, {method}"
    return compare(results, method, "tuned", what=what, peer_name=PEER, quality="loss", figures=FIGURES)


def one(asked: Asked) -> Found:
    """Train one side and judge it on held-out clips."""
    from benchmarks import _work
    from benchmarks._ours import held_out_loss, measured, side

    work = _work.clips(asked["rows"], num_warm=NUM_WARM, num_held_out=asked["held_out"], seed=asked["seed"])
    pace = {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "seed": asked["seed"]}
    if asked["side"] == OURS:
        model, learn = side(work, METHODS[asked["method"]], epochs=float(asked["epochs"]), **pace)
    else:
        model, learn = _trainer(asked, work, pace)
    found = measured(learn, work, epochs=asked["epochs"])
    found["loss"] = held_out_loss(model, work)
    return found


def _trainer(asked: Asked, work: Any, pace: Asked) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSpeechSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    model = AutoModelForSpeechSeq2Seq.from_pretrained(
        work.source.name, attn_implementation=asked["attention"], dtype=torch.float32
    )
    work.task.fit(model, work.processor)
    METHODS[asked["method"]].apply(model, generator=torch.Generator())
    kind = {"kind": Seq2SeqTrainingArguments, **peer.TUNED, "num_train_epochs": asked["epochs"]}
    kind["train_sampling_strategy"] = "random"  # every clip is padded to 30 seconds
    arguments = peer.arguments(**pace, accumulation=asked["accumulation"], **kind)

    def learn(rows: Any) -> float:
        given = _heard(rows, work)
        return peer.seconds_of(lambda: Seq2SeqTrainer(model, arguments, train_dataset=given, data_collator=_collated))

    return model, learn


def _heard(rows: Any, work: Any) -> Any:
    """Clips as features and labels, computed once."""
    from datasets import Dataset

    features = work.task.collate(rows[:], work.processor).inputs["input_features"].numpy()
    columns = {"input_features": list(features), "labels": [ids.tolist() for ids in rows["target"][:]]}
    return Dataset.from_dict({**columns, "length": rows["length"][:].tolist()}).with_format("torch")


def _collated(rows: list[dict[str, Any]]) -> dict[str, Any]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    labels = pad_sequence([row["labels"] for row in rows], batch_first=True, padding_value=-100)
    return {"input_features": torch.stack([row["input_features"] for row in rows]), "labels": labels}


if __name__ == "__main__":
    main()
