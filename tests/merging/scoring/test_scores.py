"""Scores of merged bodies under the heads of several runs: the run's own again, whatever stands before the names."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import Folder
from luthier.merging.parents.names import aligned
from luthier.merging.scoring.scores import OWN, Bench, side_by_side, table, tensors_of
from luthier.run import Run
from tests.tiny import tiny, tokenizer


def test_names_are_aligned_with_a_word_more_or_less_before_them() -> None:
    bare, under_a_head = ["a.x", "b"], ["bert.a.x", "bert.b", "head"]
    assert aligned(under_a_head, bare) == {"a.x": "bert.a.x", "b": "bert.b"}
    assert aligned(bare, under_a_head) == {"bert.a.x": "a.x", "bert.b": "b"}
    assert aligned(bare, bare) == {"a.x": "a.x", "b": "b"}
    assert aligned(["other"], bare) == {}


def test_a_name_that_is_found_as_it_is_stays_as_it_is() -> None:
    assert aligned(["model.x", "lm_head"], ["model.x", "lm_head"]) == {"model.x": "model.x", "lm_head": "lm_head"}
    assert aligned(["model.x", "lm_head"], ["x", "lm_head"]) == {"x": "model.x", "lm_head": "lm_head"}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_run_scores_what_it_scored_at_its_end(family: Path, split: str) -> None:
    found = Bench([family / "topics", family / "mails"], split).scores()
    for name in ("topics", "mails"):
        kept = {metric: each["value"] for metric, each in Run.open(family / name).metrics[split].items()}
        assert found[name] == pytest.approx(kept, abs=1e-5)


def test_its_own_weights_put_in_again_change_nothing_and_anothers_do(family: Path) -> None:
    bench = Bench([family / "topics"])
    own = bench.scores()
    assert bench.scores(tensors_of(Folder(family / "topics" / "model", "topics"))) == own
    assert bench.scores(tensors_of(Folder(family / "base", "base")))["topics"]["loss"] > own["topics"]["loss"]


def test_the_runs_weights_come_back_after_each(family: Path) -> None:
    bench = Bench([family / "topics"])
    before = {name: tensor.clone() for name, tensor in bench.subjects["topics"].model.state_dict().items()}
    bench.scores(tensors_of(Folder(family / "mails" / "model", "mails")))
    after = bench.subjects["topics"].model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_head_stays_the_runs_own(family: Path) -> None:
    bench = Bench([family / "topics"])
    tensors = tensors_of(Folder(family / "topics" / "model", "topics"))
    own = bench.scores()
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = torch.full_like(tensors[name], 7.0)
    assert bench.scores(tensors) == own


def test_a_bare_body_goes_into_a_model_with_a_head(family: Path) -> None:
    bench = Bench([family / "topics"])
    tensors = tensors_of(Folder(family / "topics" / "model", "topics"))
    bare = {name.removeprefix("bert."): tensor for name, tensor in tensors.items() if name.startswith("bert.")}
    assert bench.scores(bare) == bench.scores(tensors)
    with bench.subjects["topics"].wearing(bare) as num_replaced:
        assert num_replaced == len(bare)


def test_weights_come_back_where_an_evaluation_breaks(family: Path) -> None:
    subject = Bench([family / "topics"]).subjects["topics"]
    before = {name: tensor.clone() for name, tensor in subject.body.items()}
    zeros = {name: torch.zeros_like(tensor) for name, tensor in before.items()}

    def breaks() -> None:
        with subject.wearing(zeros):
            assert not any(tensor.any() for tensor in subject.body.values())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()
    assert all(torch.equal(before[name], tensor) for name, tensor in subject.body.items())


def test_a_limit_judges_so_many_rows_and_always_the_same(family: Path) -> None:
    bench = Bench([family / "mails"], limit=5)
    [judged] = bench.judged().values()
    assert len(judged.statistics["loss"]) == 5
    assert Bench([family / "mails"], limit=5).scores() == bench.scores()


def test_tensors_of_another_shape_are_refused_by_name(family: Path) -> None:
    tensors = tensors_of(Folder(family / "topics" / "model", "topics"))
    name = next(iter(tensors))
    with pytest.raises(MergeError, match=rf"topics: {name} is \(2, 2\), in the task's model"):
        Bench([family / "topics"]).scores({**tensors, name: torch.zeros(2, 2)})


def test_a_body_of_another_kind_is_refused(family: Path) -> None:
    with pytest.raises(MergeError, match="no tensor of the merge is one of its model's"):
        Bench([family / "topics"]).scores(dict(tiny("gpt2", head="base").state_dict()))


def linked(run: Path, folder: Path, *, without: str) -> Path:
    """The run once more, but for one of its parts."""
    folder.mkdir(parents=True)
    for path in run.iterdir():
        if path.name != without:
            (folder / path.name).symlink_to(path)
    return folder


def test_a_split_that_a_run_has_not_is_named(tmp_path: Path, family: Path) -> None:
    run = linked(family / "topics", tmp_path / "run", without="recipe.yaml")
    text = (family / "topics" / "recipe.yaml").read_text()
    assert "  test: 0.2\n" in text
    (run / "recipe.yaml").write_text(text.replace("  test: 0.2\n", "  test: null\n"))
    bench = Bench([run])
    assert not bench.has("test")
    with pytest.raises(MergeError, match=r"run: has no test rows .* data\.test"):
        bench.scores(split="test")


def test_an_adapter_alone_is_refused(tmp_path: Path, family: Path) -> None:
    with pytest.raises(MergeError, match="keeps an adapter and no plain model"):
        Bench([linked(family / "topics", tmp_path / "run", without="model")])


def test_a_recipe_is_answered_by_the_merged_model_itself(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        model = tiny("llama", head="lm")
        with torch.no_grad():
            model.lm_head.weight *= 1 + number  # what predicts words is no head of the task
        model.save_pretrained(tmp_path / name)
        tokenizer().save_pretrained(tmp_path / name)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"text": "w{n} w{n + 1} w{n + 2}"}}\n' for n in range(40)))
    recipe = tmp_path / "words.yaml"
    recipe.write_text(
        f"model: {tmp_path / 'a'}\ndata:\n  train: {tmp_path / 'rows.jsonl'}\n  test: 0.25\n"
        "task:\n  kind: causal-lm\n  add_end: false\n"
    )
    first, second = (Folder(tmp_path / name, name) for name in ("a", "b"))
    bench = Bench([recipe], "test", model=tmp_path / "a")
    found = side_by_side(bench, {"a": first, "b": second})
    assert found["a"] == found[OWN]
    assert found["b"]["words"]["loss"] != found["a"]["words"]["loss"]
    assert found["b"] == Bench([recipe], "test", model=tmp_path / "b").scores()


def test_a_recipe_of_a_head_that_the_model_lacks_is_refused(tmp_path: Path, family: Path) -> None:
    recipe = tmp_path / "topics.yaml"
    recipe.write_text(
        f"model: {family / 'base'}\ndata:\n  train: {family / 'topics.csv'}\n  test: 0.2\ntask: text-classification\n"
    )
    with pytest.raises(MergeError, match=r"base has no head for text-classification .* name the folder of a run"):
        Bench([recipe], "test", model=family / "base")
    with pytest.raises(MergeError, match="is a recipe; name the folder of a run"):
        Bench([recipe], "test")


def test_the_table_has_parents_and_child_side_by_side(family: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench([family / "topics", family / "mails"])
    models = {name: Folder(family / name / "model", name) for name in ("topics", "mails")}
    found = side_by_side(bench, models)
    Console(width=160).print(table(bench, found))
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["task", "metric", OWN, "topics", "mails"]
    main = bench.mains["topics"].name
    assert first.split()[:2] == ["topics", main]
    assert float(second.split()[4]) == pytest.approx(found["mails"]["mails"][main], abs=5e-4)


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, family: Path) -> None:
    copied = linked(family / "topics", tmp_path / "new" / "topics", without="report.html")
    assert list(Bench([family / "topics", copied]).subjects) == ["topics", "new/topics"]
