"""An encoder, MiniLM on paragraphs of BBC news: Luthier against the Hugging Face Trainer (with PEFT for LoRA).

    python -m benchmarks.train [--rows 192] [--seeds 3] [--methods full lora last-2 head] [--minutes 12]

Same model, rows, epochs, batch size, learning rate and learnt parameters; both sides tokenise before the clock starts,
and do a step on other rows. The Trainer runs tuned (see `_trainer.py`) and as it comes. Time over floor is time over
that of the needed products alone (see `_floor.py`).
"""

from typing import Any

from benchmarks import _trainer as peer
from benchmarks._record import Row, keep
from benchmarks._rounds import OURS, Asked, Budget, Found, Results, alternate, compare, fastest, over_floor, parser
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial

MODULE = "benchmarks.train"
METHODS: dict[str, tuple[Method, float]] = {
    "full": (Full(), 1e-4),
    "lora": (Lora(), 1e-3),
    "last-2": (Partial(train=("last-2", "head")), 2e-4),
    "head": (Partial(train=("head",)), 5e-2),
}
"""Each with its learning rate."""
BATCH_SIZE, MAX_LENGTH = 32, 256
AS_IT_COMES = "as it comes"
"""The side that is slow, so that it runs once."""


def main() -> None:
    arguments = parser(__doc__, name="train", rows=192, rounds=3, minutes=12)
    arguments.add_argument("--test-rows", type=int, default=400)
    arguments.add_argument("--epochs", type=int, default=1)
    arguments.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    arguments.add_argument("--tuned-only", action="store_true", help="without the Trainer as it comes: it is slow")
    asked = arguments.parse_args()
    budget = Budget(asked.minutes)
    common = {"rows": asked.rows, "test_rows": asked.test_rows, "epochs": asked.epochs}
    short = {**common, "side": "tuned", "method": "full", "seed": 0, "rows": min(128, asked.rows), "test_rows": 8}
    chosen = fastest(MODULE, [{**short, **kind} for kind in peer.KINDS], told="tuned Trainer")
    tuned = {"attention": chosen["attention"], "accumulation": chosen["accumulation"]}
    kinds = {OURS: {}, "tuned": tuned, **({} if asked.tuned_only else {AS_IT_COMES: {}})}
    cases = {
        method: {side: {**common, "side": side, "method": method, **kind} for side, kind in kinds.items()}
        for method in asked.methods
    }
    results = alternate(MODULE, cases, rounds=asked.seeds, budget=budget, only_first=(AS_IT_COMES,))
    rows = [each for method in asked.methods for each in compared(method, results)]
    setting = {**common, "batch_size": BATCH_SIZE, "max_length": MAX_LENGTH, "tuning": tuned}
    keep(asked.name, rows, setting={**setting, "rounds": len(results[asked.methods[0], OURS])})


def compared(method: str, results: Results) -> list[Row]:
    """Luthier against the Trainer in both kinds, and the time of both over the floor."""
    trainer = "Trainer + PEFT" if method == "lora" else "Trainer"
    rows = []
    for side in (side for side in ("tuned", AS_IT_COMES) if (method, side) in results):
        rows += compare(results, method, side, what=method, peer_name=f"{trainer}, {side}", quality="accuracy")
    return [*rows, over_floor(results, method, "tuned", what=method, peer_name=f"{trainer}, tuned")]


def one(asked: Asked) -> Found:
    """Train one side once and score it."""
    from benchmarks import _bbc
    from benchmarks._floor import floor_s
    from benchmarks._ours import answers, measured, side
    from luthier.evaluation.metrics.accuracy import Accuracy
    from luthier.evaluation.score import value

    sizes = {"num_warm": BATCH_SIZE, "num_held_out": asked["test_rows"], "max_length": MAX_LENGTH}
    work = _bbc.work(asked["rows"], seed=asked["seed"], **sizes)
    method, learning_rate = METHODS[asked["method"]]
    pace = {"batch_size": BATCH_SIZE, "learning_rate": learning_rate, "seed": asked["seed"]}
    if asked["side"] == OURS:
        model, learn = side(work, method, epochs=float(asked["epochs"]), **pace)
    else:
        model, learn = _trainer(asked, work, method, pace)
    found = measured(learn, work, epochs=asked["epochs"])
    found["accuracy"] = value(Accuracy(), answers(model, work), work.held_out["target"][:])
    if asked["side"] == OURS:
        found["floor_s"] = floor_s(model, work, epochs=asked["epochs"])
    return found


def _trainer(asked: Asked, work: Any, method: Any, pace: Asked) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer

    from luthier.data.places import locate
    from luthier.errors import ModelError

    is_tuned = asked["side"] == "tuned"
    torch.manual_seed(asked["seed"])
    plain = AutoModelForSequenceClassification.from_pretrained(
        str(locate(work.source.name, where="benchmark", error=ModelError)),
        attn_implementation=asked.get("attention", "sdpa"),
        dtype=torch.float32,
        **work.task.configuration(),
    )
    model = peer.learning(plain, method, task_type="SEQ_CLS", learnt_too=["classifier"])
    kind = peer.TUNED if is_tuned else peer.AS_IT_COMES
    times = {"accumulation": asked.get("accumulation", 1), "num_train_epochs": asked["epochs"]}
    arguments = peer.arguments(**pace, **times, **kind)
    collator = DataCollatorWithPadding(work.processor)

    def learn(rows: Any) -> float:
        given = peer.labelled(rows, "input_ids", "attention_mask", "token_type_ids")
        given = given if is_tuned else given.remove_columns("length")
        return peer.seconds_of(lambda: Trainer(model, arguments, train_dataset=given, data_collator=collator))

    return peer.inner(model), learn


if __name__ == "__main__":
    main()
