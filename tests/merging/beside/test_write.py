"""What lies beside the weights of a merged model: copied as it is, or changed where the merge changed it."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from luthier.errors import MergeError
from luthier.merging.beside.configuring import merged_config
from luthier.merging.beside.write import write_beside
from luthier.merging.parents.checkpoint import Folder
from luthier.merging.vocabularies.vocabulary import Vocabulary
from tests.merging.tokenized import model_of, vocabulary_of

TEMPLATE = "{{ messages[0]['content'] }}"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {
        name: model_of(tmp_path / name, *added) for name, added in {"base": (), "a": ("<a>",), "b": ("<b>",)}.items()
    }


def written(
    folders: dict[str, Path], vocabulary: Vocabulary | None = None, template: str | None = None, card: str | None = None
) -> tuple[Path, tuple[str, ...]]:
    """The base's folder again, under new weights."""
    out = folders["base"].parent / "out"
    out.mkdir(exist_ok=True)
    config, _ = merged_config(Folder(folders["base"], "base").config)
    beside = {"config": config, "reference": folders["base"], "folders": folders, "vocabulary": vocabulary}
    return out, write_beside(out, **beside, chat_template=template, card=card)  # type: ignore[arg-type]


def test_what_does_not_change_is_copied_byte_for_byte(folders: dict[str, Path]) -> None:
    out, notes = written(folders)
    assert notes == ()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (out / name).read_bytes() == (folders["base"] / name).read_bytes()
    assert json.loads((out / "config.json").read_text()) == json.loads((folders["base"] / "config.json").read_text())


def test_code_pickles_and_weights_are_never_copied(folders: dict[str, Path]) -> None:
    for name in ("modeling_own.py", "training_args.bin", "optimizer.pt", "LICENSE", "LICENSE.py"):
        (folders["base"] / name).write_text("x")
    out, _ = written(folders)
    names = {path.name for path in out.iterdir()}
    assert names == {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE"}


def test_no_file_says_where_it_was_made(folders: dict[str, Path]) -> None:
    path = folders["base"] / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(
        json.dumps({**settings, "name_or_path": "/home/someone/base", "auto_map": {"AutoTokenizer": "x.X"}})
    )
    out, _ = written(folders)
    assert json.loads((out / "tokenizer_config.json").read_text()) == settings


def test_a_union_s_tokenizer_is_the_only_one_in_the_folder(folders: dict[str, Path]) -> None:
    (folders["base"] / "vocab.txt").write_text("old")
    (folders["base"] / "chat_template.jinja").write_text(TEMPLATE)
    vocabulary = vocabulary_of(folders, "base", "union")
    out, _ = written(folders, vocabulary)
    words = AutoTokenizer.from_pretrained(out)
    assert len(words) == 66
    assert words.chat_template == TEMPLATE
    assert not (out / "vocab.txt").exists()


def test_the_tokenizer_of_the_chosen_model_is_taken_and_the_ends_of_its_texts(folders: dict[str, Path]) -> None:
    (folders["b"] / "generation_config.json").write_text('{"eos_token_id": 64}')
    out, _ = written(folders, vocabulary_of(folders, "base", "b"))
    assert (out / "tokenizer.json").read_bytes() == (folders["b"] / "tokenizer.json").read_bytes()
    assert json.loads((out / "generation_config.json").read_text()) == {"eos_token_id": 64}


def test_a_generation_config_without_a_chosen_one_has_the_configuration_s_ends(folders: dict[str, Path]) -> None:
    (folders["b"] / "generation_config.json").unlink()
    (folders["base"] / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.5}')
    config, _ = merged_config(Folder(folders["base"], "base").config, tokens_of={"eos_token_id": 64})
    out = folders["base"].parent / "out"
    out.mkdir()
    vocabulary = vocabulary_of(folders, "base", "b")
    write_beside(out, config=config, reference=folders["base"], folders=folders, vocabulary=vocabulary)
    assert json.loads((out / "generation_config.json").read_text()) == {"eos_token_id": 64, "temperature": 0.5}


def test_the_commonest_template_wins_and_is_the_only_one(folders: dict[str, Path]) -> None:
    for name, template in {"base": "{{ 'own' }}", "a": TEMPLATE, "b": TEMPLATE}.items():
        words = AutoTokenizer.from_pretrained(folders[name])
        words.chat_template = template
        words.save_pretrained(folders[name])
    settings = json.loads((folders["base"] / "tokenizer_config.json").read_text())
    (folders["base"] / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": "{{ 'older' }}"}))
    out, _ = written(folders, template="auto")
    assert AutoTokenizer.from_pretrained(out).chat_template == TEMPLATE
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    kept, _ = written(folders)
    assert AutoTokenizer.from_pretrained(kept).chat_template == "{{ 'own' }}"


def test_a_named_template_whose_tokens_are_missing_is_told(folders: dict[str, Path]) -> None:
    out, notes = written(folders, template="llama3")
    assert "made of tokens that the vocabulary has not: <|start_header_id|>" in notes[0]
    assert "<|start_header_id|>" in (out / "chat_template.jinja").read_text()


def test_sentence_transformers_modules_come_along(folders: dict[str, Path]) -> None:
    base = folders["base"]
    modules = [{"idx": 0, "path": ""}, {"idx": 1, "path": "1_Pooling"}, {"idx": 2, "path": "2_Dense"}]
    (base / "modules.json").write_text(json.dumps(modules))
    (base / "sentence_bert_config.json").write_text("{}")
    for name, files in {
        "1_Pooling": ["config.json", "own.py"],
        "2_Dense": ["config.json", "model.safetensors"],
    }.items():
        (base / name).mkdir()
        for file in files:
            (base / name / file).write_text("{}")
    out, notes = written(folders)
    assert {path.name for path in (out / "1_Pooling").iterdir()} == {"config.json"}
    assert (out / "2_Dense" / "model.safetensors").is_file()
    assert (out / "sentence_bert_config.json").is_file()
    assert notes == ("2_Dense: its weights are base's; only the transformer is merged",)
    (base / "2_Dense" / "model.safetensors").rename(base / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(MergeError, match=r"base/2_Dense: pytorch_model\.bin is a pickle"):
        written(folders)


def test_modules_outside_of_the_folder_are_refused(folders: dict[str, Path]) -> None:
    (folders["base"] / "modules.json").write_text('[{"path": "../other"}]')
    with pytest.raises(MergeError, match=r"names \.\./other, which is no folder in it"):
        written(folders)


def test_the_folder_loads_and_has_its_card(folders: dict[str, Path]) -> None:
    out, _ = written(folders, vocabulary_of(folders, "base", "union"), card="# A card\n")
    assert (out / "README.md").read_text() == "# A card\n"
    assert AutoConfig.from_pretrained(out).model_type == "llama"
