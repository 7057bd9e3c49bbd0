"""Rows of chats, instructions and prompts in every style come to one form; a bad row is told with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.columns import BadRow
from luthier.data.source import DataSource
from luthier.data.splits import load
from luthier.errors import DataError
from luthier.tasks._chat import layouts, prompt_of, read_answered_chat, read_chat, turns_of

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
SYSTEM, TOOL = {"role": "system", "content": "be brief"}, {"role": "tool", "content": "42"}


def read(path: Path, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = DataSource(train=str(path), validation=None)
    return load(source, layouts("auto"), seed=0).train.to_list()


@pytest.mark.parametrize("column", ["messages", "conversations", "conversation", "dialog", "dialogue"])
def test_openai_and_sharegpt_come_to_the_same(column: str, tmp_path: Path) -> None:
    theirs = [
        {"from": "system", "value": "be brief"},
        {"from": "human", "value": "hi"},
        {"from": "gpt", "value": "hello"},
    ]
    for turns in ([SYSTEM, USER, ASSISTANT], theirs, json.dumps(theirs)):
        (row,) = read(tmp_path / "rows.jsonl", {column: turns})
        assert json.loads(row["messages"]) == [SYSTEM, USER, ASSISTANT]


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    row = read_chat({"messages": [{"role": "user", "content": parts}]}, None)
    assert json.loads(row["messages"]) == [USER]


def test_tools_and_their_calls_are_kept() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    row = read_chat({"messages": [USER, call, TOOL, ASSISTANT], "tools": [{"type": "function"}]}, None)
    assert json.loads(row["messages"])[1] == {**call, "content": ""}
    assert json.loads(row["tools"]) == [{"type": "function"}]
    assert read_chat(row, None) == row
    assert read_chat({"messages": [USER], "tools": None}, None)["tools"] == "[]"


def test_a_text_is_what_a_user_asks_but_nothing_to_learn() -> None:
    row = read_chat({"messages": "what is it?"}, None)
    assert turns_of(row) == [{"role": "user", "content": "what is it?"}]
    with pytest.raises(BadRow, match="no assistant turn"):
        read_answered_chat({"messages": "what is it?"}, None)


def test_only_learning_needs_an_answer() -> None:
    learnt = layouts("chat")[0]
    asked = learnt.without_targets()
    assert json.loads(asked.read({"messages": [USER]}, None)["messages"]) == [USER]
    with pytest.raises(BadRow):
        learnt.read({"messages": [USER]}, None)


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ([], "is no list of turns"),
        ("[{", "is no JSON"),
        (5, "is no list of turns"),
        (["hi"], "turn 1 is no mapping"),
        ([{"role": "asistant", "content": "x"}], r"turn 1: no role is called asistant; did you mean assistant\?"),
        ([{"content": "x"}], "no role is called None; known: system"),
        ([USER, USER, ASSISTANT], "turn 2 is a second user turn in a row; merge the two into one"),
        ([USER, ASSISTANT, ASSISTANT], "turn 3 is a second assistant turn in a row"),
        ([ASSISTANT], "turn 1 is an assistant turn at the beginning; a user must ask first"),
        ([SYSTEM, ASSISTANT], "turn 2 is an assistant turn after system"),
        ([USER, SYSTEM, ASSISTANT], "turn 2 is a system turn, which may only be the first"),
        ([USER, TOOL, ASSISTANT], "turn 2 is a tool turn after user"),
        ([SYSTEM], "a system turn alone"),
        ([USER], "no assistant turn"),
        ([USER, {"role": "assistant", "content": ""}], "turn 2: the assistant's content is empty"),
        ([USER, {"role": "assistant", "content": "  "}], "turn 2: the assistant's content is blank"),
        ([USER, {"role": "assistant", "content": 5}], "turn 2: content must be text"),
        ([USER, {"role": "assistant", "content": "a\0b"}], "NUL character"),
        ([{"role": "user", "content": [{"type": "image"}]}, ASSISTANT], "turn 1: content must be text"),
    ],
)
def test_a_bad_chat_is_told_with_its_place(turns: Any, told: str, tmp_path: Path) -> None:
    rows = {"messages": [USER, ASSISTANT]}, {"messages": turns}
    with pytest.raises(DataError, match=rf"1 of 2 rows cannot be used:\n.*rows.jsonl:2: .*{told}"):
        read(tmp_path / "rows.jsonl", *rows)


@pytest.mark.parametrize("tools", ["[", 5, ["f"], "look"])
def test_bad_tools_are_told(tools: Any) -> None:
    with pytest.raises(BadRow, match="tools is no"):
        read_chat({"messages": [USER, ASSISTANT], "tools": tools}, None)


@pytest.mark.parametrize("answer", ["completion", "response", "answer", "output"])
def test_prompts_come_with_an_answer_of_any_usual_name(answer: str, tmp_path: Path) -> None:
    assert read(tmp_path / "rows.jsonl", {"prompt": "a", answer: "b"}) == [{"prompt": "a", "completion": "b"}]


def test_instructions_are_alpacas(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add.", "input": "1 + 1", "output": "2"},
        {"instruction": "Go.", "input": "", "output": "ok"},
    ]
    with_input, without = read(tmp_path / "rows.jsonl", *rows)
    assert "### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n" in prompt_of(with_input)
    assert "### Instruction:\nGo.\n\n### Response:\n" in prompt_of(without)
    asked = {"role": "user", "content": "Add.\n\n1 + 1"}
    assert turns_of(with_input) == [asked, {"role": "assistant", "content": "2"}]
    assert turns_of({"instruction": "Go."}) == [{"role": "user", "content": "Go."}]


def test_questions_are_instructions_and_documents_texts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read(path, {"question": "a?", "answer": "b"}) == [{"instruction": "a?", "output": "b"}]
    assert read(path, {"content": "a"}) == [{"text": "a"}]


@pytest.mark.parametrize("given", [5, "a\0b"])
def test_a_bad_input_is_told(given: Any, tmp_path: Path) -> None:
    row = {"instruction": "a", "input": given, "output": "b"}
    with pytest.raises(DataError, match=r"rows.jsonl:1: input (is no text|has a NUL)"):
        read(tmp_path / "rows.jsonl", row)


def test_the_form_that_was_trained_on_comes_first() -> None:
    firsts = [layouts(form)[0].columns[0].name for form in ("auto", "chat", "prompt", "instruction", "text")]
    assert firsts == ["messages", "messages", "prompt", "instruction", "text"]
    assert len(layouts("text")) == 4
