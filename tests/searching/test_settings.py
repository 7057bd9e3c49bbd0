"""The section `search` of a recipe: what it takes, what it refuses with its line, and what a run makes of it."""

from textwrap import dedent, indent

import pytest

from luthier.choosing import Choice
from luthier.component import Facts
from luthier.errors import RecipeError
from luthier.recipe import Recipe, check, dump, parse
from luthier.searching.settings import Search
from luthier.trials.space import Space

LEAST = "model: m\ndata: a.csv\ntask: text-classification\nmethod: lora\n"
SPACE = {"training.learning_rate": {"log": [1e-5, 1e-3]}, "method.rank": {"choice": [4, 8]}}


def searched(text: str, *overrides: str) -> Recipe:
    return parse(f"{LEAST}search:\n{indent(dedent(text), '  ')}", overrides)


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as told:
        searched(text, *overrides)
    return str(told.value)


def search_of(recipe: Recipe) -> Search:
    assert recipe.search is not None
    return recipe.search


def test_a_full_run_has_eta_to_the_rungs_units() -> None:
    assert Search().horizon == 9
    assert Search(eta=2, rungs=4).horizon == 8
    assert Search(rungs=1).horizon == 1


def test_without_settings_the_usual_is_searched_for_twenty_runs() -> None:
    search = search_of(parse(f"{LEAST}search: {{}}"))
    assert search == Search()
    assert (search.said_space, str(search.spending)) == (None, "20 runs")
    assert (search.sampler.kind(), search.scheduler.kind()) == ("auto", "auto")


def test_what_is_said_is_read_back() -> None:
    recipe = searched("space:\n  training.learning_rate: {log: [1e-5, 1e-3]}\n  method.rank: {choice: [4, 8]}\n")
    assert search_of(recipe).said_space == Space.of(SPACE)
    assert parse(dump(recipe)) == recipe
    assert check({**recipe.model_dump()}) == recipe


def test_overrides_reach_into_it() -> None:
    space = "search.space.training.learning_rate={log: [1e-5, 1e-3]}"
    recipe = parse(LEAST, ["search.budget=30min", "search.sampler=random", space])
    search = search_of(recipe)
    assert (search.spending.seconds, search.sampler.kind()) == (1800, "random")
    assert search.space == {"training.learning_rate": {"log": [1e-5, 1e-3]}}
    more = recipe.changed({"search.space.method.rank": {"choice": [4, 8]}}, where="test")
    assert search_of(more).said_space == Space.of(SPACE)


def test_a_run_passes_it_over() -> None:
    recipe = parse(LEAST).changed({"search": {"space": SPACE}}, where="test")
    alone = parse(LEAST)
    assert recipe.changed({"search": None}, where="test") == alone
    facts = Facts(num_rows=10, num_parameters=100_000_000)
    assert recipe.resolve(facts) == alone.resolve(facts)


WRONG_SPACES = [
    ("method.rnak: {choice: [4, 8]}", "method.rnak: unknown setting of method; did you mean rank?"),
    ("method.rank: {choice: [0, 8]}", "method.rank: should be greater than 0, not 0"),
    ("method.rank: {uniform: [4, 8]}", "method.rank: should be a valid integer, not 4.0"),
    ("method.dropout: {uniform: [0, 1]}", "method.dropout: should be less than 1, not 1.0"),
    ("ouput: {choice: [a, b]}", "ouput: unknown setting of a recipe; did you mean output?"),
    ("training.learning_rate: {log: [1e-3, 1e-5]}", "training.learning_rate: reads [least, most], but"),
    ("training.learning_rate: {log: [1e-3]}", "training.learning_rate: a range reads [least, most]"),
    ("training.learning_rate: {normal: [0, 1]}", "training.learning_rate: says {choice: [a, b]}, {log:"),
    ("training.learning_rate: 1e-3", "training.learning_rate: says {choice"),
    ("training: {learning_rate: {log: [1e-5, 1e-3]}}", "training: key paths are not nested; write training.learning"),
    ("method.rank: {choice: []}", "method.rank: a choice has an option at least"),
    ("method.rank: {choice: [4, 4]}", "method.rank: two options are alike: 4, 4"),
    ("training.seed: {int: [0, 9]}", "training.seed: is never searched: a seed is a replicate"),
    ("training.epochs: {int: [1, 5]}", "training.epochs: is never searched: the length of a run"),
    ("training.steps: {int: [1, 5]}", "training.steps: is never searched: the length of a run"),
    ("output: {choice: [a, b]}", "output: is never searched: trials lie in the folder of the search"),
    ("search.eta: {int: [2, 4]}", "search.eta: is never searched"),
    ("compare: {choice: [{a: {}}]}", "compare: is never searched"),
    ("model.name: {choice: [a, b]}", "model.name: is never searched: trials share the recipe's base model"),
    ("data.validation: {uniform: [0.1, 0.2]}", "data.validation: is never searched: scores on other rows"),
    ("task: {choice: [causal-lm, seq2seq]}", "task: is never searched: scores of other tasks"),
    ("method: {choice: [lora, adpater]}", "method: no method is called adpater; did you mean adapter?"),
    ("method: {choice: [{kind: lora, rnak: {int: [1, 2]}}]}", "method: method.rnak: unknown setting of method"),
    (
        "method: {choice: [{kind: lora, with: {training.optimizer.weight_decay: -1}}]}",
        "method: training.optimizer.weight_decay: should be greater than or equal to 0",
    ),
    (
        "method: {choice: [{kind: lora, with: {training.seed: {int: [1, 2]}}}]}",
        "method: training.seed is never searched: a seed is a replicate",
    ),
    (
        "method: {choice: [{kind: lora, with: {training.epochs: 1}}, full]}",
        "method: training.epochs is never searched: the length of a run",
    ),
    (
        "method: {choice: [{kind: lora, with: {training: {seed: 1}}}, full]}",
        "method: training.seed is never searched: a seed is a replicate",
    ),
    ("training: {choice: [{epochs: 1}, {epochs: 9}]}", "training: training.epochs is never searched: the length"),
    ("method: {choice: [{kind: lora, with: null}]}", "method: `with` of the option lora says settings by their key"),
    ("method: {choice: [{kind: lora, with: [a]}]}", "method: `with` of the option lora says settings by their key"),
    ("method: {choice: [{kind: lora, with: 3}]}", "method: `with` of the option lora says settings by their key"),
    ("method: {choice: [{kind: lora, with: {1: 2}}]}", "method: `with` of the option lora says settings by their key"),
]


