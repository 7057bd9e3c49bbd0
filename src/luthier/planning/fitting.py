"""How a run is made to fit that does not as it is: in smaller micro-batches, with checkpointing, or both.

Smaller micro-batches need no more arithmetic, but a GPU works on a small one as long as on a larger one. Checkpointing
makes every step a third longer. So a CPU takes it where not even a single row fits without it, and a GPU also where
rows would be so few at once that it is the faster of the two.

Of the kinds of checkpointing, `blocks` is taken: it saves the most, and on a CPU `selective` was no faster (2.2 in
place of 2.0 s a step, where 1.8 s are without: benchmarks/results/memory-techniques.json).
"""

from typing import Any

from luthier.errors import ModelError
from luthier.planning import stages
from luthier.planning.plan import Room, largest_micro_batch
from luthier.planning.subject import Subject, ready

AGAIN = 4 / 3
"""Times as long as without it that a step takes: of three equal parts, one forward and two backward, the first is
computed twice."""
FILLED = 128 * 128 * 128
"""Numbers that a product has to give for a GPU to be busy with it: of its some 128 multiprocessors (an A100 has 108, an
H100 132) each computes a tile of 128 x 128 at a time."""


def fastest(subject: Subject, room: Room, longest: int) -> dict[str, Any] | None:
    """Settings of `training` that make a step fit, the fastest of them; None where it fits in no way.

    As it is, it must have been found not to fit; its longest row has `longest` tokens. Checkpointing is only chosen
    where that is `auto`.
    """
    training = subject.recipe.training
    busy = _tokens_that_fill(subject)
    without = _most_rows(subject, room)
    is_fast = without > 0 and AGAIN * without * longest >= busy
    if training.checkpointing == "auto" and not is_fast:
        changed, again = _with_blocks(subject, room)
        if again and (not without or AGAIN * _time(again, longest, busy) < _time(without, longest, busy)):
            return changed
    return {"micro_batch_size": without} if without else None


def _with_blocks(subject: Subject, room: Room) -> tuple[dict[str, Any], int]:
    """Settings with which blocks are computed again, and how many rows then fit at once: 0 where not even one does."""
    changed: dict[str, Any] = {"checkpointing": "blocks"}
    tried = subject.of(training=changed)
    try:
        with ready(tried) as made:
            if room.holds(stages.training(made).peak):
                return changed, max(1, tried.recipe.training.batch_size // tried.recipe.training.accumulation)
        most = _most_rows(tried, room)
    except ModelError:  # this model's blocks cannot be found
        return changed, 0
    return {**changed, "micro_batch_size": most}, most


def _most_rows(subject: Subject, room: Room) -> int:
    """Rows that fit at once; 0 where not even one does, or the recipe says how many they are to be."""
    training = subject.recipe.training
    if training.micro_batch_size != "auto" or training.fused_backward:
        return 0
    return largest_micro_batch(subject, room) or 0


def _tokens_that_fill(subject: Subject) -> float:
    """Tokens below which a micro-batch takes no less time; a CPU has no such bound."""
    if subject.rows.device == "cpu":
        return 0.0
    width: int = getattr(subject.settings, "hidden_size", None) or 2048
    return FILLED / width


def _time(num_rows: int, longest: int, busy: float) -> float:
    """What a row takes where so many are computed at once, in tokens of a busy device."""
    return max(num_rows * longest, busy) / num_rows
