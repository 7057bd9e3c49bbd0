"""A model's tokenizer as its files have it: which token has which number, and tokenizers joined into one.

A join keeps the numbers of the first tokenizer and appends what others have besides. A token that another has in its
vocabulary joins the vocabulary, for BPE with the merges that make it, after all merges that were there: the join of a
tokenizer and one that extends it is the latter. Added tokens join as added tokens; what they are is kept.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from luthier.errors import MergeError

FILE, SETTINGS, SPECIAL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
VOCABULARIES = (
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm", "target.spm", "tekken.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "bpe.codes", "entity_vocab.json"),
)
"""Other files that tokens are in; where there is a tokenizer.json, it has all of them."""
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
LISTED = ("additional_special_tokens", "extra_special_tokens")
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
"""How an added token is found in a text, where nothing is said."""
PRIVATE = ("name_or_path", "auto_map", "special_tokens_map_file", "tokenizer_file", "vocab_file")
"""Settings that are of the machine they were written on, or of code."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Tokens:
    """A tokenizer's files, read."""

    content: Json
    """Of tokenizer.json."""
    settings: Json
    """Of tokenizer_config.json, with what special_tokens_map.json has besides."""

    @cached_property
    def plain(self) -> dict[str, int]:
        """The numbers of the vocabulary's tokens, without what was added to it."""
        words = self.content["model"].get("vocab", {})
        return dict(words) if isinstance(words, Mapping) else {word: place for place, (word, _) in enumerate(words)}

    @cached_property
    def added(self) -> dict[str, Json]:
        """Every added token with its `id`; those that only the settings name get theirs when a tokenizer is loaded."""
        found: dict[str, Json] = {
            entry["content"]: {**PLAIN, **entry} for entry in self.content.get("added_tokens", [])
        }
        for entry in _named_in(self.settings):
            if entry["content"] in found:
                continue
            last = max((each["id"] for each in found.values()), default=-1)
            number = self.plain.get(entry["content"], max(len(self.plain), last + 1))
            found[entry["content"]] = {**entry, "id": number}
        return found

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of every token."""
        return self.plain | {token: entry["id"] for token, entry in self.added.items()}

    @property
    def kind(self) -> str:
        """BPE, WordPiece, WordLevel or Unigram."""
        return str(self.content["model"].get("type", "BPE"))


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has files of a tokenizer."""
    return any((folder / name).is_file() for name in (FILE, *VOCABULARIES))


def fingerprint(folder: Path) -> str:
    """Equal only where two folders' tokenizers have the same tokens; found without reading what the files say."""
    digest = hashlib.sha256()
    names = [FILE] if (folder / FILE).is_file() else sorted(VOCABULARIES)
    for name in names:
        if (folder / name).is_file():
            digest.update(name.encode() + (folder / name).read_bytes())
    named = [entry["content"] for entry in _named_in(_settings(folder))]
    digest.update(json.dumps(named).encode())
    return digest.hexdigest()


def read_tokens(folder: Path, label: str) -> Tokens:
    """A folder's tokenizer; one that has no tokenizer.json is made one by transformers."""
    settings = _settings(folder)
    if not (folder / FILE).is_file():
        return Tokens(_converted(folder, label), settings)
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        tokens = Tokens(content, settings)
        tokens.numbers  # noqa: B018  what cannot be read is told here
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MergeError(f"{label}: {FILE} cannot be read: {error}; fetch it again") from None
    return tokens


def joined(first: Tokens, others: Sequence[tuple[Tokens, int]], *, besides: Iterable[str] = ()) -> Tokens:
    """One tokenizer with the tokens of all; of the others only those below so many rows, and `besides` as added tokens.

    Raises MergeError where vocabularies of different kinds would have to become one.
    """
    numbers, added = dict(first.numbers), dict(first.added)
    place = max(numbers.values(), default=-1) + 1
    gained: list[tuple[Tokens, list[str]]] = []
    for other, num_rows in others:
        below = [token for token, number in other.plain.items() if number < num_rows]
        news = [token for token in below if token not in numbers and token not in other.added]
        if news and other.kind != first.kind:
            raise MergeError(
                f"tokenizer: union cannot join the vocabularies of a {first.kind} and a {other.kind} tokenizer; "
                "say tokenizer: base, or the model whose tokenizer to keep"
            )
        numbers |= {token: place + far for far, token in enumerate(sorted(news, key=other.plain.__getitem__))}
        place += len(news)
        gained.append((other, news))
    entries = [entry for other, num_rows in others for entry in other.added.values() if entry["id"] < num_rows]
    for entry in [*entries, *({**PLAIN, "content": token} for token in besides if token not in numbers)]:
        token = entry["content"]
        if token not in numbers:
            numbers[token], place = place, place + 1
        added.setdefault(token, {**entry, "id": numbers[token]})
    return Tokens(_content(first, gained, numbers, added), _settings_of(first, added))


