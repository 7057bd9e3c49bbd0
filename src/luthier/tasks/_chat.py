"""Rows of chats, instructions and prompts, read into one form: turns, each with a role and what it says.

Chats are kept as JSON text in OpenAI's style, `{"role": ..., "content": ...}`; ShareGPT's `from` and
`value` are read too. Instructions are Alpaca's: https://github.com/tatsu-lab/stanford_alpaca.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from luthier.data.columns import BadRow, Column, Layout, fault_of_text
from luthier.errors import did_you_mean

Turn = dict[str, Any]
"""`role` and `content`, and `tool_calls` or `tool_call_id` where a template is to write them."""

ROLES = {
    **{role: role for role in ("system", "user", "assistant", "tool")},
    **{"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"},
    **{"developer": "system", "function": "tool", "observation": "tool"},
}
"""What data calls a role: what it is."""
AFTER = {"user": (None, "system", "assistant"), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}
"""Role: those that it may follow; None is the beginning. A system turn comes first, and once."""
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
"""Alpaca's own sentences, for a model without a chat template."""


class _Answered(Layout):
    """Chats that a model learns from: without an answer, a row is good for a question alone."""

    def without_targets(self) -> Self:
        return replace(super().without_targets(), read=read_chat)


def layouts(form: str) -> tuple[Layout, ...]:
    """The forms of rows, the one that a task was trained on first."""
    prompts, answers = ("question", "query"), ("response", "answer")
    forms = {
        "chat": _Answered(
            (
                Column("messages", ("conversations", "conversation", "dialog", "dialogue"), holds="anything"),
                Column("tools", required=False, holds="anything"),
            ),
            read_answered_chat,
        ),
        "prompt": Layout((Column("prompt"), Column("completion", (*answers, "output"), target=True))),
        "instruction": Layout(
            (
                Column("instruction", prompts),
                Column("input", ("context",), required=False, holds="anything"),
                Column("output", (*answers, "completion"), target=True),
            ),
            _read_instruction,
        ),
        "text": Layout((Column("text", ("content", "document")),)),
    }
    first = [forms[form]] if form in forms else []
    return (*first, *(layout for name, layout in forms.items() if name != form))


def form_of(columns: list[str]) -> str:
    """What rows with these columns are."""
    named = {"messages": "chat", "prompt": "prompt", "instruction": "instruction"}
    return next((form for name, form in named.items() if name in columns), "text")


def read_answered_chat(row: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """The same, where a model learns from it.

    Raises BadRow where nobody answers.
    """
    read = read_chat(row, folder)
    if all(turn["role"] != "assistant" for turn in json.loads(read["messages"])):
        raise BadRow("messages has no assistant turn, so there is nothing to learn")
    return read


def read_chat(row: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """A row's chat as JSON text; a text that is no JSON is what a user asks.

    Raises BadRow where a turn is not what its place allows.
    """
    turns = _from_json(row["messages"], "messages")
    if isinstance(turns, str):
        turns = [{"role": "user", "content": turns}]
    if not isinstance(turns, list) or not turns:
        raise BadRow("messages is no list of turns, as in [{role: user, content: ...}, ...]")
    read, before = [], None
    for number, turn in enumerate(turns, 1):
        read.append(_read_turn(turn, before, f"messages: turn {number}"))
        before = read[-1]["role"]
    if before == "system":
        raise BadRow("messages has a system turn alone; a user's turn must follow")
    tools = {"tools": _read_tools(row["tools"])} if "tools" in row else {}
    return {**row, "messages": json.dumps(read, ensure_ascii=False), **tools}


def turns_of(row: Mapping[str, Any]) -> list[Turn]:
    """The turns of a row of any form but plain text; the last is an answer, where there is one."""
    if "messages" in row:
        turns: list[Turn] = json.loads(row["messages"])
        return turns
    asked = row["prompt"] if "prompt" in row else "\n\n".join(filter(None, (row["instruction"], row.get("input"))))
    turns, answer = [{"role": "user", "content": asked}], answer_of(row)
    return turns if answer is None else [*turns, {"role": "assistant", "content": answer}]


def answer_of(row: Mapping[str, Any]) -> str | None:
    """The answer to a prompt or an instruction, where there is one."""
    return row.get("completion" if "prompt" in row else "output")


def prompt_of(row: Mapping[str, Any]) -> str:
    """What a model without a chat template is given to go on from."""
    if "prompt" in row:
        return str(row["prompt"])
    written = WITH_INPUT if row.get("input") else WITHOUT_INPUT
    return written.format(instruction=row["instruction"], input=row.get("input"))


def _read_turn(turn: object, before: str | None, where: str) -> Turn:
    if not isinstance(turn, dict):
        raise BadRow(f"{where} is no mapping with role and content")
    said = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        near = did_you_mean(str(said), ROLES) or "; known: system, user, assistant, tool"
        raise BadRow(f"{where}: no role is called {said}{near}")
    if fault := _fault_of_place(role, before):
        raise BadRow(f"{where} {fault}")
    kept = {name: turn[name] for name in ("tool_calls", "tool_call_id", "name") if turn.get(name) is not None}
    content = _as_text(content, where)
    fault = fault_of_text(content) if content else None if "tool_calls" in kept else "is empty"
    if fault:
        raise BadRow(f"{where}: the {role}'s content {fault}")
    return {"role": role, "content": content, **kept}


def _fault_of_place(role: str, before: str | None) -> str | None:
    """What is wrong with a role where it stands, in words."""
    if role == "system":
        return "is a system turn, which may only be the first" if before is not None else None
    if before in AFTER[role]:
        return None
    if role == before:
        return f"is a second {role} turn in a row; merge the two into one"
    article = "an" if role == "assistant" else "a"
    return f"is {article} {role} turn {f'after {before}' if before else 'at the beginning'}; a user must ask first"


def _as_text(content: object, where: str) -> str:
    """A turn's words; OpenAI's style may cut them into parts."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise BadRow(f"{where}: content must be text")
    return "".join(map(str, texts))


def _read_tools(value: object) -> str:
    tools = _from_json(value, "tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRow("tools is no list of descriptions, as in [{type: function, function: {name: ...}}]")
    return json.dumps(tools, ensure_ascii=False)


def _from_json(value: object, name: str) -> object:
    """A value, or what it says where it is JSON text."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise BadRow(f"{name} is no JSON: {error}") from None


def _read_instruction(row: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    if "input" not in row:
        return row
    given = row["input"] or ""
    if not isinstance(given, str) or (given and not given.isspace() and fault_of_text(given)):
        raise BadRow(f"input {fault_of_text(given) if isinstance(given, str) else 'is no text'}")
    return {**row, "input": "" if given.isspace() else given}
