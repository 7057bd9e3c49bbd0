"""Finds the settings of a merge on validation rows: points of a cube, each merged in memory and judged at once.

Equal weights come first, and whatever is found is compared with the best of them. No candidate is ever written: its
tensors go into the models of the runs that it is judged by, and their own come back after.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luthier import files, recipe_yaml
from luthier.merging.scoring.scores import Bench, TaskScores
from luthier.merging.searching.groups import Grouping, grouped
from luthier.merging.searching.log import Candidate, Log
from luthier.merging.searching.models import Models
from luthier.merging.searching.objective import Over, objective
from luthier.merging.searching.samplers import ChanceThenCma, Sampler
from luthier.merging.searching.space import RANGES, Point, Space
from luthier.merging.searching.verdict import Verdict, told, verdict

Record = dict[str, Any]
TRIED, FOUND, RECIPE = "candidates.jsonl", "search.json", "merge.yaml"
"""Files of a search's folder; the recipe is what luthier merge takes."""
FEWEST_RANDOM, MOST_RANDOM = 4, 32
"""Candidates that are drawn by chance before CMA-ES learns: two for each dimension more than the fewest."""


@dataclass(frozen=True)
class Asked:
    """What is searched for, and for how long."""

    kind: str = "task-arithmetic"
    """The method whose settings are searched."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Its settings that are not."""
    groups: Grouping = "whole"
    """Tensors that get settings of their own."""
    over: Over = "mean"
    """Of several tasks: their mean, or the worst."""
    num_candidates: int = 60
    seconds: float = math.inf
    """No candidate begins after so long."""
    seed: int = 0
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(RANGES))


@dataclass(frozen=True)
class Found:
    """What came of a search."""

    best: Candidate
    uniform: Candidate
    """The best of equal weights."""
    num_tried: int
    recipe: Mapping[str, Any]
    """In the house's own form."""
    own: TaskScores
    """What each run itself scores on the rows that chose."""
    verdict: Verdict | None
    """On the test rows; None where there are none."""
    conclusions: tuple[str, ...]


def search(
    models: Models,
    bench: Bench,
    asked: Asked,
    *,
    folder: Path,
    resume: bool = False,
    sampler: Sampler | None = None,
) -> Iterator[Record]:
    """Try candidates and judge them; -> what happens, as records, the last of which holds what was found.

    Raises MergeError where nothing can be searched, or the folder holds another search; MissingExtra without cma.
    """
    names = list(next(iter(models.states.values())))
    groups = grouped(names, models.config, asked.groups)
    space = Space.of(asked.kind, list(models.states), groups, fixed=asked.fixed, ranges=asked.ranges)
    chooses = sampler or _usual(space, asked)
    log = Log(folder / TRIED, _about(models, bench, asked), resume=resume)
    under_way = _Search(models, bench, asked, space, log, own=bench.scores())
    yield {"event": "plan", "dimensions": len(space.dimensions), "of": asked.num_candidates, "own": under_way.own}
    tried = list[Candidate]()
    for candidate, is_new in under_way.candidates(chooses):
        is_best = all(candidate.objective > each.objective for each in tried)
        tried.append(candidate)
        said = {"of": asked.num_candidates, "is_best": is_best, "is_new": is_new}
        yield {"event": "candidate", **said, **asdict(candidate)}
    found = under_way.found(tried)
    files.write_json(folder / FOUND, files.plain(asdict(found)))
    files.write_text(folder / RECIPE, recipe_yaml.dump(dict(found.recipe)))
    yield {"event": "search", "found": found}


@dataclass(frozen=True)
class _Search:
    """One that is under way."""

    models: Models
    bench: Bench
    asked: Asked
    space: Space
    log: Log
    own: TaskScores

    def candidates(self, sampler: Sampler) -> Iterator[tuple[Candidate, bool]]:
        """Equal weights, then what the sampler says, and whether each was judged now or is in the log."""
        begun, uniform = time.monotonic(), self.space.uniform
        for number in range(max(self.asked.num_candidates, len(uniform))):
            if number >= len(uniform) and time.monotonic() - begun > self.asked.seconds:
                return
            point = uniform[number] if number < len(uniform) else sampler.ask()
            kept = self.log.kept.get(point)
            candidate = kept or self._judged(point, number)
            if kept is None:
                self.log.add(candidate)
            sampler.tell(point, candidate.objective)
            yield candidate, kept is None

    def found(self, tried: Sequence[Candidate]) -> Found:
        """The best of all and of equal weights, of equals the first, judged once more on the test rows."""
        best = max(tried, key=lambda each: each.objective)
        uniform = max(tried[: len(self.space.uniform)], key=lambda each: each.objective)
        found = None
        if self.bench.has("test") and best is not uniform:
            bodies = (self.models.merged(self.space, each.point) for each in (uniform, best))
            judged = [self.bench.judged(tensors, split="test") for tensors in (None, *bodies)]
            found = verdict(self.bench.mains, *judged)
        gained = best.objective - uniform.objective
        words = told(found, is_uniform=best is uniform, gained=gained)
        recipe = self.space.recipe(best.point, paths=self.models.paths, base=self.models.base_path)
        return Found(best, uniform, len(tried), recipe, self.own, found, tuple(words))

    def _judged(self, point: Point, number: int) -> Candidate:
        begun = time.monotonic()
        scores = self.bench.scores(self.models.merged(self.space, point))
        value = objective(self.bench.mains, scores, self.own, over=self.asked.over)
        return Candidate(number, point, self.space.settings(point), scores, value, round(time.monotonic() - begun, 3))


def _usual(space: Space, asked: Asked) -> Sampler:
    num = len(space.dimensions)
    return ChanceThenCma(num, num_random=min(MOST_RANDOM, FEWEST_RANDOM + 2 * num), seed=asked.seed)


def _about(models: Models, bench: Bench, asked: Asked) -> dict[str, Any]:
    """What must be the same where a search goes on; how long it may take need not."""
    said = {key: value for key, value in asdict(asked).items() if key not in ("seconds", "num_candidates")}
    tasks = {name: len(subject.rows(bench.split)) for name, subject in bench.subjects.items()}
    return {**said, "models": list(models.states), "base": models.base_path, "split": bench.split, "rows": tasks}
