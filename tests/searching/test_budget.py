"""A budget is read as people say it, and counted in units of which a full run has `horizon`."""

import pytest

from luthier.searching.budget import Budget, parse


@pytest.mark.parametrize(
    ("said", "budget"),
    [
        (20, Budget(20, "runs")),
        ("20", Budget(20, "runs")),
        ("1 run", Budget(1, "runs")),
        ("30min", Budget(1800, "seconds")),
        ("2h", Budget(7200, "seconds")),
        ("90 s", Budget(90, "seconds")),
        ("1h30min", Budget(5400, "seconds")),
        ("1 hour 30 minutes", Budget(5400, "seconds")),
        ("0.5 days", Budget(43200, "seconds")),
        ("5000 steps", Budget(5000, "steps")),
        ("5_000 Steps", Budget(5000, "steps")),
        ("30 epochs", Budget(30, "epochs")),
        ("1e6 tokens", Budget(1e6, "tokens")),
    ],
)
def test_a_budget_is_read_as_it_is_said(said: int | str, budget: Budget) -> None:
    assert parse(said) == budget


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "a budget reads 20 runs, 30min"),
        ("soon", "a budget reads"),
        ("-5 runs", "a budget reads"),
        ("0 runs", "above 0 and finite"),
        ("1e999 steps", "above 0 and finite"),
        ("5 bananas", "'bananas' in '5 bananas' is no amount"),
        ("1h 20 runs", "a budget is of one kind"),
        ("3 runs 4 runs", "a budget is of one kind"),
        ("ten min", "a budget reads"),
    ],
)
def test_what_is_no_budget_is_told_with_what_is(said: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(said)


def test_a_run_has_horizon_units() -> None:
    assert parse("20 runs").units(9, {}) == 180
    assert parse("2.5 runs").units(9, {}) == 22  # what it pays for in full


@pytest.mark.parametrize(
    ("said", "unit", "of_a_run", "units"),
    [("5000 steps", "steps", 500, 90), ("0.3 epochs", "epochs", 0.1, 27), ("1min", "seconds", 40, 13)],
)
def test_other_amounts_are_measured_by_that_of_a_full_run(said: str, unit: str, of_a_run: float, units: int) -> None:
    assert parse(said).units(9, {unit: of_a_run}) == units  # type: ignore[dict-item]


def test_only_a_time_has_seconds() -> None:
    assert parse("2min").seconds == 120
    assert parse("2 runs").seconds is None


@pytest.mark.parametrize("said", ["20 runs", "1 run", "1 h 30 min", "90.5 epochs", "1,000,000 tokens", "2 min 5 s"])
def test_a_budget_is_told_as_it_could_be_said(said: str) -> None:
    assert str(parse(said.replace(",", ""))) == said
