"""Metrics of written text against sacrebleu's and rouge-score's own functions."""

from typing import Any

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from luthier.errors import MissingExtra
from luthier.evaluation.metrics import Metric
from luthier.evaluation.metrics._rouge import by_sentence
from luthier.evaluation.metrics.bleu import Bleu
from luthier.evaluation.metrics.chrf import Chrf
from luthier.evaluation.metrics.rouge_1 import Rouge1
from luthier.evaluation.metrics.rouge_2 import Rouge2
from luthier.evaluation.metrics.rouge_l import RougeL
from luthier.evaluation.metrics.rouge_lsum import RougeLsum
from luthier.evaluation.metrics.ter import Ter
from luthier.evaluation.score import value
from luthier.tasks import Prediction
from tests.contracts.answers import answers

ODD = [
    ("", "An answer that says nothing."),
    ("The same.", "The same."),
    ("the Same", "The same."),
    ("One. Two! Three? Four.", "One! Three? Two. Four."),
    ("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.", "Zwölf Boxer jagen Eva über den Deich."),
    ("Кошка сидит на окне", "Кошка на окне спит"),
    ("今天天气很好。", "今天的天气非常好。"),
    ("x", "A reference that is much longer than its answer, which has one letter."),
    ("a b c d e f g h i j k l", "l k j"),
    ("  blanks \t around\n", "blanks around"),
    ("first line\nsecond line", "second line\nfirst line\nthird"),
    ("«Quotes», “others” & an &amp; 3.14%", '"Quotes", "others" & an & 3,14 %'),
]
SACREBLEU = {
    "bleu": (Bleu(), sacrebleu.corpus_bleu),
    "bleu-lowercase": (Bleu(lowercase=True), lambda *texts: sacrebleu.corpus_bleu(*texts, lowercase=True)),
    "bleu-zh": (Bleu(tokenize="zh"), lambda *texts: sacrebleu.corpus_bleu(*texts, tokenize="zh")),
    "bleu-char": (Bleu(tokenize="char"), lambda *texts: sacrebleu.corpus_bleu(*texts, tokenize="char")),
    "chrf": (Chrf(), sacrebleu.corpus_chrf),
    "chrf++": (Chrf(word_order=2), lambda *texts: sacrebleu.corpus_chrf(*texts, word_order=2)),
    "ter": (Ter(), sacrebleu.corpus_ter),
}
ROUGE: tuple[Any, ...] = (Rouge1, Rouge2, RougeL, RougeLsum)
every_corpus_metric = pytest.mark.parametrize("name", SACREBLEU)
every_rouge = pytest.mark.parametrize("kind", ROUGE)


def made(source: str) -> tuple[list[str], list[str]]:
    if source == "odd":
        return [answer for answer, _ in ODD], [reference for _, reference in ODD]
    found, references = answers("bleu", 200, wrong=1.8, seed=int(source))
    return [prediction.value for prediction in found], references


def scored(metric: Metric, texts: list[str], references: list[Any]) -> float:
    return value(metric, [Prediction(text) for text in texts], references)


@every_corpus_metric
@pytest.mark.parametrize("source", ["odd", "0", "1"])
def test_a_corpus_has_sacrebleus_value(name: str, source: str) -> None:
    metric, reference = SACREBLEU[name]
    assert metric.name == name
    texts, references = made(source)
    assert scored(metric, texts, references) == pytest.approx(reference(texts, [references]).score, rel=1e-12)


@every_corpus_metric
def test_a_row_alone_has_sacrebleus_value(name: str) -> None:
    metric, reference = SACREBLEU[name]
    for text, right in ODD:
        assert scored(metric, [text], [right]) == pytest.approx(reference([text], [[right]]).score, rel=1e-12)


@every_corpus_metric
def test_of_several_references_sacrebleus_rule_chooses(name: str) -> None:
    metric, reference = SACREBLEU[name]
    texts, first = made("odd")
    second = first[1:] + first[:1]
    expected = reference(texts, [first, second]).score
    both = [list(pair) for pair in zip(first, second, strict=True)]
    assert scored(metric, texts, both) == pytest.approx(expected, rel=1e-12)


@every_corpus_metric
def test_rows_may_have_unlike_numbers_of_references(name: str) -> None:
    metric, reference = SACREBLEU[name]
    texts, first = made("odd")
    second: list[Any] = [first[0], *[None] * (len(first) - 1)]
    expected = reference(texts, [first, second]).score
    some = [[first[0], first[0]], *first[1:]]
    assert scored(metric, texts, some) == pytest.approx(expected, rel=1e-12)


def test_signatures_are_sacrebleus_own_without_the_number_of_references() -> None:
    version = sacrebleu.__version__
    assert Bleu().signature == f"BLEU|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert Chrf(word_order=2).signature == f"CHRF|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{version}"
    assert Ter().signature == f"TER|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:{version}"
    scored(Bleu(), ["a"], ["b"])
    assert "nrefs" not in Bleu().signature


@every_rouge
@pytest.mark.parametrize("use_stemmer", [False, True])
@pytest.mark.parametrize("source", ["odd", "0"])
def test_rouge_is_the_mean_of_rouge_scores_f1(kind: Any, use_stemmer: bool, source: str) -> None:
    texts, references = made(source)
    scorer = RougeScorer([kind.variant], use_stemmer=use_stemmer)
    seen = by_sentence if kind is RougeLsum else str
    pairs = [(seen(right), seen(text)) for text, right in zip(texts, references, strict=True)]
    expected = np.mean([scorer.score(*pair)[kind.variant].fmeasure for pair in pairs])
    assert scored(kind(use_stemmer=use_stemmer), texts, references) == pytest.approx(expected, rel=1e-12)


@every_rouge
def test_the_nearest_of_several_references_counts(kind: Any) -> None:
    near, far = "the cat sat on the mat", "it rained all day"
    alone = scored(kind(), ["the cat sat on a mat"], [near])
    assert scored(kind(), ["the cat sat on a mat"], [[far, near]]) == alone > 0
    assert scored(kind(), ["the cat sat on a mat"], [far]) == 0


def test_rouge_by_hand() -> None:
    text, reference = "police kill the gunman", "police killed the gunman"
    assert scored(Rouge1(), [text], [reference]) == pytest.approx(3 / 4)
    assert scored(Rouge2(), [text], [reference]) == pytest.approx(1 / 3)
    assert scored(RougeL(), [text], [reference]) == pytest.approx(3 / 4)
    assert scored(Rouge1(use_stemmer=True), [text], [reference]) == 1


def test_sentences_are_lines_or_end_at_a_stop() -> None:
    assert by_sentence("One. Two? 3.5 is no end! Four") == "One.\nTwo?\n3.5 is no end!\nFour"
    assert by_sentence("One. Two.\nThree.") == "One. Two.\nThree."
    moved, reference = "the dog barked. a cat sat.", "a cat sat. the dog barked."
    assert scored(RougeLsum(), [moved], [reference]) == 1 > scored(RougeL(), [moved], [reference])


@pytest.mark.parametrize("metric", [Bleu(), Ter(), RougeL()])
def test_a_metric_whose_library_is_missing_says_what_installs_it(metric: Metric, monkeypatch: Any) -> None:
    monkeypatch.setattr("luthier.extras.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf"the metric {metric.kind()} needs .* pip install 'luthier\[text\]'"):
        metric.require()
