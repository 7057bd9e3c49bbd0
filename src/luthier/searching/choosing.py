"""Which sampler and scheduler `auto` stands for: by how many full runs the budget holds, and by the space.

Measured on MFHartmann (docs/search.md): with many full runs and few parameters, a Gaussian process over full runs ends
nearest to the optimum; with few, many short looks of which the best go on come near it sooner.
"""

from dataclasses import dataclass

from luthier.trials.history import Terms
from luthier.trials.space import Space

MANY_RUNS = 40
"""Full runs from which a model over full runs alone wins: 40 ended at a regret of 0.01, with short looks 0.4."""
FEW_RUNS = 5
"""Full runs below which a model has too few points to learn from."""
MOST_PARAMETERS = 8
"""Of a Gaussian process; in more, TPE, which looks at one parameter at a time, needs fewer trials."""


@dataclass(frozen=True)
class Chosen:
    """A sampler and a scheduler by their kinds, and the reason."""

    sampler: str
    scheduler: str
    because: str


def choose(space: Space, terms: Terms, *, num_objectives: int = 1) -> Chosen:
    """The kinds for this space and budget."""
    num_runs, num_parameters = terms.units / terms.horizon, len(space.parameters)
    num_settings = space.num_settings
    told = f"the budget holds {num_runs:.3g} full runs"
    if num_settings is not None and num_settings <= num_runs:
        return Chosen("grid", "full", f"{told}, enough for each of the {num_settings} settings")
    if num_objectives > 1:
        return Chosen("nsga2", "full", f"{num_objectives} objectives have no single best trial")
    model = "gp" if num_parameters <= MOST_PARAMETERS else "tpe"
    if num_runs >= MANY_RUNS and num_parameters <= MOST_PARAMETERS:
        return Chosen("gp", "full", f"{told}, enough for a model of the {num_parameters} parameters")
    if num_runs >= FEW_RUNS:
        return Chosen(model, "asha", f"{told}: short looks first, of which the best go on")
    return Chosen("random", "asha", f"{told}, too few to learn from: short looks, of which the best go on")
