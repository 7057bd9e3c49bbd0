"""The course of a training: how long it is, when it is judged, what is kept, and when it stops."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from luthier.errors import RecipeError
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.training import course as course_module
from luthier.training.best import Best
from luthier.training.course import Material
from luthier.training.settings import Training
from tests.tiny import model_for
from tests.training.courses import events, material, run, settings


def weights(made: Material) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def scripted(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Let evaluations give these values, one after the other, to each of their metrics."""
    left = iter(values)
    monkeypatch.setattr(course_module, "values", lambda *asked, **_: dict.fromkeys(names_of(asked), next(left)))


def names_of(asked: Any) -> list[str]:
    return [metric.name for metric in asked[-1]]


def test_epochs_and_steps_are_what_is_trained() -> None:
    for given, num_steps in (({"epochs": 1.4}, 4), ({"steps": 4}, 4), ({"epochs": 2}, 6)):
        records = run(material(), **given)
        assert [r["step"] for r in events(records, "progress")] == list(range(1, num_steps + 1))
        assert events(records, "trained")[0]["steps"] == num_steps


def test_every_row_is_seen_once_an_epoch() -> None:
    (trained,) = events(run(material(num_train=25), epochs=2), "trained")
    assert trained["rows"] == 50
    assert trained["tokens"] == 50 * 4
    assert trained["padding"] == 0.0


def test_it_is_judged_at_every_epochs_end() -> None:
    assert [r["step"] for r in events(run(material(), epochs=2), "evaluation")] == [3, 6]


def test_it_is_judged_after_so_many_steps_and_at_the_end() -> None:
    assert [r["step"] for r in events(run(material(), steps=5, evaluate_every=2), "evaluation")] == [2, 4, 5]


def test_it_is_logged_after_so_many_steps_and_at_the_end() -> None:
    logged = events(run(material(), steps=5, log_every=2), "step")
    assert [r["step"] for r in logged] == [2, 4, 5]
    assert [r["epoch"] for r in logged] == [0.667, 1.333, 1.667]
    assert all(math.isfinite(r["loss"]) and r["tokens_per_s"] > 0 and r["remaining_s"] >= 0 for r in logged)


def test_a_log_line_is_the_mean_of_its_steps() -> None:
    each = [r["loss"] for r in events(run(material(), steps=4, log_every=1), "step")]
    both = [r["loss"] for r in events(run(material(), steps=4, log_every=2), "step")]
    assert both == pytest.approx([np.mean(each[:2]), np.mean(each[2:])])


def test_the_same_seed_gives_the_same_weights_bit_by_bit() -> None:
    one, same, other = material(), material(), material()
    for made, seed in ((one, 1), (same, 1), (other, 2)):
        run(made, epochs=2, seed=seed)
    assert all(torch.equal(p, weights(same)[name]) for name, p in weights(one).items())
    assert not all(torch.equal(p, weights(other)[name]) for name, p in weights(one).items())


def test_judging_changes_nothing_that_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 1, 2, 3, 4, 5, 6)
    often, never = material(), material()
    run(often, epochs=2, evaluate_every=1, best="f1-macro")
    run(never, epochs=2, best="last")
    assert all(torch.equal(p, weights(never)[name]) for name, p in weights(often).items())


@pytest.mark.parametrize("method", [None, Lora(rank=2)])
def test_the_best_state_is_put_back(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.1, 0.9, 0.9, 0.5)
    made = material(method)
    records, kept = [], {}
    for record in course_module.course(made, method or Full(), settings(steps=4, evaluate_every=1, best="f1-macro")):
        records.append(record)
        if record["event"] == "evaluation" and record["step"] == 2:
            kept = weights(made)
        if record["event"] == "evaluation" and record["step"] == 4:
            last = weights(made)
    assert [r["best"] for r in events(records, "evaluation")] == [True, True, False, False]
    assert events(records, "trained")[0]["best_step"] == 2
    assert all(torch.equal(p, kept[name]) for name, p in weights(made).items())
    assert not all(torch.equal(p, last[name]) for name, p in weights(made).items())


def test_patience_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.5, 0.4, 0.6, 0.6, 0.1, 0.2)
    records = run(material(), steps=6, evaluate_every=1, best="f1-macro", patience=2)
    assert [r["step"] for r in events(records, "evaluation")] == [1, 2, 3, 4, 5]
    assert events(records, "trained")[0] | {"steps": 5, "best_step": 3} == events(records, "trained")[0]


def test_a_lower_loss_is_the_better_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.5, 0.7, 0.3)
    records = run(material(), steps=3, evaluate_every=1, best="loss")
    assert [r["best"] for r in events(records, "evaluation")] == [True, False, True]


def test_no_number_is_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, math.nan, 0.2, math.nan)
    records = run(material(), steps=3, evaluate_every=1, best="f1-macro")
    assert [r["best"] for r in events(records, "evaluation")] == [False, True, False]
    assert events(records, "trained")[0]["best_step"] == 2


def test_where_nothing_was_best_the_last_state_is_kept_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, math.nan, math.nan)
    never, judged = material(validation=False), material()
    run(never, steps=2)
    records = run(judged, steps=2, evaluate_every=1, best="f1-macro")
    assert events(records, "trained")[0]["best_step"] == 2
    assert all(torch.equal(p, weights(never)[name]) for name, p in weights(judged).items())


def test_without_validation_rows_the_last_state_stays() -> None:
    records = run(material(validation=False), epochs=1)
    assert events(records, "evaluation") == []
    assert events(records, "trained")[0]["best_step"] == 3


@pytest.mark.parametrize("given", [{"best": "accuracy"}, {"patience": 2}])
def test_watching_without_validation_rows_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"training\.best and training\.patience need validation rows"):
        run(material(validation=False), epochs=1, **given)


def test_an_unknown_metric_is_refused_with_the_near_one() -> None:
    with pytest.raises(RecipeError, match=r"training\.best: no metric is called acuracy; did you mean accuracy"):
        run(material(), epochs=1, best="acuracy")


def test_an_adapter_alone_is_kept_as_the_best_state() -> None:
    model = model_for(material().task)
    Lora(rank=2).apply(model, generator=torch.Generator())
    best = Best(higher_is_better=True)
    best.see(1.0, 1, model)
    assert set(best.learnt) == {name for name, p in model.named_parameters() if p.requires_grad}


def test_epochs_and_steps_together_are_refused() -> None:
    with pytest.raises(ValueError, match="epochs and steps are both given"):
        Training(epochs=1, steps=1)
