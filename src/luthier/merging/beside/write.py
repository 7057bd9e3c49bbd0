"""Everything in a merged model's folder that is not weights: configuration, tokenizer, templates, processors, card.

What needs no change is copied byte for byte. Code and pickles are never copied.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import MergeError
from luthier.merging.beside.chat_templates import FILE as TEMPLATE
from luthier.merging.beside.chat_templates import OLD_FILE, chosen_template, lacking, put_template, template_in
from luthier.merging.beside.configuring import NOT_TOLD, is_token_number
from luthier.merging.vocabularies.tokenizer_files import FILE, PRIVATE, SETTINGS, SPECIAL, VOCABULARIES, read_tokens
from luthier.merging.vocabularies.vocabulary import Vocabulary

OF_TOKENS = (FILE, SETTINGS, SPECIAL, *VOCABULARIES, TEMPLATE, OLD_FILE, "normalizer.json")
OF_INPUTS = (
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    *("image_processor_config.json", "audio_tokenizer_config.json"),
)
"""How pictures and sounds are made tensors."""
GENERATION, MODULES = "generation_config.json", "modules.json"
OF_SENTENCES = ("config_sentence_transformers.json", "sentence_bert_config.json", "similarity_evaluation_results.csv")
LICENSES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
WEIGHTS = "model.safetensors"
PLAIN_ENDS = (".json", ".txt", ".md", ".jinja", "")
"""How the names of files end that can hold no code."""


def write_beside(
    folder: Path,
    *,
    config: Mapping[str, Any],
    reference: Path,
    folders: Mapping[str, Path],
    vocabulary: Vocabulary | None = None,
    chat_template: str | None = None,
    card: str | None = None,
) -> tuple[str, ...]:
    """Write all of it into a folder that the weights are in, or will be; -> what a user should know.

    `reference` is the folder of the base, or first model; `folders` has every model's by its label in `vocabulary`.
    Raises MergeError where the template is none, or a file is needed and cannot be taken.
    """
    _write_json(folder / "config.json", config)
    notes = list(vocabulary.notes) if vocabulary is not None else []
    keeper = folders[vocabulary.source] if vocabulary is not None and vocabulary.source else reference
    _write_tokenizer(folder, keeper, vocabulary)
    notes += _write_template(folder, keeper, vocabulary, chat_template, folders)
    _write_generation(folder, reference, keeper, config)
    for name in OF_INPUTS:
        _copy_settings(reference / name, folder / name)
    notes += _write_sentences(folder, reference)
    for path in sorted(path for pattern in LICENSES for path in reference.glob(pattern)):
        if path.is_file() and path.suffix in PLAIN_ENDS:
            shutil.copyfile(path, folder / path.name)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return tuple(notes)


def _write_tokenizer(folder: Path, keeper: Path, vocabulary: Vocabulary | None) -> None:
    """The files of one model; where tokens came in, only those that say what the joined tokenizer does not."""
    is_joined = vocabulary is not None and vocabulary.tokens is not None
    for name in (TEMPLATE, OLD_FILE, "normalizer.json") if is_joined else OF_TOKENS:
        _copy_settings(keeper / name, folder / name)
    for path in sorted((keeper / "additional_chat_templates").glob("*.jinja")):
        (folder / "additional_chat_templates").mkdir(exist_ok=True)
        shutil.copyfile(path, folder / "additional_chat_templates" / path.name)
    if vocabulary is not None:
        vocabulary.write(folder)


def _write_template(
    folder: Path, keeper: Path, vocabulary: Vocabulary | None, said: str | None, folders: Mapping[str, Path]
) -> list[str]:
    template = chosen_template(said, folders)
    if template is None or template.strip() == (template_in(keeper) or "").strip():
        return []
    put_template(template, folder)
    if not (folder / FILE).is_file():
        return []
    tokens = vocabulary.tokens if vocabulary is not None and vocabulary.tokens else read_tokens(folder, folder.name)
    lost = lacking(said, tokens.numbers)
    return [f"chat_template: {said} is made of tokens that the vocabulary has not: {', '.join(lost)}"] if lost else []


def _write_generation(folder: Path, reference: Path, keeper: Path, config: Mapping[str, Any]) -> None:
    """Of the model whose tokens are kept; else the reference's, with the numbers that the configuration has."""
    if (keeper / GENERATION).is_file() or keeper == reference:
        _copy_settings(keeper / GENERATION, folder / GENERATION)
    elif (reference / GENERATION).is_file():
        settings = _read_json(reference / GENERATION)
        settings |= {name: config[name] for name in settings if is_token_number(name) and name in config}
        _write_json(folder / GENERATION, settings)


def _write_sentences(folder: Path, reference: Path) -> list[str]:
    """sentence-transformers' modules, which lie in folders of their own."""
    if not (reference / MODULES).is_file():
        return []
    notes = list[str]()
    for name in (MODULES, *OF_SENTENCES):
        if (reference / name).is_file():
            shutil.copyfile(reference / name, folder / name)
    modules = json.loads((reference / MODULES).read_text(encoding="utf-8"))
    for module in modules:
        path = str(module.get("path") or "")
        if path in ("", "."):
            continue
        if "/" in path or "\\" in path or path.startswith("."):
            raise MergeError(f"{reference.name}: {MODULES} names {path}, which is no folder in it")
        notes += _copy_module(reference / path, folder / path)
    return notes


def _copy_module(module: Path, into: Path) -> list[str]:
    into.mkdir(exist_ok=True)
    files = [path for path in sorted(module.glob("*")) if path.is_file()]
    has_weights = any(path.name == WEIGHTS for path in files)
    for path in files:
        if path.name == WEIGHTS or path.suffix in PLAIN_ENDS:
            shutil.copyfile(path, into / path.name)
        elif path.suffix in (".bin", ".pt", ".pth") and not has_weights:
            raise MergeError(
                f"{module.parent.name}/{module.name}: {path.name} is a pickle, which can run code, so it is not taken; "
                "save the model once with sentence-transformers, which writes safetensors"
            )
    told = f"{module.name}: its weights are {module.parent.name}'s; only the transformer is merged"
    return [told] if has_weights else []


def _copy_settings(path: Path, to: Path) -> None:
    """Byte for byte, unless it says where it was made or names code."""
    if not path.is_file():
        return
    if path.suffix == ".json" and path.name not in (FILE, *VOCABULARIES):
        settings = _read_json(path)
        private = [name for name in settings if name in (*PRIVATE, *NOT_TOLD)]
        if private:
            _write_json(to, {name: value for name, value in settings.items() if name not in private})
            return
    shutil.copyfile(path, to)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MergeError(f"{path.parent.name}: {path.name} cannot be read: {error}; fetch it again") from None
    return read if isinstance(read, dict) else {}


def _write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
