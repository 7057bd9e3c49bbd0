"""What a run's figures mean, in words; nothing is said where there is nothing to say."""

from collections.abc import Iterator

from luthier.evaluation.score import Score
from luthier.report.evidence import OF_LABEL, Evidence
from luthier.report.words import count, listed, number, percent, points, with_interval
from luthier.run import Run

SMALLEST_GAP = 0.03
"""Training rows are always answered a little better; up to three points no one would act on."""
LARGEST_RISE = 1.05
"""Validation loss over its best: losses of neighbouring evaluations differ by a few per cent by chance."""
WIDEST_INTERVAL = 0.10
LARGEST_PADDING = 0.15
LARGEST_IMBALANCE = 10
FEWEST_COUNTED = 3
"""Labels rarer than this in a sample count as this often: one row more or less is chance."""
TELLING = ("were dropped", "skipped", "(a leak)")
"""What a note of the data says when it changes how far the scores can be trusted."""


def findings(run: Run) -> list[str]:
    """One plain sentence or two for each finding, with its figures; the gravest first."""
    evidence = Evidence.of(run)
    return [sentence for find in _FINDERS for sentence in find(evidence)]


def _overfitting(evidence: Evidence) -> Iterator[str]:
    signs = [*_gap(evidence), *_rising_loss(evidence)]
    if signs:
        yield f"Overfitting: {'; '.join(signs)}. Try fewer epochs, more data, or stronger regularisation."


def _gap(evidence: Evidence) -> Iterator[str]:
    train, validation = evidence.score("train"), evidence.score("validation")
    if train is None or validation is None or not evidence.main.higher_is_better:
        return
    gap = train.value - validation.value
    if gap > max(SMALLEST_GAP, _half_width(validation)):
        yield (
            f"{evidence.main.name} is {number(train.value)} on training rows but {with_interval(validation)} on "
            f"validation rows, {points(gap)} lower"
        )


def _rising_loss(evidence: Evidence) -> Iterator[str]:
    evaluations = evidence.all("evaluation")
    if not evaluations:
        return
    best, last = min(evaluations, key=lambda record: record["loss"]), evaluations[-1]
    # A best of 0 or below (densities have such losses) has no per cent.
    if not 0 < best["loss"] * LARGEST_RISE < last["loss"] or not _training_loss_fell(evidence, best["step"]):
        return
    epoch = evidence.epoch_at(best["step"])
    when = f"step {best['step']}" + (f" (epoch {epoch:.2g})" if epoch is not None else "")
    yield (
        f"since {when} validation loss rose by {percent(last['loss'] / best['loss'] - 1)}, from "
        f"{number(best['loss'])} to {number(last['loss'])}, while training loss fell"
    )


def _training_loss_fell(evidence: Evidence, since: int) -> bool:
    """Whether the steps after `since` have, on average, a lower loss than the line logged there."""
    steps = evidence.steps
    before = [step["loss"] for step in steps if step["step"] <= since][-1:]
    after = [step["loss"] for step in steps if step["step"] > since]
    return bool(before and after) and sum(after) / len(after) < before[0]


def _left_out(evidence: Evidence) -> Iterator[str]:
    skipped = [step for record in evidence.all("step") for step in record.get("skipped", [])]
    if skipped:
        yield (
            f"Numbers: {count(len(skipped))} steps were left out, as loss or gradient was no finite number "
            f"(the first was step {skipped[0]}). Try a smaller learning rate, or bf16 or fp32."
        )


def _nothing_held_out(evidence: Evidence) -> Iterator[str]:
    if evidence.judged is None:
        yield (
            "There are no validation and no test rows: the scores are those of rows the model learnt from and say "
            "nothing about new ones. Set data.validation."
        )


def _small_splits(evidence: Evidence) -> Iterator[str]:
    for split in ("validation", "test"):
        score = evidence.score(split)
        if score and evidence.main.higher_is_better and score.high - score.low > WIDEST_INTERVAL:
            yield (
                f"The {split} split is small ({count(evidence.rows[split])} rows): {evidence.main.name} is "
                f"{with_interval(score)}, so differences below {points(_half_width(score))} mean nothing."
            )


def _unlike_splits(evidence: Evidence) -> Iterator[str]:
    validation, test = evidence.score("validation"), evidence.score("test")
    if validation is None or test is None or max(validation.low, test.low) <= min(validation.high, test.high):
        return
    is_better = (validation.value > test.value) == evidence.main.higher_is_better
    yield (
        f"{evidence.main.name} is clearly {'better' if is_better else 'worse'} on validation rows, "
        f"{with_interval(validation)}, than on test rows, {with_interval(test)}: the two splits hold different kinds "
        "of rows, or one of them leaks."
    )


def _labels_never_right(evidence: Evidence) -> Iterator[str]:
    split = evidence.judged
    if split is None:
        return
    zero = [
        f"{label} ({count(rows)} rows)"
        for label, rows in zip(evidence.labels, evidence.label_counts(split), strict=True)
        if rows and evidence.scores[split][OF_LABEL + label]["value"] == 0
    ]
    if zero:
        advice = " task.class_weights=auto or more rows of them may help." if _unweighted(evidence) else ""
        yield f"Never answered right on {split} rows (F1 of 0): {listed(zero)}.{advice}"


def _imbalance(evidence: Evidence) -> Iterator[str]:
    counts = dict(zip(evidence.labels, evidence.label_counts("train"), strict=True))
    if not counts:
        return
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] >= LARGEST_IMBALANCE * max(counts[least], FEWEST_COUNTED):
        looked_at = next(record["rows"] for record in evidence.all("score") if record["split"] == "train")
        advice = "; task.class_weights=auto makes rare labels weigh more" if _unweighted(evidence) else ""
        yield (
            f"The labels are unbalanced: of {count(looked_at)} training rows, {count(counts[most])} are {most} and "
            f"{count(counts[least])} are {least}{advice}."
        )


def _unweighted(evidence: Evidence) -> bool:
    return getattr(evidence.recipe.task, "class_weights", None) == "none"


def _data(evidence: Evidence) -> Iterator[str]:
    for note in evidence.notes:
        if note.endswith(TELLING):
            yield f"{note[:1].upper()}{note[1:]}."


def _padding(evidence: Evidence) -> Iterator[str]:
    share = evidence.last("trained")["padding"]
    if share > LARGEST_PADDING:
        yield (
            f"{percent(share)} of all tokens computed were padding; a smaller training.batch_size or task.max_length "
            "wastes less."
        )


def _length(evidence: Evidence) -> Iterator[str]:
    """An early end, or a best state long before the end."""
    trained, step = evidence.last("trained"), evidence.last("step")
    steps, best = trained["steps"], trained["best_step"]
    planned = step["num_steps"] if step else steps
    if steps < planned and not evidence.recipe.method.stage(evidence.recipe.task).is_judged:
        yield f"Ended after {count(steps)} of {count(planned)} steps: the training loss left nothing to be learnt."
    elif steps < planned:
        yield (
            f"Stopped early after {count(steps)} of {count(planned)} steps: {evidence.main.name} on validation rows "
            f"was best at step {count(best)}."
        )
    elif 0 < best <= steps / 2:
        yield (
            f"The best state, which was kept, is that of step {count(best)} of {count(steps)}: the steps after it "
            "brought nothing, so a shorter run may do."
        )


def _half_width(score: Score) -> float:
    return (score.high - score.low) / 2


_FINDERS = (
    _nothing_held_out,
    _overfitting,
    _left_out,
    _unlike_splits,
    _labels_never_right,
    _small_splits,
    _imbalance,
    _data,
    _padding,
    _length,
)
