"""The section `search` of a recipe: what is searched, for what, how, and at what cost.

A recipe with this section is a recipe as any other; as it stands it is the search's first trial.
"""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, field_validator

from luthier.component import Component, Slot
from luthier.errors import did_you_mean
from luthier.searching import budget as budgets
from luthier.searching.budget import Budget
from luthier.searching.said_space import read
from luthier.searching.samplers import Sampler
from luthier.searching.schedulers import Scheduler
from luthier.trials.domains import SaidDomain
from luthier.trials.space import Space

SaidSpace = Annotated[
    dict[str, Any] | Literal["auto"],
    PlainValidator(read, json_schema_input_type=dict[str, SaidDomain] | Literal["auto"]),
]


COSTS = ("seconds", "parameters", "memory_gib")
"""What a trial may be asked to be sparing of."""


def _cost(name: str) -> str:
    if name not in COSTS:
        raise ValueError(f"a constraint is on {', '.join(COSTS)}{did_you_mean(name, COSTS)}")
    return name


class Search(Component):
    """What is searched, for what, how, and at what cost."""

    space: SaidSpace = "auto"
    """The settings that are searched, by their key paths, as {training.learning_rate: {log: [1e-5, 1e-3]}}; auto: what
    usually matters for the recipe's method. Domains: {choice: [..]}, {log: [least, most]}, {uniform: [..]},
    {int: [..]}."""
    objectives: Annotated[tuple[str, ...], Field(min_length=1)] = ("auto",)
    """What is best: metrics of the task, seconds, parameters, memory_gib; auto: the task's first metric. With several,
    no trial is kept that another one beats in all."""
    constraints: dict[Annotated[str, AfterValidator(_cost)], Annotated[float, Field(gt=0)]] = {}
    """Most of seconds, parameters or memory_gib that the winner may need, as {memory_gib: 8}."""
    sampler: Annotated[Sampler, Slot("samplers")] = Field("auto", validate_default=True)
    """Which settings are tried next."""
    scheduler: Annotated[Scheduler, Slot("schedulers")] = Field("auto", validate_default=True)
    """Which trials go on, and which stay where they are."""
    budget: int | str = "20 runs"
    """What all trials together may spend: 20 runs (full ones), 30min, 2h, 5000 steps, 30 epochs or 1e6 tokens."""
    eta: Annotated[int, Field(ge=2)] = 3
    """One trial in so many goes on from a rung, to so many times its length."""
    rungs: Annotated[int, Field(ge=1, le=8)] = 3
    """Places at which a trial is judged, the end included: with 3, after 1/9, 1/3 and all of a run."""
    replicates: Annotated[int, Field(ge=0)] = 3
    """Seeds over which the winner is compared with the recipe as it stands, when the search is over; 0: none."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of what the sampler draws; trials themselves train with training.seed."""
    storage: str | None = None
    """Database of the trials: an address, as postgresql://host/name; null: search.db in the folder."""
    warm_start: tuple[str, ...] = ()
    """Folders of earlier searches, whose trials the sampler learns from."""

    @field_validator("budget")
    @classmethod
    def _is_a_budget(cls, said: int | str) -> int | str:
        budgets.parse(said)
        return said

    @property
    def horizon(self) -> int:
        """Units of a full run: the first rung is at one."""
        return int(self.eta ** (self.rungs - 1))

    @property
    def spending(self) -> Budget:
        """The budget as an amount."""
        return budgets.parse(self.budget)

    @cached_property
    def said_space(self) -> Space | None:
        """The space that is said; None where it is auto."""
        return None if self.space == "auto" else Space.of(self.space)
