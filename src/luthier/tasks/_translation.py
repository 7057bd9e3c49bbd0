"""Languages of a translation: the hub's `translation` column, and the codes of models that know many languages.

A language may be said as data say it (`de`) or as a model does: `de_DE` (mBART), `deu_Latn` (NLLB), `de` (M2M100).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from luthier.data.columns import BadRow, Column, Layout
from luthier.data.formats import Row
from luthier.errors import RecipeError, did_you_mean

CODE = re.compile("[a-z]{2,3}_[A-Z][A-Za-z]+")
"""A language's token, as in `de_DE` and `deu_Latn`."""
THREE_LETTERS = dict(
    re.findall(
        r"(\w+):(\w+)",
        """
        af:afr am:amh ar:arb az:azj be:bel bg:bul bn:ben bs:bos ca:cat cs:ces cy:cym da:dan de:deu el:ell en:eng
        eo:epo es:spa et:est eu:eus fa:pes fi:fin fr:fra ga:gle gd:gla gl:glg gu:guj ha:hau he:heb hi:hin hr:hrv
        ht:hat hu:hun hy:hye id:ind ig:ibo is:isl it:ita ja:jpn jv:jav ka:kat kk:kaz km:khm kn:kan ko:kor ky:kir
        lb:ltz lo:lao lt:lit lv:lvs mk:mkd ml:mal mn:khk mr:mar ms:zsm mt:mlt my:mya ne:npi nl:nld nn:nno no:nob
        or:ory pa:pan pl:pol ps:pbt pt:por ro:ron ru:rus si:sin sk:slk sl:slv so:som sq:als sr:srp su:sun sv:swe
        sw:swh ta:tam te:tel tg:tgk th:tha tl:tgl tr:tur uk:ukr ur:urd uz:uzn vi:vie wo:wol xh:xho yi:ydd yo:yor
        zh:zho zu:zul
        """,
    )
)
"""ISO 639-1 -> the ISO 639-3 code that NLLB writes."""


@dataclass(frozen=True)
class Pairs(Layout):
    """The hub's form of a translation: one column with a text for each language."""

    def without_targets(self) -> Self:
        assert isinstance(self.read, partial)
        return replace(self, read=partial(self.read, needs_target=False))


def pairs(source: str | None, target: str | None) -> Pairs:
    """The layout of rows that are translated from one language into another."""
    read = partial(_read, source=source, target=target, needs_target=True)
    return Pairs((Column("translation", holds="anything"),), read)


def _read(row: Row, folder: Path | None, *, source: str | None, target: str | None, needs_target: bool) -> Row:
    """A text for each language -> a source and a target.

    Raises BadRow, or RecipeError where no setting says which is which.
    """
    if "translation" not in row:
        return row
    texts = row["translation"]
    if not isinstance(texts, Mapping):
        raise BadRow("translation must hold a text for each language, as in {'en': ..., 'de': ...}")
    if source is None or target is None:
        raise RecipeError(
            f"task.source_language: the column translation holds {', '.join(texts)}; say which is translated into "
            "which, as in task.source_language=en task.target_language=de"
        )
    wanted = {"source": source, **({"target": target} if needs_target else {})}
    names = {ours: same_language(language, texts) for ours, language in wanted.items()}
    lacking = [wanted[ours] for ours, name in names.items() if name is None]
    if lacking:
        raise BadRow(f"translation has no {' and no '.join(lacking)}; it has {', '.join(texts) or 'nothing'}")
    read = {ours: texts[name] for ours, name in names.items() if name is not None}
    faults = [fault for ours, text in read.items() if (fault := Column(ours).problem(text))]
    if faults:
        raise BadRow("; ".join(faults))
    return read


def same_language(word: str, known: Collection[str]) -> str | None:
    """Of known codes the one that is meant; None where there is none, or several are."""
    if word in known:
        return word
    meant = [code for code in known if _agree(code, word)]
    return meant[0] if len(meant) == 1 else None


def codes_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Language -> its token, of a tokenizer that marks texts with their language; else empty."""
    if not hasattr(tokenizer, "src_lang"):
        return {}
    tokens: dict[str, str] | None = getattr(tokenizer, "lang_code_to_token", None)  # M2M100: de -> __de__
    return tokens or {token: token for token in tokenizer.all_special_tokens if CODE.fullmatch(token)}


def set_languages(tokenizer: PreTrainedTokenizerBase, source: str | None, target: str | None) -> None:
    """Make a tokenizer mark texts with their languages, where it knows any.

    Raises RecipeError where it does and the languages are not said, or are none of its own.
    """
    codes = codes_of(tokenizer)
    if not codes:
        return
    if source is None or target is None:
        raise RecipeError(
            f"task.{'source' if source is None else 'target'}_language: this model knows {len(codes)} languages; say "
            "both, as in task.source_language=en task.target_language=de"
        )
    tokenizer.src_lang = _code("source", source, codes)
    tokenizer.tgt_lang = _code("target", target, codes)


def language_token(tokenizer: PreTrainedTokenizerBase) -> tuple[int, bool] | None:
    """The token of the language that is written, and whether targets begin with it (else they end with it)."""
    codes = codes_of(tokenizer)
    if not codes:
        return None
    token: Any = tokenizer.convert_tokens_to_ids(codes[tokenizer.tgt_lang])
    return token, tokenizer(text_target="")["input_ids"][0] == token


def _code(side: str, language: str, codes: Collection[str]) -> str:
    found = same_language(language, codes)
    if found is None:
        near = [code for code in codes if _parts(code)[0] == _parts(language)[0]]
        shown = f"; it has {', '.join(near)}" if near else did_you_mean(language, codes)
        raise RecipeError(f"task.{side}_language: this model knows no language {language}{shown}")
    return found


def _agree(code: str, other: str) -> bool:
    """Whether two codes say the same language, and not two countries or two scripts of it."""
    (language, more), (its, its_more) = _parts(code), _parts(other)
    return language == its and (more == its_more or len(more) != len(its_more))


def _parts(code: str) -> tuple[str, str]:
    """A code's language, in the letters that NLLB uses, and its country or script."""
    word, _, more = code.lower().replace("-", "_").partition("_")
    return THREE_LETTERS.get(word, word), more