def written(tokens: Tokens, folder: Path) -> None:
    """Put a joined tokenizer's files into a folder."""
    (folder / FILE).write_text(json.dumps(tokens.content, ensure_ascii=False), encoding="utf-8")
    settings = json.dumps(tokens.settings, indent=2, ensure_ascii=False)
    (folder / SETTINGS).write_text(settings + "\n", encoding="utf-8")


def _content(
    first: Tokens, gained: Sequence[tuple[Tokens, list[str]]], numbers: Mapping[str, int], added: Mapping[str, Json]
) -> Json:
    """A tokenizer.json. Its reader numbers added tokens by itself, after the vocabulary, and believes only the numbers
    of those that are in the vocabulary: where counting would not give a token its number, all go there."""
    model = dict(first.content["model"])
    num_plain = len(first.plain)
    apart = [numbers[token] for token in added if token not in first.plain]
    if any(news for _, news in gained) or sorted(apart) != list(range(num_plain, num_plain + len(apart))):
        scores = _scores([first, *(other for other, _ in gained)]) if first.kind == "Unigram" else {}
        model["vocab"] = _listed(numbers, scores) if first.kind == "Unigram" else dict(numbers)
        if first.kind == "BPE":
            model["merges"] = [*_pairs(first), *(pair for each in gained for pair in _making(*each, numbers))]
    entries = sorted(added.values(), key=lambda entry: int(entry["id"]))
    return {**first.content, "model": model, "added_tokens": entries}


def _pairs(tokens: Tokens) -> list[list[str]]:
    """BPE's merges; old files have two words in one text."""
    merges = tokens.content["model"].get("merges", [])
    return [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges]


def _making(other: Tokens, news: list[str], numbers: Mapping[str, int]) -> list[list[str]]:
    """The merges that make a tokenizer's new tokens, in its order."""
    wanted, prefix = set(news), other.content["model"].get("continuing_subword_prefix") or ""
    return [
        [left, right]
        for left, right in _pairs(other)
        if left + right.removeprefix(prefix) in wanted and left in numbers and right in numbers
    ]


def _scores(tokenizers: Sequence[Tokens]) -> dict[str, float]:
    found = dict[str, float]()
    for each in tokenizers:
        for token, score in each.content["model"]["vocab"]:
            found.setdefault(token, score)
    return found


def _listed(numbers: Mapping[str, int], scores: Mapping[str, float]) -> list[list[Any]]:
    """Unigram's vocabulary, where a token's place is its number; a token that was only added is never better."""
    by_number = {number: token for token, number in numbers.items()}
    never = min(scores.values(), default=0.0) - 100.0
    places = range(max(by_number, default=-1) + 1)
    tokens = [by_number.get(number, f"<|no token {number}|>") for number in places]
    return [[token, scores.get(token, never)] for token in tokens]


def _settings_of(first: Tokens, added: Mapping[str, Json]) -> Json:
    """The first one's settings; where they list added tokens, with all of them."""
    settings = {name: value for name, value in first.settings.items() if name not in PRIVATE}
    if "added_tokens_decoder" in settings:
        settings["added_tokens_decoder"] = {
            str(entry["id"]): {name: entry[name] for name in ("content", *PLAIN)}
            for entry in sorted(added.values(), key=lambda entry: int(entry["id"]))
        }
    return settings


def _settings(folder: Path) -> dict[str, Any]:
    read = dict[str, Any]()
    for name in (SPECIAL, SETTINGS):
        if (folder / name).is_file():
            try:
                read |= json.loads((folder / name).read_text(encoding="utf-8"))
            except (ValueError, TypeError) as error:
                raise MergeError(f"{folder.name}: {name} cannot be read: {error}; fetch it again") from None
    return read


def _named_in(settings: Json) -> Iterator[dict[str, Any]]:
    """Tokens that settings name, in the order in which a tokenizer that lacks them would add them."""
    decoder = settings.get("added_tokens_decoder") or {}
    for _, entry in sorted(decoder.items(), key=lambda item: int(item[0])):
        yield {**PLAIN, **entry}
    named = [settings.get(word) for word in NAMED]
    for word in LISTED:
        listed = settings.get(word) or []
        named += list(listed.values()) if isinstance(listed, Mapping) else list(listed)
    for token in named:
        if isinstance(token, Mapping) and "content" in token:
            yield {**PLAIN, **{name: token[name] for name in ("content", *PLAIN) if name in token}, "special": True}
        elif isinstance(token, str):
            yield {**PLAIN, "content": token, "normalized": False, "special": True}


def _converted(folder: Path, label: str) -> Json:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return dict(json.loads(loaded.backend_tokenizer.to_str()))
    except Exception as error:  # whatever a tokenizer's code raises
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise MergeError(f"{label}: its tokenizer cannot be read: {told}; save it once with save_pretrained") from None
