"""Runs that keep the states of the frozen part learn what runs learn that compute them, and say what they do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.interrupt import Interrupted, Stop
from luthier.methods import Method
from luthier.methods.full import Full
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial
from luthier.models.frozen import cache as frozen
from luthier.training.course import Material, course
from tests.tiny import rows
from tests.training.courses import Record, events, material, run, settings

LAST, HEAD = Partial(train=("last-1", "head")), Partial(train=("head",))
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def made_for(method: Method) -> Material:
    """Thirty rows of very different lengths to learn from, and nine to be judged on."""
    made = material(method, **NO_DROPOUT)
    train, validation = (made.task.prepare(rows(num, seed=num), made.processor) for num in (30, 9))
    return replace(made, train=train, validation=validation)


def ran(method: Method = LAST, **given: Any) -> tuple[Material, list[Record]]:
    made = made_for(method)
    return made, run(made, method, **{"epochs": 3, **given})


def weights(made: Material) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in made.model.named_parameters() if p.requires_grad}


def assert_learnt_the_same(one: Material, other: Material) -> None:
    found, expected = weights(one), weights(other)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def notes(records: list[Record]) -> list[str]:
    return [note for record in events(records, "cache") for note in record["notes"]]


@pytest.mark.parametrize("method", [LAST, HEAD], ids=["last-1", "head"])
@pytest.mark.parametrize("given", [{}, {"accumulation": 2}, {"patience": 1}, {"micro_batch_tokens": 12}], ids=str)
def test_a_cached_run_learns_what_an_uncached_one_learns(method: Method, given: dict[str, Any]) -> None:
    cached, told = ran(method, **given)
    plain, _ = ran(method, cache="off", **given)
    assert_learnt_the_same(cached, plain)
    assert "computed once for each row, in eval mode (no dropout there), and kept in memory" in notes(told)[0]


def test_every_epoch_but_the_first_and_every_evaluation_but_the_first_is_replayed() -> None:
    _, told = ran()
    summary = events(told, "cache")[-1]
    assert (summary["rows"], summary["replayed"]) == (3 * (30 + 9), 2 * (30 + 9))
    assert notes(told)[-1] == "78 of 117 times a row's frozen states were there already"


def test_in_bf16_a_cached_run_goes_as_an_uncached_one_but_for_rounding() -> None:
    losses = [
        [record["loss"] for record in events(ran(precision="bf16", cache=cache)[1], "evaluation")]
        for cache in ("memory", "off")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_states_on_a_disk_serve_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    first, _ = ran(cache="disk")
    second, told = ran(cache="disk")
    assert_learnt_the_same(second, first)
    summary = events(told, "cache")[-1]
    assert summary["rows"] == summary["replayed"] == 3 * (30 + 9)
    (folder,) = tmp_path.iterdir()
    assert str(folder) in notes(told)[0]
    ran(HEAD, cache="disk")
    assert len(list(tmp_path.iterdir())) == 2  # other points, other states


def test_other_weights_have_other_states_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    ran(cache="disk")
    made = made_for(LAST)
    with torch.no_grad():
        made.model.bert.encoder.layer[0].output.dense.weight.mul_(1.5)
    run(made, LAST, epochs=2, cache="disk")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"epochs": 1, "best": "last"}, "no row is seen twice"),
        (
            {"cache_gib": 1e-9},
            "they take 0.1 MiB, but may take 0.0 MiB; say training.cache_gib, or training.cache=disk",
        ),
    ],
)
def test_auto_says_why_it_keeps_nothing(given: dict[str, Any], reason: str) -> None:
    _, told = ran(**given)
    (note,) = notes(told)
    assert note.startswith("frozen states are computed anew each time: ")
    assert note.endswith(reason)


def test_a_model_that_learns_from_the_first_block_on_keeps_nothing_and_says_so() -> None:
    _, told = ran(Lora(rank=2))
    assert notes(told) == [
        "frozen states are computed anew each time: something learns in the first block or before it"
    ]


@pytest.mark.parametrize(("method", "given"), [(Full(), {}), (LAST, {"cache": "off"})], ids=["full", "off"])
def test_where_no_cache_is_meant_nothing_is_said(method: Method, given: dict[str, Any]) -> None:
    _, told = ran(method, **given)
    assert not events(told, "cache")


def test_a_budget_that_is_too_small_for_all_rows_is_told_of_at_the_end() -> None:
    small, told = ran(cache="memory", cache_gib=2e-6)
    plain, _ = ran(cache="off")
    assert_learnt_the_same(small, plain)
    assert notes(told)[-1] == "there was no room for the states of all rows; give them more with training.cache_gib"


def test_the_model_is_served_no_longer_than_its_run() -> None:
    made, _ = ran()
    assert not frozen.is_served(made.model)


def test_the_model_is_served_no_longer_where_its_run_is_stopped() -> None:
    made, stop = made_for(LAST), Stop()
    line = course(made, LAST, settings(epochs=3), stop=stop)
    assert next(record for record in line if record["event"] == "progress")
    assert frozen.is_served(made.model)
    stop.asked_by = 2
    with pytest.raises(Interrupted):
        list(line)
    assert not frozen.is_served(made.model)
