"""The supervised tokens are the assistant's words and the token that ends its turn, whatever the template."""

import json
from typing import Any

import pytest
from datasets import Dataset

from luthier.component import Facts
from luthier.errors import DataError, ModelError
from luthier.tasks import _templates
from luthier.tasks._tokens import IGNORED
from luthier.tasks.causal_lm import CausalLM
from tests.templates import FORMATS, THINKING, tokenizer
from tests.tiny import tiny

SYSTEM = [("system", "Be brief.")]
ONE = [("user", "hi there"), ("assistant", "the reindeer is here")]
TWO = [*ONE, ("user", "and\n\nthen?"), ("assistant", "It\n\nran; héé 雪 \U0001f98c")]
CHATS = {"one": ONE, "two": TWO, "system and one": SYSTEM + ONE, "system and two": SYSTEM + TWO}


@pytest.fixture(autouse=True)
def _no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """No template is a stranger here: a child for each test would take most of its time."""
    monkeypatch.setattr(_templates, "is_ours", lambda template: True)


def chats(*turns: list[tuple[str, str]]) -> Dataset:
    rows = [json.dumps([{"role": role, "content": content} for role, content in each]) for each in turns]
    return Dataset.from_dict({"messages": rows})


def resolved(rows: Dataset, **settings: Any) -> CausalLM:
    return CausalLM.model_validate(settings).resolve(Facts(train=rows))


def learnt(task: CausalLM, rows: Dataset, processor: Any, **how: Any) -> list[str]:
    """What is supervised of each row, one run of tokens after the other."""
    prepared = task.prepare(rows, processor, **how)
    runs = [[text for text, is_learnt in task.show(row, processor) if is_learnt] for row in prepared]
    return ["|".join(each) for each in runs]


def answers(turns: list[tuple[str, str]], stop: str, blank: str = "") -> str:
    return "|".join(f"{blank}{content}{stop}" for role, content in turns if role == "assistant")


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_learnt_is_the_assistants_words_and_the_stop_token(name: str, chat: str) -> None:
    rows, form = chats(CHATS[chat]), FORMATS[name]
    blank = " " if name == "mistral" else ""
    assert learnt(resolved(rows), rows, tokenizer(form.template)) == [answers(CHATS[chat], form.stop, blank)]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize(("name", "stop"), [("plain", "</s>"), ("chatml", "<|im_end|>")])
def test_our_own_templates_are_learnt_likewise(name: str, stop: str, chat: str) -> None:
    rows = chats(CHATS[chat])
    blank = " " if name == "plain" else ""
    processor = tokenizer(_templates.NAMED[name])
    assert learnt(resolved(rows), rows, processor) == [answers(CHATS[chat], stop, blank)]


@pytest.mark.parametrize("name", FORMATS)
def test_the_last_answer_alone_may_be_learnt(name: str) -> None:
    rows, form = chats(TWO), FORMATS[name]
    found = learnt(resolved(rows, learn="last"), rows, tokenizer(form.template))
    assert found[0].lstrip() == f"{TWO[-1][1]}{form.stop}"


@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_is_written_from_what_the_template_gives_before_it(name: str) -> None:
    rows, processor = chats(TWO), tokenizer(FORMATS[name].template)
    turns = json.loads(rows[0]["messages"])[:-1]
    given = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    for asked in (rows, chats(TWO[:-1])):
        prepared = resolved(rows).prepare(asked, processor)[0]
        assert processor.decode(prepared["input_ids"][: prepared["context"]]) == given


def test_a_blank_that_is_one_token_with_a_word_is_learnt_with_it() -> None:
    rows = Dataset.from_dict({"prompt": ["A:", "A: "], "completion": [" the", "the"]})
    found = learnt(resolved(rows), rows, tokenizer())
    assert found == [" the</s>", " the</s>"]


def test_everything_may_be_learnt_but_the_first_token() -> None:
    rows, processor = chats(ONE), tokenizer(FORMATS["chatml"].template)
    prepared = resolved(rows, learn="everything").prepare(rows, processor)[0]
    assert prepared["target"][0] == IGNORED
    assert prepared["target"][1:].tolist() == prepared["input_ids"][1:].tolist()


def test_words_that_a_template_trims_are_found() -> None:
    turns = [("user", " hi "), ("assistant", "  the word \n")]
    rows = chats(turns)
    assert learnt(resolved(rows), rows, tokenizer(FORMATS["gemma"].template)) == ["the word<end_of_turn>"]


def test_empty_thinking_is_learnt_where_a_template_puts_it() -> None:
    rows = chats(TWO)
    expected = f"{ONE[1][1]}<|im_end|>|<think>\n\n</think>\n\n{TWO[3][1]}<|im_end|>"
    assert learnt(resolved(rows), rows, tokenizer(THINKING)) == [expected]


def test_thinking_that_a_template_drops_is_refused() -> None:
    turns = [("user", "hi"), ("assistant", "<think>\nhm\n</think>\n\nhello"), ("user", "so?"), ("assistant", "well")]
    rows = chats(turns, ONE)
    with pytest.raises(DataError, match=r"1 of 2 rows.*\n.*row 0: in turn 2.*one row an answer"):
        resolved(rows).prepare(rows, tokenizer(THINKING))


def test_a_template_that_refuses_a_chat_is_quoted() -> None:
    template = "{% if messages|length > 2 %}{{ raise_exception('two turns at most') }}{% endif %}"
    rows = chats(TWO)
    with pytest.raises(DataError, match="row 0: two turns at most"):
        resolved(rows).prepare(rows, tokenizer(template))


def test_a_template_that_never_ends_a_turn_is_refused() -> None:
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    rows = chats(ONE)
    task, processor = resolved(rows, template="own"), tokenizer(template)
    with pytest.raises(ModelError, match="never learn to stop"):
        task.fit(tiny("gpt2", head="lm"), processor)
    with pytest.raises(DataError, match="never learn to stop"):
        task.prepare(rows, processor, training=True)


def test_a_chat_may_describe_tools_and_call_them() -> None:
    template = (
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + m.content }}"
        "{% for call in m.tool_calls or [] %}{{ '<think>' + call.function.name + '</think>' }}{% endfor %}"
        "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
    )
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look"}}]}
    turns = [*({"role": r, "content": c} for r, c in ONE[:1]), call, {"role": "tool", "content": "it is"}]
    turns.append({"role": "assistant", "content": "so it is"})
    tools = json.dumps([{"type": "function", "function": {"name": "look"}}])
    rows = Dataset.from_dict({"messages": [json.dumps(turns)], "tools": [tools]})
    processor, task = tokenizer(template), resolved(rows)
    assert learnt(task, rows, processor) == ["<think>look</think><|im_end|>|so it is<|im_end|>"]
    assert processor.decode(task.prepare(rows, processor)[0]["input_ids"]).startswith(tools)
