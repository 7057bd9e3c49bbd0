"""What a plan says of a step is what the allocator gives out, over families, methods and memory techniques."""

from pathlib import Path

import pytest

from benchmarks._rehearsed import Case, cases, measured, predicted, subject

SIZE = {"layers": 1, "width": 128, "words": 1000}
CASES = [case for case in cases() if case != Case(case.family, "full")]  # what is plainest, benchmarks.plan has too


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_predicted_peak_is_within_two_per_cent_of_the_measured_one(case: Case, tmp_path: Path) -> None:
    planned = subject(case, tmp_path, SIZE, length=32, batch_size=8)
    assert predicted(planned)[0].peak == pytest.approx(measured(planned), rel=0.02)


def test_checkpointing_and_accumulation_are_seen_by_the_plan(tmp_path: Path) -> None:
    peaks = []
    for case in (Case("llama", "lora"), Case("llama", "lora", None, 2), Case("llama", "lora", "blocks", 2)):
        peaks.append(predicted(subject(case, tmp_path, SIZE, length=32, batch_size=8))[0].peak)
    assert peaks == sorted(peaks, reverse=True)
    assert len(set(peaks)) == 3


def test_the_parts_are_those_that_can_be_counted_by_hand(tmp_path: Path) -> None:
    planned = subject(Case("bert", "full", None, 2), tmp_path, SIZE, length=32, batch_size=8)
    parts = predicted(planned)[0].parts
    width, words, positions = 128, 1000, 512
    block = 4 * width * (width + 1) + 2 * 4 * width * width + 5 * width + 4 * width
    embeddings = (words + positions + 2) * width + 2 * width
    learnt = embeddings + block + width * (width + 1) + 2 * (width + 1)
    assert parts["gradients"] == 4 * learnt
    assert parts["optimizer"] == pytest.approx(8 * learnt, rel=0.001)  # and a count of steps for each
    assert parts["weights"] == pytest.approx(4 * learnt, rel=0.01)  # and the numbers of positions


def test_the_operations_of_a_step_are_those_of_its_matrix_products(tmp_path: Path) -> None:
    planned = subject(Case("bert", "full"), tmp_path, SIZE, length=32, batch_size=8)
    stage, _ = predicted(planned)
    tokens, width = 8 * 32, 128
    linears = tokens * 2 * (4 * width * width + 8 * width * width)
    attention = 2 * 8 * 32 * 32 * width * 2
    head = 8 * (width * width + 2 * width)
    assert stage.num_flops == pytest.approx(3 * (linears + attention + head), rel=0.01)
    assert stage.num_tokens == tokens
