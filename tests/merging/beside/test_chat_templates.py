"""Chat templates: found in every place where files hold them, chosen by name or by number of models."""

import json
from pathlib import Path

import pytest

from luthier.errors import MergeError
from luthier.merging.beside.chat_templates import NAMED, chosen_template, lacking, template_in
from tests.tiny import tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Why"},
]


def folder(path: Path, **files: object) -> Path:
    path.mkdir()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name.replace("__", ".")).write_text(text)
    return path


def rendered(name: str, chat: list[dict[str, str]] = CHAT) -> str:
    words = tokenizer(bos_token="<s>", eos_token="</s>")
    return str(
        words.apply_chat_template(
            chat, chat_template=chosen_template(name, {}), tokenize=False, add_generation_prompt=True
        )
    )


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template__jinja": "{{ x }}", "tokenizer_config__json": {"chat_template": "old"}},
        {"chat_template__json": {"chat_template": "{{ x }}"}},
        {"tokenizer_config__json": {"chat_template": "{{ x }}"}},
        {
            "tokenizer_config__json": {
                "chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "{{ x }}"}]
            }
        },
    ],
)
def test_a_template_is_found_wherever_files_hold_it(tmp_path: Path, files: dict[str, object]) -> None:
    assert template_in(folder(tmp_path / "a", **files)) == "{{ x }}"


def test_no_template_is_none(tmp_path: Path) -> None:
    assert template_in(folder(tmp_path / "a", tokenizer_config__json={})) is None
    assert chosen_template("auto", {"a": tmp_path / "a"}) is None
    assert chosen_template(None, {"a": tmp_path / "a"}) is None


def test_auto_takes_the_commonest_and_of_equals_the_first(tmp_path: Path) -> None:
    folders = {
        name: folder(tmp_path / name, chat_template__jinja=template)
        for name, template in {"a": "one", "b": "two", "c": "two\n", "d": "one"}.items()
    }
    assert chosen_template("auto", folders) == "one"
    assert chosen_template("auto", {name: folders[name] for name in "abc"}) == "two"
    assert chosen_template("b", folders) == "two"


def test_a_template_may_be_written_out_but_a_wrong_name_is_refused() -> None:
    assert chosen_template("{{ messages }}", {}) == "{{ messages }}"
    with pytest.raises(MergeError, match=r"chatnl is no template; did you mean chatml\?"):
        chosen_template("chatnl", {})


def test_named_formats_are_what_their_families_were_trained_on() -> None:
    assert rendered("llama3", CHAT[1:2]) == (
        "<s><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert rendered("mistral") == "<s>[INST] Be brief.\n\nHello [/INST] Yes?</s>[INST] Why [/INST]"
    assert rendered("chatml", CHAT[1:2]) == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert rendered("alpaca", CHAT[1:2]) == "### Instruction:\nHello\n\n### Response:\n"
    assert rendered("exaone", CHAT[:2]) == "[|system|]Be brief.[|endofturn|]\n[|user|]Hello\n[|assistant|]"


def test_every_name_of_mergekit_s_is_known() -> None:
    assert {"alpaca", "exaone", "llama3", "mistral"} == NAMED.keys()
    assert chosen_template("chatml", {})


def test_a_format_whose_tokens_are_missing_is_known_by_them() -> None:
    assert lacking("chatml", {"<|im_start|>"}) == ["<|im_end|>"]
    assert lacking("alpaca", set()) == []
