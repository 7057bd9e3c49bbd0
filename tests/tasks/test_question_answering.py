"""Question answering against transformers' own loss, its spans against all of them, its windows, and bad rows."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForQuestionAnswering

import luthier
from luthier.component import Facts
from luthier.data.columns import BadRow
from luthier.errors import DataError, LuthierError, RecipeError
from luthier.evaluation.predict import predict
from luthier.tasks import Batch
from luthier.tasks._spans import best_spans, kept
from luthier.tasks.question_answering import Answer, QuestionAnswering, Windows
from tests.contracts.examples.question_answering import build, rows
from tests.tiny import WORDS, tiny, tokenizer

ENCODERS = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "opt")
TASK = QuestionAnswering(max_length=32, stride=8, no_answer=True)


def read(**row: Any) -> dict[str, Any]:
    return dict(TASK.layouts()[0].read({"question": "who?", "context": "It was Ada, said Ada.", **row}, None))


def batch(task: QuestionAnswering, data: Dataset, side: str = "right") -> Batch:
    processor = tokenizer(side)
    return task.collate(task.prepare(data, processor)[:], processor)


def full_windows(num_rows: int) -> Batch:
    """Windows without padding, which transformers' loss would count."""
    task = QuestionAnswering(max_length=32, stride=8, no_answer=True)
    processor = tokenizer()
    prepared = task.prepare(rows(num_rows, without=2), processor)
    whole = np.flatnonzero(prepared["length"][:] == 32)
    return task.collate(prepared[whole.tolist()], processor)