@pytest.mark.parametrize(("said", "told"), WRONG_SPACES, ids=lambda text: text.partition(" {")[0])
def test_a_space_that_makes_no_recipe_is_told_with_its_line(said: str, told: str) -> None:
    found = refusal(f"budget: 2h\nspace:\n  task.max_length: {{choice: [64, 128]}}\n  {said}\n")
    assert found.startswith(f"recipe:9: search.space.{told}")
    assert "\n" not in found


def test_every_mistake_of_the_section_is_told_at_once() -> None:
    found = refusal("eta: 1\nbudget: 3 bananas\nsampler: gpp\nrugns: 3\nconstraints: {memory: 8}\n").splitlines()
    assert sorted(found) == [
        "recipe:10: search.constraints.memory: a constraint is on seconds, parameters, memory_gib; "
        "did you mean memory_gib?",
        "recipe:6: search.eta: should be greater than or equal to 2, not 1",
        "recipe:7: search.budget: 'bananas' in '3 bananas' is no amount; a budget reads 20 runs, 30min, 1h30min, "
        "5000 steps, 30 epochs or 1e6 tokens",
        "recipe:8: search.sampler: no sampler is called gpp; did you mean gp?",
        "recipe:9: search.rugns: unknown setting of search; did you mean rungs?",
    ]


def test_a_setting_below_a_choice_stands_inside_its_options() -> None:
    found = refusal("space: {method: {choice: [lora, full]}, method.rank: {choice: [4, 8]}}")
    assert "method.rank: lies below method, which is searched itself; say it inside an option of method" in found


def test_options_of_a_component_have_settings_of_their_own_and_elsewhere() -> None:
    recipe = searched(
        """
        space:
          method:
            choice:
              - kind: lora
                rank: {choice: [4, 8]}
                with: {training.learning_rate: {log: [2e-5, 2e-3]}, training.optimizer.weight_decay: 0.0}
              - kind: adapter
        """
    )
    space = search_of(recipe).said_space
    assert space is not None
    trials = [recipe.changed({**space.settings(each), "search": None}, where="test") for each in space.grid()]
    assert [(trial.method.kind(), getattr(trial.method, "rank", None)) for trial in trials] == [
        ("lora", 4),
        ("lora", 8),
        ("adapter", None),
    ]
    assert [trial.training.optimizer.weight_decay for trial in trials] == [0.0, 0.0, 0.01]
    assert trials[0].training.learning_rate == pytest.approx(2e-4)
    assert trials[2].training.learning_rate == "auto"


def test_a_password_is_no_part_of_a_recipe() -> None:
    with pytest.raises(RecipeError, match=r"search\.storage: .* PGUSER and PGPASSWORD, or ~/\.pgpass") as told:
        parse(LEAST, ["search.storage=postgresql://me:secret@host/studies"])
    assert "secret" not in str(told.value)
    assert search_of(parse(LEAST, ["search.storage=postgresql://host/studies"])).storage is not None


def test_the_settings_of_a_task_that_is_chosen_by_its_rows_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.choosing.choose_task", lambda *_: Choice("question-answering", "chosen by the test"))
    space = {"task.stride": {"choice": [32, 64]}}
    raw = {"model": "m", "data": "a.csv", "task": "auto", "search": {"space": space}}
    assert search_of(check(raw)).space == space
    with pytest.raises(RecipeError, match=r"search\.space\.task\.strode: unknown setting of task; did you mean stride"):
        check({**raw, "search": {"space": {"task.strode": {"choice": [32, 64]}}}})
