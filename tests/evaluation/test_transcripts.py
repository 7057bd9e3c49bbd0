"""Word and character error rates against jiwer's on whole corpora; what a normaliser makes of a transcript."""

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.transcripts import normalised
from luthier.evaluation.metrics._transcripts import ErrorRate
from luthier.evaluation.metrics.cer import Cer
from luthier.evaluation.metrics.wer import Wer
from luthier.evaluation.score import value
from luthier.tasks import Prediction

TEXT = st.text(alphabet="ab é,", max_size=12)
PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6).filter(lambda pairs: any(r.strip() for r, _ in pairs))


def ours(metric: ErrorRate, references: list[str], answers: list[str]) -> float:
    return value(metric, [Prediction(answer) for answer in answers], references)


@settings(max_examples=200)
@given(PAIRS)
def test_error_rates_are_jiwers_of_the_corpus(pairs: list[tuple[str, str]]) -> None:
    references, answers = map(list, zip(*pairs, strict=True))
    assert ours(Wer(normalizer="none"), references, answers) == pytest.approx(jiwer.wer(references, answers))
    assert ours(Cer(normalizer="none"), references, answers) == pytest.approx(jiwer.cer(references, answers))


def test_an_empty_answer_is_wrong_in_every_word() -> None:
    assert ours(Wer(), ["one two", "three"], ["", "three"]) == pytest.approx(2 / 3)
    assert ours(Cer(), ["ab"], [""]) == 1.0


def test_more_words_than_were_said_give_more_than_one() -> None:
    assert ours(Wer(), ["one"], ["two three four"]) == 3.0


def test_the_normaliser_is_in_the_name_and_decides() -> None:
    said, answer = ["Don't, Mr. Smith!"], ["don\u2019t mr smith"]
    assert (Wer().name, ours(Wer(), said, answer)) == ("wer-basic", 0.0)
    assert (Wer(normalizer="none").name, ours(Wer(normalizer="none"), said, answer)) == ("wer-none", 1.0)
    assert ours(Wer(), ["..."], [""]) != ours(Wer(), ["..."], [""])  # of no words there is no rate


@pytest.mark.parametrize(
    ("text", "basic"),
    [
        ("Don't,  MR. Smith!", "don't mr smith"),
        ("the \u2019twas 'quoted' word\u2019s", "the twas quoted word's"),
        ("mother-in-law — 50 % ©", "mother in law 50"),
        ("Ça va? ÉTÉ", "ça va été"),
        ("हिन्दी में।", "हिन्दी में"),
        ("ﬁne ①", "fine 1"),
        ("?!", ""),
    ],
)
def test_basic_leaves_words_alone(text: str, basic: str) -> None:
    assert normalised(text, "basic") == basic == normalised(basic, "basic")
    assert normalised(text, "none") == text
