"""What every schedule does: climb to the peak, stay within it, and what transformers' schedules do after that."""

import itertools

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from luthier.training.schedules import Schedule
from luthier.training.schedules.cosine import Cosine
from luthier.training.schedules.linear import Linear
from tests.contracts.kinds import all_of, kind_of

every_schedule = pytest.mark.parametrize("schedule", all_of("schedules"), ids=kind_of)


def factors(schedule: Schedule, num_steps: int) -> list[float]:
    return [schedule.factor(step, num_steps) for step in range(num_steps)]


@every_schedule
@pytest.mark.parametrize("num_steps", [1, 2, 3, 17, 1000])
def test_every_factor_lies_between_nothing_and_the_peak(schedule: Schedule, num_steps: int) -> None:
    assert all(0 < factor <= 1 for factor in factors(schedule, num_steps))


@every_schedule
def test_the_first_step_learns_and_warm_up_climbs_in_equal_steps_to_the_peak(schedule: Schedule) -> None:
    found = factors(schedule.model_copy(update={"warmup": 0.1}), 100)
    assert found[:11] == pytest.approx([(step + 1) / 11 for step in range(11)])
    assert found[10] == max(found) == 1.0


@every_schedule
def test_without_warm_up_the_first_step_is_at_the_peak(schedule: Schedule) -> None:
    assert schedule.model_copy(update={"warmup": 0.0}).factor(0, 100) == 1.0


@every_schedule
def test_the_peak_is_never_left_for_a_climb(schedule: Schedule) -> None:
    found = factors(schedule.model_copy(update={"warmup": 0.0}), 100)
    assert all(later <= sooner for sooner, later in itertools.pairwise(found))


@pytest.mark.parametrize(("schedule", "last"), [(Linear(), 0.011), (Cosine(), 0.001), (Cosine(floor=0.2), 0.201)])
def test_the_last_step_is_near_the_end_of_the_shape(schedule: Schedule, last: float) -> None:
    assert 0 < schedule.factor(99, 100) <= last
    assert schedule.factor(99, 100) > last - 0.011


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [(Linear, get_linear_schedule_with_warmup), (Cosine, get_cosine_schedule_with_warmup)],
)
def test_after_the_warm_up_it_is_transformers_own(schedule: type[Schedule], reference) -> None:
    """In the warm-up it is not: transformers' first step has the rate 0 and moves nothing, ours 1 / (warmup + 1)."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = reference(optimizer, num_warmup_steps=10, num_training_steps=100)
    expected = []
    for _ in range(100):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    found = factors(schedule(warmup=0.1), 100)
    assert found[10:] == pytest.approx(expected[10:], abs=1e-12)
    assert [factor - theirs for factor, theirs in zip(found[:10], expected[:10], strict=True)] == pytest.approx(
        [(step + 1) / 11 - step / 10 for step in range(10)]
    )
