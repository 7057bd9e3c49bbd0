"""A conversation is written word by word, may be stopped at any, and stays within the model's limit."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier import recipe as recipes
from luthier.chatting import Conversation, conversing, conversing_with_run
from luthier.cli import main
from luthier.errors import DataError, ModelError, RecipeError
from luthier.report.chat import shown, talk
from luthier.run import Run
from luthier.tasks._language import Generation, generate
from luthier.tasks._templates import NAMED
from tests.tiny import tiny, tokenizer

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' and m['content'] == 'w9' %}{{ raise_exception('no w9') }}"
    "{% endif %}[CLS] {{ m['content'] }} [SEP] {% endfor %}{% if add_generation_prompt %}[CLS] {% endif %}"
)
TOP = Path(__file__).parents[1]


def model(**settings: Any) -> PreTrainedModel:
    """Its weights are large enough that it does not say one word again and again."""
    built = tiny("llama", head="lm", **settings)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in built.parameters():
            parameter.data.normal_(std=0.5)
    built.generation_config.eos_token_id = None
    return built


def processor() -> PreTrainedTokenizerBase:
    words = tokenizer()
    words.chat_template = TEMPLATE
    return words


@contextmanager
def talking(
    built: PreTrainedModel | None = None, notes: list[str] | None = None, system: str = "", **generation: Any
) -> Iterator[Conversation]:
    chosen = Generation(**{"max_new_tokens": 6, **generation})
    on_note = (notes if notes is not None else []).append
    with conversing(built or model(), processor(), chosen, system=system, on_note=on_note) as conversation:
        yield conversation


def written(text: str, num_tokens: int = 6) -> str:
    """What the model goes on with, by generate alone."""
    words = processor()
    ids = words(text, add_special_tokens=False, return_tensors="pt").input_ids
    told = generate(model(), {"input_ids": ids}, Generation(max_new_tokens=num_tokens))[0, ids.shape[1] :]
    return str(words.decode(told, skip_special_tokens=True))


def test_an_answer_comes_piece_by_piece_and_is_what_generate_writes() -> None:
    with talking() as conversation:
        pieces = list(conversation.answer("w1 w2"))
        expected = written("[CLS] w1 w2 [SEP] [CLS]")
        assert "".join(pieces) == expected
        assert sum(bool(piece) for piece in pieces) == len(expected.split()) > 1
        again = "".join(conversation.answer("w3"))
    assert again == written(f"[CLS] w1 w2 [SEP] [CLS] {expected} [SEP] [CLS] w3 [SEP] [CLS]")
    assert [turn["role"] for turn in conversation.messages] == ["user", "assistant", "user", "assistant"]


def test_a_model_stops_at_its_own_token() -> None:
    built, words = model(), written("[CLS] w1 [SEP] [CLS]").split()
    built.generation_config.eos_token_id = processor().convert_tokens_to_ids(words[2])
    with talking(built) as conversation:
        assert "".join(conversation.answer("w1")).split() == words[: words.index(words[2]) + 1]


def test_a_reader_that_goes_stops_the_answer_and_keeps_what_was_written() -> None:
    with talking(model(max_position_embeddings=100_000), max_new_tokens=50_000) as conversation:
        pieces = conversation.answer("w1")
        first = next(piece for piece in pieces if piece)
        pieces.close()
        said = conversation.messages[-1]["content"]
        assert said.startswith(first.strip())
        assert len(said.split()) < 10_000
        pieces = conversation.answer("w2")
        assert any(next(pieces) for _ in range(10))
        pieces.close()
    assert len(conversation.messages) == 4


def test_what_breaks_while_an_answer_is_written_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory\nmore of it")

    with talking() as conversation:
        monkeypatch.setattr(conversation._model, "generate", broken)
        with pytest.raises(ModelError, match=r"^chat: the model cannot answer: out of memory$"):
            list(conversation.answer("w1"))
    assert conversation.messages == []


def test_a_turn_that_gets_no_answer_is_forgotten() -> None:
    built, notes = model(), list[str]()
    built.generation_config.eos_token_id = list(range(64))
    with talking(built, notes) as conversation:
        conversation._tokenizer.add_special_tokens({"extra_special_tokens": [f"w{number}" for number in range(60)]})
        assert "".join(conversation.answer("w1")) == ""
    assert conversation.messages == []
    assert notes == ["the model ended its answer before the first word; your turn is forgotten"]


def test_the_systems_turn_is_set_changed_kept_and_taken_away() -> None:
    with talking(system="w4") as conversation:
        list(conversation.answer("w1"))
        conversation.say_first("w5 w6")
        assert [turn["content"] for turn in conversation.messages][:2] == ["w5 w6", "w1"]
        conversation.reset()
        assert conversation.messages == [{"role": "system", "content": "w5 w6"}]
        with pytest.raises(ModelError, match="refuses this conversation: no w9"):
            conversation.say_first("w9")
        assert conversation.messages == [{"role": "system", "content": "w5 w6"}]
        conversation.say_first("")
        assert conversation.messages == []


def test_the_oldest_turns_are_left_out_where_they_leave_no_room_and_it_is_said_once() -> None:
    notes: list[str] = []
    with talking(model(max_position_embeddings=40), notes, system="w7", max_new_tokens=5) as conversation:
        for number in range(8):
            assert "".join(conversation.answer(f"w{number} w1 w2"))
        turns, ids = (
            conversation.messages,
            conversation._fitting([*conversation.messages, {"role": "user", "content": "w8"}]),
        )
        assert len(turns) == 17
        assert len(ids) <= 35
        assert conversation._tokenizer.decode(ids).startswith("[CLS] w7 [SEP] [CLS] w")
    assert notes == ["the model takes 40 tokens: from here on the oldest turns are left out"]


def test_a_text_that_is_longer_than_the_limit_is_refused_and_a_shorter_one_answered() -> None:
    with talking(model(max_position_embeddings=40)) as conversation:
        with pytest.raises(DataError, match=r"^chat: this text makes 53 tokens, and the model takes 40$"):
            list(conversation.answer(" ".join(["w1"] * 50)))
        assert len("".join(conversation.answer(" ".join(["w1"] * 35))).split()) <= 2
    assert len(conversation.messages) == 2


def test_drawn_words_are_drawn_again_under_the_same_seed() -> None:
    with talking(temperature=3.0) as conversation:
        answers = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            answers.append("".join(conversation.answer("w1")))
            conversation.reset()
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize(
    ("template", "told"), [(None, "has no chat template"), ("{{ 1 / 0 }}", "refuses this conversation: division")]
)
def test_a_model_that_knows_no_turns_is_refused(template: str | None, told: str) -> None:
    words = processor()
    words.chat_template = template
    with pytest.raises(ModelError, match=told), conversing(model(), words, Generation(), on_note=print):
        pass


def test_only_what_a_terminal_may_show_is_shown() -> None:
    assert shown("a\x1b[31mb\x07\r\x00\x9b2J\u202ec\x7f\n\t\u200dé漢") == "a[31mb2Jc\n\t\u200dé漢"


def converse(conversation: Conversation, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    talk(conversation)


def test_a_line_is_a_turn_and_commands_are_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "chats.jsonl"
    lines = f"w1 w2\n\n/save {path}\n/reset\n/system w4\nw3\n/save {path}\n/save\n/sytem\n/help\n/quit\nw5\n"
    with talking() as conversation:
        converse(conversation, lines, monkeypatch)
    told = capsys.readouterr()
    one, two = (json.loads(line)["messages"] for line in path.read_text().splitlines())
    assert [turn["content"] for turn in one] == ["w1 w2", written("[CLS] w1 w2 [SEP] [CLS]")]
    assert [turn["content"] for turn in two][:2] == ["w4", "w3"]
    assert told.out.splitlines()[:2] == [one[1]["content"], f"Added to {path}"]
    assert told.out.splitlines()[2] == two[2]["content"]
    assert told.err.splitlines() == [
        "luthier: chat: say where, as in /save chats.jsonl",
        "luthier: chat: there is no /sytem; did you mean /system?",
    ]
    assert "/system TEXT" in told.out


@pytest.mark.parametrize("name", ["no/such/folder/x.jsonl", "."])
def test_a_file_that_cannot_be_written_ends_no_conversation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with talking() as conversation:
        converse(conversation, f"w1\n/save {tmp_path / name}\nw2\n", monkeypatch)
    assert len(conversation.messages) == 4
    assert "cannot be written: " in capsys.readouterr().err


SCRIPT = """
    import os
    from tests.test_chat import model, talking, talk
    with talking(model(max_position_embeddings=10_000_000), max_new_tokens=5_000_000) as conversation:
        talk(conversation)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals to a group are POSIX's")