@pytest.mark.parametrize("family", ENCODERS + DECODERS)
def test_the_loss_is_transformers_own_and_so_is_its_gradient(family: str) -> None:
    made = full_windows(12)
    assert made.num_padding == 0
    assert made.targets is not None
    assert made.num_rows > 4
    model = build(family)
    expected = model(**made.inputs, start_positions=made.targets[:, 0], end_positions=made.targets[:, 1]).loss
    loss = TASK.loss(model, made)
    torch.testing.assert_close(loss.total.sum() / loss.count.sum(), expected, rtol=1e-5, atol=1e-5)
    model = model.double()
    parameters = [p for p in model.parameters() if p.requires_grad]
    theirs = model(**made.inputs, start_positions=made.targets[:, 0], end_positions=made.targets[:, 1]).loss
    loss = TASK.loss(model, made)
    ours = loss.total.sum() / loss.count.sum()
    wanted = torch.autograd.grad(theirs, parameters, allow_unused=True)
    for found, other in zip(torch.autograd.grad(ours, parameters, allow_unused=True), wanted, strict=True):
        assert (found is None) == (other is None)
        if found is not None:
            torch.testing.assert_close(found, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_the_best_span_is_the_best_of_all(longest: int) -> None:
    torch.manual_seed(0)
    start, end = torch.randn(2, 5, 12).double()
    allowed = torch.rand(5, 12) < 0.7
    first, last, best, total = best_spans(start, end, allowed, longest)
    for row in range(5):
        spans = {
            (i, j): float(start[row, i] + end[row, j])
            for i in range(12)
            for j in range(i, min(12, i + longest))
            if allowed[row, i] and allowed[row, j]
        }
        assert (int(first[row]), int(last[row])) == max(spans, key=lambda span: spans[span])
        assert float(best[row]) == pytest.approx(max(spans.values()))
        assert float(total[row]) == pytest.approx(np.log(np.sum(np.exp(list(spans.values())))))


def test_each_window_that_holds_the_answer_has_its_tokens_as_target() -> None:
    data = rows(40, without=4)
    processor = tokenizer()
    prepared = TASK.prepare(data, processor)
    whose = prepared["row"][:].tolist()
    assert max(np.bincount(whose)) > 2
    num_held = 0
    for window, row in zip(prepared, whose, strict=True):
        first, last = window["target"]
        answers = json.loads(data[row]["answers"])
        if (first, last) != (0, 0):
            num_held += 1
            assert processor.decode(window["input_ids"][first : last + 1]) == answers[0]["text"]
            assert window["starts"][first] == answers[0]["answer_start"]
        else:
            assert not answers or answers[0]["text"] not in str(window["text"])
    assert num_held >= 36


def test_windows_overlap_by_the_stride_and_cover_the_text() -> None:
    words = [WORDS[number % 60] for number in range(80)]
    data = Dataset.from_dict({"question": ["w1 w2"], "context": [" ".join(words)]})
    prepared = TASK.prepare(data, tokenizer())
    parts = [[int(start) for start in starts if start >= 0] for starts in prepared["starts"][:]]
    assert sorted({start for part in parts for start in part}) == [len(" ".join([*words[:n], ""])) for n in range(80)]
    assert all(len(set(one) & set(other)) == 8 for one, other in pairwise(parts))
    assert all(length <= 32 for length in prepared["length"][:])


def test_an_answer_in_no_window_is_counted_as_cut() -> None:
    context = " ".join(WORDS)
    row = {"question": "w1", "context": context, "answers": " ".join(WORDS[:40])}
    data = Dataset.from_list([dict(TASK.layouts()[0].read(row, None))])
    prepared = TASK.prepare(data, tokenizer())
    assert prepared["cut"][:].tolist() == [True] + [False] * (len(prepared) - 1)
    assert not TASK.prepare(rows(12, without=4), tokenizer())["cut"][:].any()


def scored(texts: list[str], start: list[float], end: list[float]) -> Answer:
    """The answer for a window of these words under these scores, the first of the CLS."""
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    windows = Windows(
        {"attention_mask": torch.ones(1, len(start), dtype=torch.long)},
        None,
        len(start),
        0,
        starts=torch.tensor([[-1, *(end - len(text) for end, text in zip(ends, texts, strict=True))]]),
        ends=torch.tensor([[-1, *ends]]),
        nowhere=torch.tensor([0]),
        texts=[" ".join(texts)],
    )

    def model(**inputs: Any) -> Any:
        return type("Answer", (), {"start_logits": torch.tensor([start]), "end_logits": torch.tensor([end])})

    found = TASK.predict(model, windows)[0]  # type: ignore[arg-type]
    assert isinstance(found, Answer)
    return found


def test_no_answer_wins_where_its_score_is_higher() -> None:
    texts = ["one", "two", "three"]
    found = scored(texts, [0.0, 1, 3, 0], [0.0, 0, 0, 2])
    assert TASK.describe(found, {}) == {"answer": "two three", "start": 4, "end": 13, "score": found.scores[0]}
    nothing = scored(texts, [3.0, 1, 3, 0], [3.0, 0, 0, 2])
    assert TASK.describe(nothing, {}) == {"answer": "", "start": None, "end": None, "score": nothing.scores[0]}
    spans = [1, 1, 3, 3, 5, 2]  # one, one two, one two three ... and none: 6
    assert nothing.scores[0] == pytest.approx(np.exp(6) / (np.exp([1, 1, 3, 3, 5, 2]).sum() + np.exp(6)))
    assert found.scores[0] == pytest.approx(np.exp(5) / (np.exp(spans).sum() + 1))


def test_windows_are_joined_by_the_best_span_and_the_least_doubt() -> None:
    high = scored(["one", "two"], [4.0, 1, 3], [4.0, 0, 3])  # none: 8, best: 6
    low = scored(["three", "four"], [1.0, 4, 0], [1.0, 3, 0])  # none: 2, best: 7
    joined = TASK.join([high, low])
    assert (high.value, low.value, joined.value) == ("", "three", "three")
    assert joined.scores[0] == pytest.approx(np.exp(7) / (np.exp(2) + np.exp(high.total) + np.exp(low.total)))


def test_predictions_of_long_texts_are_spans_of_them() -> None:
    data, processor = rows(12), tokenizer()
    task = QuestionAnswering(max_length=32, stride=8, no_answer=False)
    found = predict(build("bert"), task, task.prepare(data, processor), processor, batch_size=4)
    assert len(found) == 12
    for answer, row in zip(found, data, strict=True):
        told = task.describe(answer, row)
        assert row["context"][told["start"] : told["end"]] == told["answer"] != ""
        assert 0 < told["score"] <= 1


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Ada", [("Ada", 7)]),
        (" Ada ", [("Ada", 7)]),
        (["Ada", "said Ada"], [("Ada", 7), ("said Ada", 12)]),
        ({"text": ["Ada"], "answer_start": [17]}, [("Ada", 17)]),
        ({"text": [" Ada"], "answer_start": [16]}, [("Ada", 17)]),
        ({"text": "Ada", "answer_start": 17}, [("Ada", 17)]),
        ([{"text": "Ada", "answer_start": 17}, {"text": "It", "answer_start": 0}], [("Ada", 17), ("It", 0)]),
        ([], []),
        ({"text": [], "answer_start": []}, []),
    ],
)
def test_answers_are_read_in_every_form(value: Any, found: Any) -> None:
    row = read(answers=value)
    assert row["answers"] == kept(found)
    assert read(**row) == row


