"""Which of a file's columns serves, and what is said where none does."""

import pytest

from luthier.data.columns import Column, Layout, choose
from luthier.errors import DataError

WANTED = (
    Column("text", ("sentence", "body")),
    Column("text_pair", ("hypothesis",), required=False),
    Column("label", ("class", "y"), holds="label", target=True),
)


def chosen(*found: str, **given: str) -> dict[str, str]:
    return choose(found, [Layout(WANTED)], given, where="data.train")[1]


def refusal(*found: str, **given: str) -> str:
    with pytest.raises(DataError) as caught:
        chosen(*found, **given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (("text", "label"), {"text": "text", "label": "label"}),
        (("Label", "TEXT"), {"text": "TEXT", "label": "Label"}),
        (("id", "body", "y"), {"text": "body", "label": "y"}),
        (("body", "sentence", "class"), {"text": "sentence", "label": "class"}),
        (("body", "text", "label"), {"text": "text", "label": "label"}),
        (("Text", "text", "label"), {"text": "text", "label": "label"}),
        (("sentence", "hypothesis", "y"), {"text": "sentence", "text_pair": "hypothesis", "label": "y"}),
    ],
)
def test_a_columns_own_name_goes_before_its_usual_ones(found: tuple[str, ...], expected: dict[str, str]) -> None:
    assert chosen(*found) == expected


def test_the_recipe_goes_before_every_name() -> None:
    assert chosen("text", "body", "label", text="body") == {"text": "body", "label": "label"}


def test_a_column_serves_once() -> None:
    assert chosen("text", "hypothesis", "label", text="hypothesis") == {"text": "hypothesis", "label": "label"}


def test_what_is_missing_is_said_with_what_is_there_and_what_to_do() -> None:
    message = "data.train: no column for label; it has text, kind. Say which one it is: data.columns.label=NAME"
    assert refusal("text", "kind") == message


def test_a_column_of_the_recipe_that_is_not_there_is_said_with_the_near_one() -> None:
    message = "data.columns.text: data.train has no column boddy; did you mean body?"
    assert refusal("body", "label", text="boddy") == message
    assert refusal("body", "label", text="x") == "data.columns.text: data.train has no column x; it has body, label"


def test_a_column_that_the_task_does_not_read_is_said_with_those_it_reads() -> None:
    assert refusal("text", "label", txt="text") == "data.columns: this task reads no column txt; did you mean text?"
    message = "data.columns: this task reads no column id; it reads text, text_pair, label"
    assert refusal("text", "label", id="text") == message


def test_many_columns_are_not_all_listed() -> None:
    assert "c11, ..." in refusal(*(f"c{number}" for number in range(30)))


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("text", "w", None),
        ("text", "", "text is empty"),
        ("text", None, "text is empty"),
        ("text", " \t", "text is blank"),
        ("text", 5, "text is 5, which is no text"),
        ("label", 0, None),
        ("label", 0.0, None),
        ("label", "", "label is empty"),
        ("label", None, "label is empty"),
        ("label", ["a"], None),
        ("label", [], None),
        ("text", "w" * 1_000_000, None),
        ("text", "w" * 1_000_001, "text has 1,000,001 characters; a field has 1,000,000 at most"),
        ("text", "ab\0c", "text has a NUL character at 2; the file is damaged, or of another encoding"),
        ("text", "a\ud800", "text has half a character (\\ud800) at 1"),
        ("label", " ", "label is blank"),
        ("label", "a\0", "label has a NUL character at 1; the file is damaged, or of another encoding"),
        ("label", float("nan"), "label is nan, which is no finite number"),
        ("label", [1.0, float("inf")], "label is [1.0, inf], which is no finite number"),
        ("label", 2**53 + 1, "label is 9007199254740993, beyond what a number holds exactly; write it as text"),
        ("label", ["a", 1], "label is ['a', 1]: its parts must be alike, all text or all numbers"),
        ("label", ["a", ""], "label is ['a', '']: a text in it is empty"),
        ("label", [None], "label is [None]; it must be text, a number, or a list of them"),
        ("text", ["w"] * 99, f"text is {str(['w'] * 99)[:57]}..., which is no text"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_in_words(column: str, value: object, problem: str | None) -> None:
    assert next(c for c in WANTED if c.name == column).problem(value) == problem
