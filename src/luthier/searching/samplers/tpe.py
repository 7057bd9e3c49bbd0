"""The tree-structured Parzen estimator: a density of the good trials over one of the others.

Bergstra et al. 2011, https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization; of all parameters
together, as in BOHB. The engine is Optuna's TPESampler (Watanabe 2023, https://arxiv.org/abs/2304.11127), to which
trials that run count as bad ones (constant liar); what lies under a choice has densities of its own.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from luthier.searching.samplers import Sampler
from luthier.searching.samplers._draws import evenly
from luthier.searching.samplers._optuna import ask
from luthier.searching.samplers._seen import seen
from luthier.searching.samplers._untried import first_untried
from luthier.trials.history import History, Values
from luthier.trials.space import Space

NUM_PROPOSALS = 24
"""Of which the first that was not tried is taken."""


class Tpe(Sampler):
    """Settings that are likelier among the good trials than among the others."""

    learns: ClassVar[bool] = True

    rungs: Literal["last", "highest"] = "last"
    """What is learnt from: each trial's last rung, or only the highest rung that enough trials came to (BOHB)."""
    num_even: Annotated[int, Field(ge=1)] = 10
    """Trials that fill the space evenly before the densities are asked."""

    def suggest(self, space: Space, history: History, *, seed: int) -> Values | None:
        found = seen(space, history, self.rungs)
        if len(found.points) < self.num_even:
            return evenly(space, history, seed=seed)
        is_tree = any(parameter.under for parameter in space.parameters)
        proposals = ask(
            space,
            found,
            lambda samplers: samplers.TPESampler(
                seed=seed % 2**32, n_startup_trials=0, multivariate=True, group=is_tree, constant_liar=True
            ),
            num=NUM_PROPOSALS,
        )
        return first_untried(space, history, proposals, seed=seed)
