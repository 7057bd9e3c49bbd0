"""Sentence similarity: losses as in sentence-transformers, places of what is found, and runs from rows to vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional as F

import luthier
from luthier.component import Facts
from luthier.data.columns import choose
from luthier.errors import DataError, LuthierError, RecipeError
from luthier.evaluation.metrics.mrr import Mrr
from luthier.evaluation.metrics.ndcg import Ndcg
from luthier.evaluation.metrics.recall_at import RecallAt
from luthier.evaluation.score import value
from luthier.tasks import Prediction
from luthier.tasks._retrieval import places
from luthier.tasks._similarity import Compared
from luthier.tasks.sentence_similarity import SentenceSimilarity
from tests.contracts.examples.sentence_similarity import READY, ROWS
from tests.runs import tiny_model
from tests.tiny import WORDS

TEXTS = torch.tensor([[number, 100 + number] for number in range(6)])


def task(kind: str, **said: Any) -> SentenceSimilarity:
    return SentenceSimilarity.model_validate({**READY, **said}).resolve(Facts(train=Dataset.from_dict(ROWS[kind])))


def states(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mean(made: SentenceSimilarity, vectors: Tensor, targets: Tensor) -> Tensor:
    loss = made.relate(vectors, targets)
    return loss.total.sum() / loss.count.sum()


@pytest.mark.parametrize("num_texts", [2, 3])
def test_pairs_and_triplets_are_told_from_all_others_of_the_batch(num_texts: int) -> None:
    made = task("pairs" if num_texts == 2 else "triplets", temperature=0.05)
    vectors = states(6, num_texts, 8)
    numbers = torch.arange(6 * num_texts).view(num_texts, 6).T
    unit = F.normalize(vectors, dim=-1)  # MultipleNegativesRankingLoss with its scale of 20
    scores = 20 * unit[:, 0] @ torch.cat([unit[:, n] for n in range(1, num_texts)]).T
    expected = F.cross_entropy(scores, torch.arange(6))
    torch.testing.assert_close(mean(made, vectors, numbers), expected, rtol=1e-12, atol=0)


def test_several_of_a_label_give_the_supervised_contrastive_loss() -> None:
    from setfit.losses import SupConLoss

    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    made = task("labelled", objective="contrast", temperature=0.07)
    vectors = states(7, 1, 8)
    theirs = SupConLoss.__new__(SupConLoss)
    torch.nn.Module.__init__(theirs)
    theirs.model, theirs.temperature, theirs.contrast_mode, theirs.base_temperature = (
        lambda features: {"sentence_embedding": F.normalize(vectors[:, 0], dim=-1)},
        0.07,
        "all",
        0.07,
    )
    expected = theirs([{}], labels)
    torch.testing.assert_close(mean(made, vectors, labels), expected, rtol=1e-6, atol=0)


def test_scored_pairs_are_to_have_their_score() -> None:
    made = task("scored")
    vectors, scores = states(6, 2, 8), torch.rand(6, dtype=torch.float64)
    expected = F.mse_loss(F.cosine_similarity(vectors[:, 0], vectors[:, 1]), scores)
    torch.testing.assert_close(mean(made, vectors, scores), expected, rtol=1e-12, atol=0)


def test_squares_weigh_what_is_alike_and_what_is_not_by_halves() -> None:
    angles = torch.tensor([0.0, 0.6, 1.5, 2.0], dtype=torch.float64)
    vectors = torch.stack([angles.cos(), angles.sin()], -1)[:, None]
    loss = task("labelled").relate(vectors, torch.tensor([0, 0, 0, 1]))
    alike = ((1 - np.cos(0.6)) ** 2 + (1 - np.cos(1.5)) ** 2) / 2
    assert loss.total[0].item() == pytest.approx((alike + np.cos(2.0) ** 2) / 2)
    apart = (np.cos(2.0) ** 2 + np.cos(1.4) ** 2 + np.cos(0.5) ** 2) / 3
    assert loss.total[3].item() == pytest.approx(apart / 2)


def test_a_share_of_hard_pairs_counts_alone() -> None:
    angles = torch.tensor([0.0, 0.6, 1.5, 2.0, 2.5], dtype=torch.float64)
    vectors = torch.stack([angles.cos(), angles.sin()], -1)[:, None]
    loss = task("labelled", hard=0.5).relate(vectors, torch.tensor([0, 0, 0, 1, 1]))
    assert loss.total[0].item() == pytest.approx(((1 - np.cos(1.5)) ** 2 + np.cos(2.5) ** 2) / 2)


def test_equal_texts_are_no_wrong_ones() -> None:
    made, vectors = task("pairs"), states(6, 2, 8)
    numbers = TEXTS.clone()
    vectors[3, 1], numbers[3, 1] = vectors[0, 1], numbers[0, 1]  # both anchors have the same answer
    vectors[5, 1], numbers[5, 1] = vectors[1, 0], numbers[1, 0]  # an answer that is another row's anchor
    loss = made.relate(vectors, numbers)
    unit = F.normalize(vectors, dim=-1)
    scores = unit[:, 0] @ unit[:, 1].T / 0.05
    both = torch.logsumexp(scores[0], 0) - scores[0, [0, 3]].mean()
    others = torch.logsumexp(scores[1, :5], 0) - scores[1, 1]
    torch.testing.assert_close(loss.total[[0, 1]], torch.stack([both, others]), rtol=1e-12, atol=0)


def test_shorter_vectors_learn_too() -> None:
    vectors = states(6, 2, 8)
    parts = [mean(task("pairs"), vectors[..., :width], TEXTS) for width in (2, 4, 8)]
    found = mean(task("pairs", dimensions=(2, 4, 8)), vectors, TEXTS)
    torch.testing.assert_close(found, torch.stack(parts).mean(), rtol=1e-12, atol=0)


def test_places_are_counted_from_the_most_similar() -> None:
    similarity = torch.tensor([[0.9, 0.8, 0.7, 1.0], [0.1, 0.5, 0.5, 0.2]])
    relevant = torch.tensor([[False, True, True, False], [False, True, False, False]])
    left_out = torch.tensor([[False, False, False, True], [False, False, False, False]])
    assert places(Compared(similarity, relevant, left_out)) == [[2, 3], [2]]


def test_metrics_of_places_are_those_of_the_textbook() -> None:
    found = [Prediction({"relevant": 1, "places": [2]}), Prediction({"relevant": 3, "places": [1, 4]})]
    assert value(Mrr(), found, [0, 0]) == pytest.approx((1 / 2 + 1) / 2)
    assert value(RecallAt(k=1), found, [0, 0]) == pytest.approx((0 + 1) / 2)
    assert value(RecallAt(k=5), found, [0, 0]) == pytest.approx((1 + 2 / 3) / 2)
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    expected = (1 / np.log2(3) + (1 + 1 / np.log2(5)) / ideal) / 2
    assert value(Ndcg(), found, [0, 0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "said", "told"),
    [
        ("scored", {"objective": "contrast"}, "task.objective"),
        ("scored", {"hard": 0.5}, "task.hard"),
        ("labelled", {"similarity": "dot"}, "task.similarity"),
        ("labelled", {"temperature": 0.1}, "task.temperature"),
        ("pairs", {"rows": "labelled"}, "data.train"),
        ("pairs", {"score_range": (0.0, 5.0)}, "task.score_range"),
        ("scored", {"score_range": (1.0, 1.0)}, "task.score_range"),
    ],
)
def test_settings_that_do_not_fit_the_rows_are_refused(kind: str, said: dict[str, Any], told: str) -> None:
    with pytest.raises((RecipeError, DataError), match=told):
        task(kind, **said)


def test_rows_that_may_be_read_in_several_ways_are_read_as_the_task_says() -> None:
    columns = ["premise", "hypothesis", "label"]
    for kind, names in (("auto", {"text", "text_pair", "score"}), ("pairs", {"anchor", "positive"})):
        layout, _ = choose(columns, SentenceSimilarity(rows=kind).layouts(), {}, where="rows")  # type: ignore[arg-type]
        assert {column.name for column in layout.columns} == names
    labelled = [layout.without_targets() for layout in SentenceSimilarity(rows="labelled").layouts()]
    assert choose(["text", "context"], labelled, {}, where="rows")[1] == {"text": "text"}


@pytest.mark.parametrize("num_rows", [1, 3])
def test_a_batch_in_which_nothing_belongs_together_teaches_nothing(num_rows: int) -> None:
    vectors = states(num_rows, 1, 8).requires_grad_()
    loss = task("labelled", objective="contrast").relate(vectors, torch.arange(num_rows))
    loss.total.sum().backward()
    assert vectors.grad is not None
    assert loss.total.sum() == loss.count.sum() == vectors.grad.abs().sum() == 0


def rows_of_pairs(path: Path, num_rows: int = 60) -> Path:
    lines = ["query,answer"]
    for number in range(num_rows):
        word, other = WORDS[number % 20], WORDS[20 + number % 20]
        lines.append(f"{word} {word} q{number},{other} {word} a{number}")
    path.write_text("\n".join(lines) + "\n")
    return path


def run_on(rows: Path, folder: Path, **said: Any) -> Any:
    training = {"epochs": 6, "batch_size": 16, "learning_rate": 5e-3, "precision": "fp32", **said.pop("training", {})}
    return luthier.tune(
        model=str(tiny_model(folder / "base", initializer_range=0.3)),
        data={"train": str(rows), "test": 0.2},
        task={"kind": "sentence-similarity", **said.pop("task", {})},
        training=training,
        output=folder / "run",
        **said,
    )


def test_a_run_over_pairs_finds_more_than_before_and_its_folder_is_sentence_transformers(tmp_path: Path) -> None:
    run = run_on(rows_of_pairs(tmp_path / "rows.csv"), tmp_path, training={"score_before": True})
    assert run.metrics["test"]["mrr"]["value"] > run.metrics["before"]["mrr"]["value"]
    texts = ["w1 w2 w3", "w4", "w5 w5 w6 w7"]
    ours = [answer["embedding"] for answer in run.predict(texts)]
    theirs = SentenceTransformer(str(run.model_folder), device="cpu").encode(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    (pair,) = run.predict([("w1 w2 w3", "w4")])
    cosine = np.dot(*(vector / np.linalg.norm(vector) for vector in theirs[:2]))
    assert pair["similarity"] == pytest.approx(cosine, abs=1e-5)
    assert "SentenceTransformer" in (run.folder / "README.md").read_text()


def test_lora_learns_similarities_too(tmp_path: Path) -> None:
    run = run_on(rows_of_pairs(tmp_path / "rows.csv"), tmp_path, method="lora")
    assert run.metrics["test"]["mrr"]["value"] > 0.2
    SentenceTransformer(str(run.model_folder), device="cpu")


def test_a_score_that_is_no_number_is_named_with_its_line(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("sentence1,sentence2,score\nw1,w2,0.5\nw3,w4,high\nw5,w6,nan\n")
    with pytest.raises(LuthierError, match=r"(?s)rows\.csv:3: score is 'high'.*rows\.csv:4: score is 'nan'"):
        run_on(rows, tmp_path)