def test_control_c_stops_an_answer_and_the_conversation_goes_on(tmp_path: Path) -> None:
    """As a terminal sends it: to every process of the group."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    with subprocess.Popen(command, cwd=TOP, start_new_session=True, bufsize=0, **pipes) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            for line in (b"w1\n", b"w2\n"):
                child.stdin.write(line)
                assert child.stdout.read(1) == b"w"
                os.killpg(child.pid, signal.SIGINT)
                child.stdout.readline()
            child.stdin.write(f"/save {tmp_path / 'chats.jsonl'}\n/quit\n".encode())
            child.wait()
        finally:
            child.kill()
    assert child.returncode == 0
    messages = json.loads((tmp_path / "chats.jsonl").read_text())["messages"]
    assert [turn["role"] for turn in messages] == ["user", "assistant", "user", "assistant"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of chats, whose base has no template of its own."""
    import luthier

    folder = tmp_path_factory.mktemp("chat")
    tiny("llama", head="lm").save_pretrained(folder / "base")
    tokenizer(eos_token="[SEP]", bos_token="[CLS]").save_pretrained(folder / "base")
    chats = [[{"role": r, "content": f"w{n} w{n}"} for r in ("user", "assistant")] for n in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return luthier.tune(
        model=str(folder / "base"),
        data={"train": str(folder / "rows.jsonl"), "test": 0.2},
        task="causal-lm",
        training={"epochs": 1, "batch_size": 8, "learning_rate": 5e-3, "precision": "fp32"},
        output=folder / "run",
    )


def test_a_finished_run_is_talked_with_on_the_command_line(run: Run) -> None:
    options = ["--system", "w9", "--max-new-tokens", "5", "--temperature", "0.7", "--top-p", "0.9", "--device", "cpu"]
    command = [sys.executable, "-m", "luthier", "chat", str(run.folder), *options]
    told = subprocess.run(command, input="w1 w1\nw2\n", capture_output=True, text=True, check=True).stdout
    assert len(told.splitlines()) == 2
    assert run.load("cpu")[1].chat_template == NAMED["plain"]  # type: ignore[union-attr]


def test_a_run_is_answered_as_its_recipe_says_where_nothing_else_is_said(run: Run) -> None:
    with conversing_with_run(str(run.folder), {}, device="cpu", seed=0, on_note=print) as conversation:
        answer = "".join(conversation.answer("w1 w1"))
    (expected,) = run.predict([{"messages": [{"role": "user", "content": "w1 w1"}]}], device="cpu")
    assert answer.strip() == expected["text"]


def test_a_share_of_words_to_draw_from_needs_a_temperature(run: Run) -> None:
    opened = conversing_with_run(str(run.folder), {"top_p": 0.5}, device="cpu", seed=0, on_note=print)
    with pytest.raises(RecipeError, match="--temperature above 0"), opened:
        pass


def test_a_run_of_another_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path)
    run.write_recipe(recipes.check({"model": "m", "data": "d", "task": "text-classification"}, "test"))
    run.log("saved")
    with pytest.raises(SystemExit) as left:
        main(["chat", str(tmp_path)])
    assert left.value.code == 2
    assert "chat needs a run of causal-lm, and this is one of text-classification" in capsys.readouterr().err