def test_a_column_of_its_own_tells_where_an_answer_starts() -> None:
    assert read(answers="Ada", answer_start="17")["answers"] == kept([("Ada", 17)])
    assert read(answers="Ada", answer_start=None)["answers"] == kept([("Ada", 7)])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("Grace", "'Grace' occurs nowhere in the context"),
        ({"text": ["Ada"], "answer_start": [6]}, "'Ada' does not stand at 6 of the context, but ' Ad'"),
        ({"text": ["Ada"], "answer_start": [500]}, "ends beyond the context's 21 characters"),
        ({"text": ["Ada"], "answer_start": [-1]}, "answer_start is -1"),
        ({"text": ["Ada"], "answer_start": []}, "lists of one length"),
        ({"answer": "Ada"}, "lists of one length"),
        ([{"text": "  ", "answer_start": 0}], "is no text"),
        (7, "answers is 7"),
        ([7], "7 is no text"),
    ],
)
def test_an_answer_outside_its_text_is_refused(value: Any, told: str) -> None:
    with pytest.raises(BadRow, match=re.escape(told)):
        read(answers=value)


def test_long_questions_are_refused_all_at_once() -> None:
    long = " ".join(["w1"] * 17)
    data = Dataset.from_dict({"question": [long, "w1", long], "context": ["w2 w3"] * 3})
    with pytest.raises(DataError, match=r"2 of 3 questions have more than 16 tokens, half of task.max_length"):
        TASK.prepare(data, tokenizer())


def test_training_rows_tell_whether_there_may_be_no_answer() -> None:
    assert QuestionAnswering().resolve(Facts(train=rows(5, without=1))).no_answer is True
    answered = QuestionAnswering().resolve(Facts(train=rows(5), num_positions=128))
    assert (answered.no_answer, answered.max_length, answered.stride) == (False, 128, 42)
    with pytest.raises(DataError, match=r"data.test: 2 of 5 questions have no answer"):
        answered.require_targets(rows(5, without=2), "test")
    with pytest.raises(DataError, match=r"none of its 5 questions has an answer"):
        answered.require_targets(rows(5, without=5), "train")
    with pytest.raises(RecipeError, match=r"task.stride: 60, but a third of task.max_length, 42"):
        QuestionAnswering(stride=60).resolve(Facts(num_positions=128))


def test_the_answer_is_shown_as_what_the_loss_looks_at() -> None:
    data = Dataset.from_list([read(context="w1 w2 w3", question="w9", answers="w2 w3")])
    prepared = TASK.prepare(data, tokenizer())[0]
    assert TASK.show(prepared, tokenizer()) == [("[CLS] w9 [SEP] w1", False), ("w2 w3", True), ("[SEP]", False)]


def write_rows(path: Path, num_rows: int) -> Path:
    """Texts in which w0 is the answer."""
    random = np.random.default_rng(0)
    with path.open("w") as file:
        for number in range(num_rows):
            words = random.choice(WORDS[5:], size=random.integers(6, 40)).tolist()
            words[int(random.integers(len(words)))] = "w0"
            start = " ".join([*words, ""]).index("w0 ")
            answers = {"text": ["w0"], "answer_start": [start]}
            row = {"question": f"w1 w{2 + number % 3}", "context": " ".join(words), "answers": answers}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_run_learns_answers_and_its_model_loads_in_transformers(tmp_path: Path, family: str) -> None:
    base = tmp_path / "base"
    tiny(family, head="base").save_pretrained(base)
    tokenizer().save_pretrained(base)
    records: list[Any] = []
    run = luthier.tune(
        model=str(base),
        data={"train": str(write_rows(tmp_path / "rows.jsonl", 150)), "test": 0.1},
        task={"kind": "question-answering", "max_length": 32, "stride": 8},
        training={"epochs": 6, "batch_size": 16, "learning_rate": 5e-3, "precision": "fp32", "seed": 1},
        output=tmp_path / "run",
        on_record=records.append,
    )
    losses = [record["loss"] for record in records if record["event"] == "step"]
    assert losses[-1] < losses[0] / 2
    assert any(record["event"] == "self-check" and record["passed"] for record in records)
    told = run.predict([("w1 w3", "w7 w0 w9 w8")])[0]
    assert (told["answer"], told["start"], told["end"]) == ("w0", 3, 5)
    model = AutoModelForQuestionAnswering.from_pretrained(run.model_folder)
    inputs = tokenizer()("w1 w3", "w7 w0 w9 w8", return_tensors="pt")
    answer = model(**inputs)
    assert int(answer.start_logits[0].argmax()) == int(answer.end_logits[0].argmax()) == 5  # [CLS] w1 w3 [SEP] w7 w0


def test_bad_rows_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = {"question": "w1", "context": "w2 w3", "answers": "w3"}
    bad = [good, good | {"answers": "w4"}, good | {"answers": {"text": ["w3"], "answer_start": [1]}}]
    path.write_text("".join(json.dumps(row) + "\n" for row in bad))
    with pytest.raises(LuthierError) as refused:
        luthier.tune(model="none", data=str(path), task="question-answering", output=tmp_path / "run")
    assert "rows.jsonl:2: answers: 'w4' occurs nowhere" in str(refused.value)
    assert "rows.jsonl:3: answers: 'w3' does not stand at 1" in str(refused.value)
